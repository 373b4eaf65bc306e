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


def model(root: Path, reference: OllamaReference) -> list[Cached]:
    """The layers of one model that an engine is given; empty where one of them is not there."""
    found = [*_looked(root, root.joinpath("manifests", *_place(reference)), reference)]
    layers = [layer for layer in found if layer is not None]
    return layers if len(layers) == len(found) else []


def _place(reference: OllamaReference) -> tuple[str, ...]:
    return reference.host, reference.namespace, reference.name, reference.tag


def _layers(root: Path, manifest: Path, reference: OllamaReference) -> Iterator[Cached]:
    return (layer for layer in _looked(root, manifest, reference) if layer is not None)


def _looked(root: Path, manifest: Path, reference: OllamaReference) -> Iterator[Cached | None]:
    """None for one that is not there, or not whole."""
    layers: Any = read_json(manifest).get("layers")
    for layer in layers if isinstance(layers, list) else ():
        role = _ROLES.get(str(layer.get("mediaType"))) if isinstance(layer, dict) else None
        if role is None:
            continue
        digest = _DIGEST.fullmatch(str(layer.get("digest")))
        path = root / "blobs" / f"sha256-{digest[1] if digest else ''}"
        status = look(path, root) if digest else None
        if digest is None or status is None or status.st_size != layer.get("size"):
            yield None
        else:
            yield Cached(PLACE, path, status.st_size, status.st_mtime, reference, digest[1], role)
