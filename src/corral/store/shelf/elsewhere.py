"""What other programs keep, as items of a shelf: to be looked at and used, not to be changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from corral.domain.errors import StoreFailed
from corral.domain.references import BadReference, HubReference, parse
from corral.store.files import part_paths
from corral.store.known import KnownFiles
from corral.store.shelf.caches.cached import Cached
from corral.store.shelf.items import Item, grouped, with_companions
from corral.store.shelf.names import named
from corral.store.shelf.origin import VERSION, Origin


def items_of(cached: Sequence[Cached], known: KnownFiles) -> list[Item]:
    """
    Each model once, split ones whole; those whose name is a hash have their reference's.

    What a header says is asked of `known`, which reads each file once and remembers it.
    """
    by_path = {str(each.path): each for each in cached}
    found = [_item([by_path[path] for path in paths], known) for paths in grouped(by_path).values()]
    known.save()
    return sorted(named(with_companions(found, _together)), key=lambda item: (item.place, item.name))


def _together(item: Item) -> object:
    """What was fetched together: one folder may hold blobs of many models."""
    try:
        reference = parse(item.reference)
    except BadReference:  # there is none, or what stands for one in that folder could not be written
        return None
    return (item.place, reference.repo.lower() if isinstance(reference, HubReference) else item.reference)


def _item(parts: Sequence[Cached], known: KnownFiles) -> Item:
    first = parts[0]
    item = Item(
        key=str(first.path).removesuffix(".gguf"),
        files=tuple(str(each.path) for each in parts),
        size_bytes=sum(each.size_bytes for each in parts),
        modified_at=max(each.modified_at for each in parts),
        role=first.role,
        origins=tuple(Origin(VERSION, str(each.reference or ""), "", each.size_bytes, each.sha256) for each in parts),
        place=first.place,
        reference=str(first.reference or ""),
    )
    if len(part_paths(first.path)) != len(parts):
        absent = len(part_paths(first.path)) - len(parts)
        are = "is" if absent == 1 else "are"
        return replace(item, problem=f"{absent} of its {absent + len(parts)} parts {are} not there.")
    try:
        said = known.of(str(first.path)).says
    except StoreFailed as error:
        return replace(item, problem=error.sentence())
    base, sight = said.base, said.projects
    return replace(
        item,
        architecture=base.architecture,
        title=base.name,
        parameters=base.parameters,
        quantisation=base.quantisation,
        context_tokens=base.trained_context_tokens,
        licence=base.license,
        width=sight.width if sight is not None else base.embedding_length,
        kinds=sight.kinds if sight is not None else (),
    )


def known_files(cache_folder: str) -> KnownFiles:
    """The memory of headers that a Corral of this user keeps."""
    return KnownFiles(Path(cache_folder) / "headers")
