"""LM Studio's folder: `PUBLISHER/REPOSITORY/FILE.gguf`, as on the hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from corral.domain.references import HubReference
from corral.store.shelf.caches.cached import Cached, listed, look, role_of

PLACE: Final = "LM Studio"


def scan(root: Path) -> Iterator[Cached]:
    """Every model file, two folders deep as the program itself looks for them."""
    for publisher in listed(root):
        for repo in listed(Path(publisher.path)) if publisher.is_dir() else ():
            for entry in listed(Path(repo.path)) if repo.is_dir() else ():
                path = Path(entry.path)
                status = look(path, root) if entry.name.lower().endswith(".gguf") else None
                if status is not None:
                    reference = HubReference(f"{publisher.name}/{repo.name}", file=entry.name)
                    yield Cached(PLACE, path, status.st_size, status.st_mtime, reference, role=role_of(entry.name))
