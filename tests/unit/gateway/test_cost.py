"""
What a request and a chunk of a stream cost, as lines of ours that run: exact, whatever the machine is doing.

Times are measured by `python -m tests.bench.hotpath` and `corral bench gateway`; docs/performance.md has them.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.bench.hotpath import ANSWER_BODY, CHUNK, EVENT, KEY, TRANSLATED, Relay
from tests.lines_run import lines_run

REQUEST_LINES = 407  # 40 of them set a field: cheaper than to read its default from the class
CHUNK_LINES = 55  # three of them keep a piece, so that two searches of each need not be
"""Raise them only for something that is worth it."""

WRITTEN_ANEW_LINES = 90
"""A chunk that is translated: some 3 us of the 20 that it may cost with its system calls."""


async def relay(models: int) -> Relay:
    """One that has seen a request and a stream."""
    made = Relay(models)
    await asyncio.sleep(0)  # the lease that loaded the Model comes back
    made.requests(2)
    made.begin_stream()
    made.end_stream()
    made.requests(1)
    return made


async def test_a_request_stays_short() -> None:
    made = await relay(1)
    assert lines_run(lambda: made.requests(1), within="corral") <= REQUEST_LINES
    assert made.client.last.startswith(b"HTTP/1.1 200 OK\r\n") and made.client.last.endswith(ANSWER_BODY)


async def test_a_chunk_of_a_stream_stays_short() -> None:
    made = await relay(1)
    made.begin_stream()
    made.chunks(1)
    assert lines_run(lambda: made.chunks(1), within="corral") <= CHUNK_LINES
    assert made.client.last == CHUNK and EVENT in CHUNK


@pytest.mark.parametrize("path", TRANSLATED)
async def test_a_chunk_that_is_written_anew_stays_short(path: bytes) -> None:
    made = await relay(1)
    made.begin_stream(made.request_to(path, TRANSLATED[path]))
    made.chunks(2)
    few = min(lines_run(lambda: made.chunks(1), within="corral") for _ in range(3))  # a new millisecond costs a stamp
    assert few <= WRITTEN_ANEW_LINES
    sent = made.client.sent
    made.chunks(100)
    assert made.client.sent == sent + 100, "each is written at once"
    assert EVENT not in made.client.last and b'"tok "' in made.client.last


async def test_thousands_of_models_cost_a_request_nothing() -> None:
    few, many = await relay(2), await relay(10_000)
    assert lines_run(lambda: few.requests(1), within="corral") == lines_run(lambda: many.requests(1), within="corral")


async def test_a_longer_body_does_not_make_a_request_longer() -> None:
    made = await relay(1)
    usual = lines_run(lambda: made.requests(1), within="corral")
    head, _, body = made.request.partition(b"\r\n\r\n")
    longer = body[:-1] + b" " * 4321 + b"}"
    made.request = head.replace(b"Length: %d" % len(body), b"Length: %d" % len(longer)) + b"\r\n\r\n" + longer
    assert lines_run(lambda: made.requests(1), within="corral") == usual


async def test_counts_and_caller_are_on_record() -> None:
    """What is measured is the whole: keys, leases, usage and metrics."""
    made = await relay(1)
    made.requests(5)
    text = made.metrics.render().decode()
    finished = 'corral_requests_total{model="m0",outcome="ok",route="/v1/chat/completions",status="200"}'
    assert f"{finished} 9.0" in text
    assert 'corral_tokens_total{kind="completion",model="m0"} 480.0' in text
    assert made.connection.caller is not None and made.connection.caller.name == "bench"
    wrong = made.request.replace(KEY.encode(), KEY[::-1].encode())
    made.connection.data_received(wrong)
    assert made.client.last.startswith(b"HTTP/1.1 401 ")
