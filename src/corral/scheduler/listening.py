"""Where a started engine listens, and what it has said: for starts that need more than the engine's health route."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from typing import Final

from corral.contracts.engine import Engine
from corral.contracts.runtime import Runtime
from corral.domain.errors import CorralError
from corral.domain.launch import Endpoint, Handle

LINE_LIMIT: Final = 500
"""Characters of a line that a pattern is looked for in: the time that a search may take grows with their number."""

LOOK_S: Final = 2.0
_ANYWHERE: Final = ("0.0.0.0", "[::]")


async def said(runtime: Runtime, handle: Handle, pattern: str) -> None:
    """Return once a line of the engine's output matches; never for an engine that ends without one."""
    search = re.compile(pattern).search
    async for line in runtime.logs(handle, follow=True):
        if search(line.text[:LINE_LIMIT]):
            return
        await asyncio.sleep(0)  # a flood of lines must not keep the loop from everything else
    await asyncio.get_running_loop().create_future()


async def progress(runtime: Runtime, handle: Handle, engine: Engine) -> AsyncIterator[float]:
    """What the engine's output says of its load, from the beginning, until the engine has ended."""
    async for line in runtime.logs(handle, follow=True):
        told = engine.progress(line.text)
        if told is not None:
            yield told
        await asyncio.sleep(0)  # as above


async def places(runtime: Runtime, handle: Handle | None) -> tuple[str, ...]:
    """`Runtime.listening`, () where it cannot be seen in time."""
    if handle is None:
        return ()
    try:
        async with asyncio.timeout(LOOK_S):
            return await runtime.listening(handle)
    except (CorralError, TimeoutError):
        return ()


def elsewhere(places: Sequence[str], endpoint: Endpoint | None) -> str:
    """A sentence about an engine that listens, but not where it is waited for; else ""."""
    found = [place for place in places if not place.startswith("unix:")]
    if endpoint is None or not endpoint.port or not found or any(_port(place) == endpoint.port for place in found):
        return ""
    return f"It listens on {' and '.join(found[:3])}, not on {endpoint.host}:{endpoint.port}, where it was told to."


def too_open(places: Sequence[str], endpoint: Endpoint | None) -> str:
    """A sentence about an engine that whoever reaches this machine can use; else ""."""
    if endpoint is None:
        return ""
    for place in places:
        if _port(place) == endpoint.port and place.startswith(_ANYWHERE):
            return (
                f"it listens on {place}: whoever reaches this machine can use it past Corral. "
                f"Tell it to listen on 127.0.0.1."
            )
    return ""


def _port(place: str) -> int:
    number = place.rpartition(":")[2]
    return int(number) if number.isdecimal() else 0
