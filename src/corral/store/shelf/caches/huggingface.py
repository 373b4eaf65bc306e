"""
The hub's own cache: `models--ORG--REPO/snapshots/COMMIT/FILE`, links into `blobs/`, named by SHA-256 for large files.

llama.cpp keeps its downloads in the same way since 2026.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from corral.domain.references import HubReference
from corral.store.shelf.caches.cached import Cached, listed, look, role_of

PLACE: Final = "Hugging Face"
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_DEEPEST: Final = 6


def scan(root: Path) -> Iterator[Cached]:
    """Every model file of every snapshot, under each name that its revision has."""
    for entry in listed(root):
        kind, _, name = entry.name.partition("--")
        org, separator, repo = name.partition("--")
        if kind == "models" and separator and org and repo:
            yield from _repository(root, Path(entry.path), f"{org}/{repo}")


def _repository(root: Path, folder: Path, repo: str) -> Iterator[Cached]:
    revisions = _revisions(folder / "refs")
    for snapshot in listed(folder / "snapshots"):
        if not snapshot.is_dir(follow_symlinks=False):
            continue
        for path in _files(Path(snapshot.path), 0):
            status = look(path, root)
            if status is None:
                continue
            blob = os.path.basename(os.path.realpath(path))
            sha256 = blob if _SHA256.fullmatch(blob) else ""
            for revision in (*revisions.get(snapshot.name, ()), snapshot.name):
                reference = HubReference(repo, revision, file=path.relative_to(snapshot.path).as_posix())
                yield Cached(PLACE, path, status.st_size, status.st_mtime, reference, sha256, role_of(path.name))


def _files(folder: Path, depth: int) -> Iterator[Path]:
    for entry in listed(folder):
        if entry.is_dir(follow_symlinks=False):
            if depth < _DEEPEST:
                yield from _files(Path(entry.path), depth + 1)
        elif entry.name.lower().endswith(".gguf"):
            yield Path(entry.path)


def _revisions(folder: Path, prefix: str = "") -> dict[str, list[str]]:
    """Commit -> the branches and tags that stood there when it was fetched; main before others."""
    found: dict[str, list[str]] = {}
    for entry in listed(folder):
        if entry.is_dir(follow_symlinks=False):
            if prefix.count("/") < _DEEPEST:
                for commit, names in _revisions(Path(entry.path), f"{prefix}{entry.name}/").items():
                    found.setdefault(commit, []).extend(names)
            continue
        try:
            with open(entry.path, encoding="ascii") as file:
                commit = file.read(64).strip()
        except (OSError, ValueError):
            continue
        if _COMMIT.fullmatch(commit):
            found.setdefault(commit, []).append(prefix + entry.name)
    for names in found.values():
        names.sort(key=lambda name: name != "main")
    return found
