"""
The hub's search, narrowed to repositories with GGUF files, and the sizes of what they have.

    GET {endpoint}/api/models?search=WORDS&filter=gguf&sort=downloads&direction=-1&limit=N

The list has no sizes, so each repository that it names is asked too, a few at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from corral.domain.errors import NotThere, WrongContent
from corral.domain.references import BadReference, HubReference, parse
from corral.store.fit.rough import RoughModel
from corral.store.sources.choosing import quants
from corral.store.sources.hub import SaidOfModel
from corral.store.sources.planning import Sources
from corral.store.sources.quants import rank

MOST: Final = 50
_AT_ONCE: Final = 4


class _Row(msgspec.Struct):
    id: str
    downloads: int = 0
    likes: int = 0
    gated: Any = False
    lastModified: str = ""


@dataclass(frozen=True, slots=True)
class Hit:
    """A repository. `sizes` are those of its quantisations; none where it does not show its files to us."""

    reference: HubReference
    downloads: int
    likes: int
    gated: bool
    changed: str  # a date, 2026-05-01
    licence: str = ""
    sizes: Mapping[str, int | None] = field(default_factory=dict)
    model: SaidOfModel = field(default_factory=SaidOfModel)

    def rough(self, quant: str) -> RoughModel | None:
        """One quantisation, for a judgement; None where its size is not known."""
        size, said = self.sizes.get(quant), self.model
        if size is None:
            return None
        return RoughModel(quant, size, said.parameters, said.architecture, said.context_tokens)

    @property
    def usual(self) -> str:
        """The quantisation that a pull without a word would take; "" where none has a name."""
        return min(self.sizes, key=rank, default="")


def search(sources: Sources, words: str, *, limit: int = 10) -> list[Hit]:
    """Repositories whose names have these words, those with the most downloads first. Raises FetchFailed."""
    wanted = {"search": words, "filter": "gguf", "sort": "downloads", "direction": "-1", "limit": str(min(limit, MOST))}
    said = sources.web.json(f"{sources.access.endpoint}/api/models?{urlencode(wanted)}")
    try:
        rows = msgspec.convert(said, list[_Row])[:limit]
    except ValueError:
        raise WrongContent(
            f"{sources.access.endpoint} did not answer as the hub does.", hint="Check store.endpoint or HF_ENDPOINT."
        ) from None
    hits = [hit for hit in map(_hit, rows) if hit is not None]
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="search") as pool:
        return list(pool.map(lambda hit: _with_sizes(sources, hit), hits))


def _hit(row: _Row) -> Hit | None:
    try:
        reference = parse(f"hf.co/{row.id}")
    except BadReference:
        return None
    if not isinstance(reference, HubReference) or reference.file or reference.quant:
        return None
    changed = "".join(char for char in row.lastModified[:10] if char in "0123456789-")
    return Hit(reference, max(0, row.downloads), max(0, row.likes), bool(row.gated), changed)


def _with_sizes(sources: Sources, hit: Hit) -> Hit:
    try:
        there = sources.repository(hit.reference)
    except NotThere:
        return hit
    return replace(hit, licence=there.licence, sizes=dict(quants(there.files)), model=there.model)
