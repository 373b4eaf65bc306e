"""The folders of other programs, made as they make them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from corral.store.shelf import origin
from corral.store.shelf.origin import Origin
from tests.models import SPLIT, model

COMMIT = "a" * 40


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def parts_of_split() -> list[Path]:
    first = model(SPLIT)
    return sorted(first.parent.glob(first.name.replace("-00001-of-", "-?????-of-")))


def put(path: Path, source: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, path)
    return path


def describe(root: Path, place: str, *, reference: str = "", sha: str = "", url: str = "", licence: str = "") -> None:
    """Give a file of the store its origin."""
    size = (root / place).stat().st_size
    said = Origin(origin.VERSION, reference, url, size, sha or sha256(root / place), licence=licence)
    origin.write(root, place, said)


def hub(root: Path, repo: str, name: str, source: Path, *, revision: str = "main", commit: str = COMMIT) -> Path:
    """A file of a snapshot; its path there."""
    folder = root / f"models--{repo.replace('/', '--')}"
    blob = put(folder / "blobs" / sha256(source), source)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / revision).write_text(commit)
    path = folder / "snapshots" / commit / name
    path.parent.mkdir(parents=True, exist_ok=True)
    up = "../" * (len(path.relative_to(folder).parts) - 1)
    path.symlink_to(f"{up}blobs/{blob.name}")
    return path


def flat(root: Path, repo: str, name: str, source: Path, *, tag: str = "") -> Path:
    """A file in llama.cpp's old folder, with a manifest where it has a tag."""
    path = put(root / f"{repo}_{name}".replace("/", "_"), source)
    if tag:
        told = {"rfilename": name, "size": path.stat().st_size, "lfs": {"sha256": sha256(source)}}
        (root / f"manifest={repo.replace('/', '=')}={tag}.json").write_text(json.dumps({"ggufFile": told}))
    return path


def ollama(root: Path, name: str, layers: Sequence[tuple[str, Path]]) -> list[Path]:
    """A model of Ollama's (`library/tiny/latest`); the paths of its blobs."""
    paths, told = [], []
    for kind, source in layers:
        digest = sha256(source)
        paths.append(put(root / "blobs" / f"sha256-{digest}", source))
        told.append(
            {
                "mediaType": f"application/vnd.ollama.image.{kind}",
                "digest": f"sha256:{digest}",
                "size": source.stat().st_size,
            }
        )
    manifest = root / "manifests/registry.ollama.ai" / name
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": told}))
    return paths


@contextlib.contextmanager
def closed(folder: Path) -> Iterator[None]:
    """Nobody may enter it, the superuser neither."""
    mode = folder.stat().st_mode
    folder.chmod(0)
    own = os.geteuid()
    if own == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if own == 0:
            os.seteuid(own)
        folder.chmod(mode)
