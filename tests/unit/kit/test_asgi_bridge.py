"""The ASGI host: one call, one answer, whatever the app does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from corral.kit.asgi_bridge import AsgiApp, AsgiCall, ClientLeft
from corral.kit.tasks import Tasks


class Paper:
    """An Answer that is written down."""

    def __init__(self) -> None:
        self.wrote: list[Any] = []

    def start(self, status: int, headers: list[tuple[bytes, bytes]], length: int | None) -> None:
        """The head."""
        self.wrote.append((status, headers, length))

    def body(self, data: bytes) -> None:
        """A piece."""
        self.wrote.append(data)

    def end(self) -> None:
        """Complete."""
        self.wrote.append("end")

    def break_off(self) -> None:
        """Not complete."""
        self.wrote.append("broken off")


def call(app: AsgiApp, body: bytes = b"") -> tuple[AsgiCall, Paper]:
    """A call and its paper."""
    paper = Paper()
    return AsgiCall(app, {"type": "http", "method": "GET", "path": "/"}, body, paper), paper


START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"Content-Length", b"2"), (b"X-A", b"1"), (b"Transfer-Encoding", b"chunked"), (b"Connection", b"x")],
}


async def test_a_whole_answer() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert await receive() == {"type": "http.request", "body": b"in", "more_body": False}
        await send(START)
        await send({"type": "http.response.body", "body": b"o", "more_body": True})
        await send({"type": "http.response.body", "body": b"k"})

    one, paper = call(app, b"in")
    await one.run()
    assert paper.wrote == [(200, [(b"x-a", b"1")], 2), b"o", b"k", "end"]


async def test_an_app_that_fails_before_and_after_its_head(caplog: pytest.LogCaptureFixture) -> None:
    async def early(scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError

    async def late(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        raise ZeroDivisionError

    one, paper = call(early)
    await one.run()
    assert paper.wrote[0][0] == 500 and paper.wrote[-1] == "end"
    one, paper = call(late)
    await one.run()
    assert paper.wrote[1:] == ["broken off"]
    assert caplog.text.count("GET / failed") == 2


async def test_an_app_that_says_nothing_or_nonsense() -> None:
    async def silent(scope: Any, receive: Any, send: Any) -> None:
        return

    async def nonsense(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.body", "body": b"x"})

    for app in (silent, nonsense):
        one, paper = call(app)
        await one.run()
        assert paper.wrote[0][0] == 500 and paper.wrote[-1] == "end"


async def test_a_client_that_leaves_cancels_the_call() -> None:
    ended: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("finally")

    one, paper = call(app)
    tasks = Tasks("test")
    one.begin(tasks, "app")
    await asyncio.sleep(0)
    one.gone()
    await tasks.aclose()
    assert ended == ["finally"] and paper.wrote[1:] == []


async def test_sending_to_nobody_is_an_os_error_and_receiving_tells_it() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        seen.append(await receive())
        try:
            await send(START)
        except OSError as error:
            seen.append(type(error))
            raise

    one, paper = call(app)
    one.gone()
    await one.run()
    assert seen == [{"type": "http.disconnect"}, ClientLeft] and paper.wrote == []


async def test_a_slow_client_holds_the_app_back() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        for _ in range(3):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})

    one, paper = call(app)
    one.pause()
    tasks = Tasks("test")
    one.begin(tasks, "app")
    for _ in range(5):
        await asyncio.sleep(0)
    assert paper.wrote[1:] == [b"x"]
    one.resume()
    for _ in range(5):
        await asyncio.sleep(0)
    assert paper.wrote[1:] == [b"x", b"x", b"x", "broken off"]
    await tasks.aclose()
