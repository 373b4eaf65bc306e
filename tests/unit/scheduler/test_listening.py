"""Where an engine listens, and waiting for what it says."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from corral.domain.launch import Endpoint, LaunchPlan
from corral.fakes.runtime import FakeRuntime, Script
from corral.scheduler.listening import LINE_LIMIT, elsewhere, places, said, too_open

AT = Endpoint(host="127.0.0.1", port=4242)


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ((), ""),
        (("unix:/x",), ""),
        (("127.0.0.1:4242", "127.0.0.1:1"), ""),
        (("0.0.0.0:4242",), ""),
        (("127.0.0.1:8000",), "It listens on 127.0.0.1:8000, not on 127.0.0.1:4242"),
        (("127.0.0.1:14242",), "not on 127.0.0.1:4242"),
    ],
)
def test_elsewhere(where: tuple[str, ...], says: str) -> None:
    found = elsewhere(where, AT)
    assert says in found and bool(says) == bool(found)
    assert elsewhere(where, Endpoint(socket="/s")) == ""


@pytest.mark.parametrize(
    ("where", "open_"),
    [
        (("127.0.0.1:4242",), False),
        (("0.0.0.0:4242",), True),
        (("[::]:4242",), True),
        (("0.0.0.0:9",), False),
        (("[::1]:4242",), False),
    ],
)
def test_too_open(where: tuple[str, ...], open_: bool) -> None:
    assert bool(too_open(where, AT)) == open_


async def test_a_line_is_waited_for_and_long_ones_are_cut(tmp_path: Path) -> None:
    runtime = FakeRuntime(tmp_path)
    plan = LaunchPlan(("x",), Endpoint())
    handle = await runtime.start(plan, instance="i", model="m", digest="d")
    waiting = asyncio.ensure_future(said(runtime, handle, "^.* ready$"))
    for text in ("not yet", "x" * LINE_LIMIT + " ready", "\x00\ufffd"):
        runtime.write("i", text)
    await asyncio.sleep(0.01)
    assert not waiting.done()
    runtime.write("i", "now ready")
    await waiting
    never = asyncio.ensure_future(said(runtime, handle, "nothing like it"))
    runtime.crash("i", code=1)
    await asyncio.sleep(0.01)
    assert not never.done(), "its exit is for others to tell"
    never.cancel()
    await runtime.close()


async def test_what_cannot_be_seen_is_nothing(tmp_path: Path) -> None:
    runtime = FakeRuntime(tmp_path, scripts={"m": Script(listens=("127.0.0.1:1",))})
    handle = await runtime.start(LaunchPlan(("x",), Endpoint()), instance="i", model="m", digest="d")
    assert await places(runtime, handle) == ("127.0.0.1:1",)
    assert await places(runtime, None) == ()
    await runtime.close()
