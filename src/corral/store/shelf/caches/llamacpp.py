"""
llama.cpp's cache as it was until 2026: all files in one folder, `ORG_REPO_FILE.gguf`.

Beside a file may stand `FILE.gguf.json` with its address; `manifest=ORG=REPO=TAG.json` is what the hub answered.
Newer builds use the hub's own layout, in the same folder where `LLAMA_CACHE` names one. The names, and what a manifest
says, are those that their `migrate_old_cache_to_hf_cache` (`common/hf-cache.cpp`) reads; a tag may have a `=` in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from corral.domain.references import BadReference, HubReference, Reference, parse
from corral.store.shelf.caches.cached import Cached, listed, look, read_json, role_of

PLACE: Final = "llama.cpp"
_FILES: Final = ("ggufFile", "mmprojFile")


def flat_name(repo: str, file: str) -> str:
    """What the file of a repository is called there."""
    return f"{repo}_{file}".replace("/", "_")


def scan(root: Path) -> Iterator[Cached]:
    """Every model file."""
    entries = listed(root)
    told: dict[str, tuple[Reference, str]] = {}
    for entry in entries:
        if entry.name.startswith("manifest=") and entry.name.endswith(".json"):
            told.update(_manifest(Path(entry.path)))
    for entry in entries:
        if not entry.name.lower().endswith(".gguf"):
            continue
        path = Path(entry.path)
        status = look(path, root)
        if status is None or path.with_name(f"{path.name}.downloadInProgress").exists():
            continue
        reference, sha256 = told.get(entry.name, (None, ""))
        reference = reference or _address(path)
        yield Cached(PLACE, path, status.st_size, status.st_mtime, reference, sha256, role_of(path.name))


def _manifest(path: Path) -> Iterator[tuple[str, tuple[Reference, str]]]:
    parts = path.name.removeprefix("manifest=").removesuffix(".json").split("=", 2)
    if len(parts) != 3:
        return
    repo, data = f"{parts[0]}/{parts[1]}", read_json(path)
    for key in _FILES:
        file: Any = data.get(key)
        name = file.get("rfilename") if isinstance(file, dict) else None
        if not isinstance(name, str):
            continue
        lfs = file.get("lfs")
        sha256 = lfs.get("sha256") if isinstance(lfs, dict) else None
        yield flat_name(repo, name), (HubReference(repo, file=name), sha256 if isinstance(sha256, str) else "")


def _address(path: Path) -> Reference | None:
    url = read_json(path.with_name(f"{path.name}.json")).get("url")
    try:
        return parse(url) if isinstance(url, str) else None
    except BadReference:
        return None
