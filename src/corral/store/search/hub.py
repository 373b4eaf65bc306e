"""
The hub's search, narrowed to repositories with GGUF files, and the sizes of what they have.

    GET {endpoint}/api/models?search=WORDS&filter=gguf&sort=downloads&direction=-1&limit=N

The list has no sizes, so each repository that it names is asked too, a few at a time. What one of them does not tell
soon is left open: the others are no worse for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from corral.domain.errors import FetchFailed, FetchStopped, NotThere, WrongContent
from corral.domain.references import BadReference, HubReference, parse
from corral.store.fit.rough import RoughModel
from corral.store.sources.choosing import quants
from corral.store.sources.hub import SaidOfModel
from corral.store.sources.planning import Sources
from corral.store.sources.quants import rank

MOST: Final = 50
_AT_ONCE: Final = 4
_DETAILS_S: Final = 20.0  # for all of them


class _Row(msgspec.Struct):
    id: str
    downloads: int = 0
    likes: int = 0
    gated: Any = False
    lastModified: str = ""


@dataclass(frozen=True, slots=True)
class Hit:
    """
    A repository. `sizes` are those of its quantisations; none where it does not show its files to us, or where the hub
    failed to tell them: then `problem` is why.
    """

    reference: HubReference
    downloads: int
    likes: int
    gated: bool
    changed: str  # a date, 2026-05-01
    licence: str = ""
    sizes: Mapping[str, int | None] = field(default_factory=dict)
    model: SaidOfModel = field(default_factory=SaidOfModel)
    problem: str = ""

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
    return _all_with_sizes(sources, [hit for hit in map(_hit, rows) if hit is not None])


def _all_with_sizes(sources: Sources, hits: list[Hit]) -> list[Hit]:
    """Whoever is interrupted here (Ctrl-C) does not wait for what is under way: that ends by itself, soon."""
    left, end = threading.Event(), time.monotonic() + _DETAILS_S
    hasty = Sources(sources.access, sources.web.hasty(lambda: left.is_set() or time.monotonic() > end))
    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="search")
    try:
        return list(pool.map(lambda hit: _with_sizes(hasty, hit), hits))
    finally:
        left.set()
        pool.shutdown(wait=False, cancel_futures=True)


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
    except FetchFailed as error:
        return replace(hit, problem=error.message)
    except FetchStopped:
        return replace(hit, problem=f"It did not answer within {_DETAILS_S:.0f} s.")
    return replace(hit, licence=there.licence, sizes=dict(quants(there.files)), model=there.model)
