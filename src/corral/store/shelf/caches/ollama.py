"""Ollama's folder: `manifests/HOST/NAMESPACE/NAME/TAG` name layers, which lie in `blobs/sha256-HEX`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from corral.contracts.fetching import Role
from corral.domain.references import OllamaReference
from corral.store.shelf.caches.cached import Cached, listed, look, read_json

PLACE: Final = "Ollama"
_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")
_ROLES: Final = {
    "application/vnd.ollama.image.model": Role.MODEL,
    "application/vnd.ollama.image.projector": Role.PROJECTOR,
    "application/vnd.ollama.image.adapter": Role.ADAPTER,
}


def scan(root: Path) -> Iterator[Cached]:
    """Every layer that an engine may be given."""
    for host in listed(root / "manifests"):
        for namespace in listed(Path(host.path)):
            for name in listed(Path(namespace.path)):
                for tag in listed(Path(name.path)):
                    reference = OllamaReference(name.name, tag.name, namespace.name, host.name)
                    yield from _layers(root, Path(tag.path), reference)


def _layers(root: Path, manifest: Path, reference: OllamaReference) -> Iterator[Cached]:
    layers: Any = read_json(manifest).get("layers")
    for layer in layers if isinstance(layers, list) else ():
        if not isinstance(layer, dict):
            continue
        role, digest = _ROLES.get(str(layer.get("mediaType"))), _DIGEST.fullmatch(str(layer.get("digest")))
        if role is None or digest is None:
            continue
        path = root / "blobs" / f"sha256-{digest[1]}"
        status = look(path, root)
        if status is not None and status.st_size == layer.get("size"):
            yield Cached(PLACE, path, status.st_size, status.st_mtime, reference, digest[1], role)
