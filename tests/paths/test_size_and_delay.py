"""
The promises of size and delay, with a whole `corral serve`: bounds that hold on a busy machine too.

The exact figures are in docs/performance.md and come from `python -m tests.bench.crowd` and `tests.bench.compare`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.bench import compare, crowd

STREAMS = 1000
SLOW_READERS = 10
ATTEMPTS = 8


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[crowd.Served]:
    async with crowd.serving(tmp_path) as running:
        yield running


async def test_a_thousand_streams_and_slow_readers_are_small(served: crowd.Served) -> None:
    assert await crowd.with_streams(served, STREAMS) < 150e6
    await asyncio.sleep(0.5)
    before = served.rss_bytes
    assert (await crowd.with_slow_readers(served, SLOW_READERS) - before) / SLOW_READERS < 1e6


async def test_a_first_token_is_no_later_than_a_millisecond_after_the_engines(served: crowd.Served) -> None:
    """Half of those of 100 streams that run at the same time; what a busy machine adds is in both, and differs."""
    late_us = []
    for _ in range(ATTEMPTS):
        direct = await asyncio.to_thread(compare.streams, served.upstream_port, 100, 20, 10_000)
        through = await asyncio.to_thread(compare.streams, served.port, 100, 20, 10_000)
        late_us.append(through["first_us"][0] - direct["first_us"][0])
        if late_us[-1] < 1000:
            return
    pytest.fail(f"first tokens are late by {late_us} us")
