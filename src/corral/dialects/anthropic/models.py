"""Writing the listing of Models: a page of it, and one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from corral.domain.errors import BadRequest

LIMIT: Final = 20
LIMIT_MOST: Final = 1000


def card(name: str, *, title: str, created: int, context_tokens: int | None) -> dict[str, Any]:
    """One Model."""
    return {
        "type": "model",
        "id": name,
        "display_name": title or name,
        "created_at": datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lifecycle": "active",
        "max_input_tokens": context_tokens,
        "max_tokens": context_tokens,
    }


def page(
    names: Sequence[str],
    cards: Callable[[Sequence[int]], list[dict[str, Any]]],
    *,
    limit: str | None,
    after_id: str | None,
    before_id: str | None,
) -> dict[str, Any]:
    """
    The part of the listing that is asked for; `cards` gives those at some places of it. Raises BadRequest.

    A name that is no longer there has nothing after or before it.
    """
    count = _limit(limit)
    if after_id and before_id:
        raise BadRequest("Only one of after_id and before_id can be given.")
    if before_id:
        end = names.index(before_id) if before_id in names else 0
        places = range(max(0, end - count), end)
        more = places.start > 0
    else:
        begin = 0
        if after_id:
            begin = names.index(after_id) + 1 if after_id in names else len(names)
        places = range(begin, min(begin + count, len(names)))
        more = places.stop < len(names)
    data = cards(places)
    return {
        "data": data,
        "has_more": more,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
    }


def _limit(text: str | None) -> int:
    if not text:
        return LIMIT
    if not text.isdecimal() or len(text) > 4 or not 1 <= int(text) <= LIMIT_MOST:
        raise BadRequest(f"limit is a number from 1 to {LIMIT_MOST}, not {text[:20]!r}.")
    return int(text)
