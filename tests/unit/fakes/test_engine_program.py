"""The fake engine as a program: that it behaves, and that it misbehaves, as its options say."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

Answer = tuple[int, dict[str, str], bytes]


class Engine:
    """A running fake engine."""

    def __init__(self, process: asyncio.subprocess.Process, socket: Path) -> None:
        self.process = process
        self.socket = socket

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(self.socket)

    async def raw(self, method: str, path: str, body: object = None, **headers: str) -> bytes:
        """Everything that comes until the connection ends (or stays silent for a second)."""
        reader, writer = await self.open()
        try:
            writer.write(head(method, path, body, **headers))
            return await asyncio.wait_for(reader.read(), 2.0)
        finally:
            writer.close()

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """One request with a length, on a connection of its own."""
        reader, writer = await self.open()
        try:
            writer.write(head(method, path, body, **headers))
            return await asyncio.wait_for(answer(reader), 5.0)
        finally:
            writer.close()

    async def told(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((await self.ask("GET", "/fake/requests"))[2])
        return told

    async def ready(self) -> None:
        while (await self.ask("GET", "/health"))[0] != 200:
            await asyncio.sleep(0.005)


def head(method: str, path: str, body: object = None, **headers: str) -> bytes:
    data = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Length: {len(data)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


async def answer(reader: asyncio.StreamReader) -> Answer:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(first.split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


@contextlib.asynccontextmanager
async def engine(folder: Path, *options: str, key: str = "") -> AsyncIterator[Engine]:
    socket = folder / "s"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "corral.fakes.engine_program", "--socket", str(socket), "--name", "Ada", *options,
        stderr=asyncio.subprocess.PIPE, env={**os.environ, "FAKE_KEY": key},
    )  # fmt: skip
    try:
        async with asyncio.timeout(10):
            await _listening(socket)
        yield Engine(process, socket)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        # The rest of its log is read, else the pipe keeps its transport.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.communicate(), 2.0)


async def _listening(socket: Path) -> None:
    """The file is there a moment before the program listens, so only a connection tells."""
    while True:
        try:
            _, writer = await asyncio.open_unix_connection(socket)
        except OSError:
            await asyncio.sleep(0.005)
        else:
            writer.close()
            return


async def test_it_loads_then_answers_with_its_name(short_tmp: Path) -> None:
    async with engine(short_tmp, "--load-s", "0.1") as fake:
        status, _, body = await fake.ask("GET", "/health")
        assert (status, json.loads(body)["error"]["message"]) == (503, "Loading model")
        await asyncio.wait_for(fake.ready(), 5)
        status, headers, body = await fake.ask("POST", "/v1/chat/completions", {"messages": []})
        assert json.loads(body)["choices"][0]["message"]["content"] == "I am Ada."
        assert headers["keep-alive"] == "timeout=5, max=100"


async def test_a_stream_ends_the_connection_without_saying_so(short_tmp: Path) -> None:
    async with engine(short_tmp) as fake:
        await fake.ready()
        got = await fake.raw("POST", "/v1/completions", {"stream": True, "fake": {"chunks": 5}})
    top, _, body = got.partition(b"\r\n\r\n")
    assert b"close" not in top.lower()
    assert b"Transfer-Encoding: chunked" in top
    assert body.count(b"data: ") == 7  # five tokens, the end, [DONE]
    assert body.endswith(b"0\r\n\r\n")


async def test_a_kept_connection_takes_another_request(short_tmp: Path) -> None:
    async with engine(short_tmp) as fake:
        await fake.ready()
        reader, writer = await fake.open()
        for text in ("one", "two"):
            writer.write(head("POST", "/tokenize", {"content": text}))
            assert json.loads((await answer(reader))[2])["tokens"] == list(text.encode())
        writer.close()


async def test_max_tokens_are_kept_to(short_tmp: Path) -> None:
    async with engine(short_tmp) as fake:
        await fake.ready()
        body = {"prompt": "one two", "max_tokens": 2, "fake": {"chunks": 50}}
        answer = json.loads((await fake.ask("POST", "/v1/completions", body))[2])
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 2
    assert answer["usage"]["prompt_tokens"] == 2


@pytest.mark.parametrize("half", [True, False], ids=["half-close", "close"])
async def test_it_tells_when_a_client_left(short_tmp: Path, half: bool) -> None:
    async with engine(short_tmp) as fake:
        await fake.ready()
        reader, writer = await fake.open()
        writer.write(head("POST", "/v1/chat/completions", {"stream": True, "fake": {"chunks": 1000, "delay_s": 0.005}}))
        await reader.readuntil(b'"content":"I"')
        left = time.monotonic()
        writer.write_eof() if half else writer.close()
        await asyncio.sleep(0.1)
        told = await fake.told()
        writer.close()
    (report,) = [each for each in told["requests"] if each["method"] == "POST"]
    assert abs(report["left_at"] - left) < 0.05
    assert report["ended_at"] is None
    assert 0 < report["chunks_sent"] < 100
    assert told["busy"] == 0


async def test_a_request_over_the_slots_waits(short_tmp: Path) -> None:
    async with engine(short_tmp, "--slots", "1", "--delay-s", "0.05") as fake:
        await fake.ready()
        began = time.monotonic()
        await asyncio.gather(*(fake.ask("POST", "/completion", {}) for _ in range(2)))
        assert time.monotonic() - began > 0.28


async def test_keys(short_tmp: Path) -> None:
    async with engine(short_tmp, "--key-env", "FAKE_KEY", key="secret") as fake:
        await fake.ready()
        assert (await fake.ask("GET", "/v1/models"))[0] == 401
        assert (await fake.ask("GET", "/v1/models", Authorization="Bearer secret"))[0] == 200
        assert (await fake.ask("GET", "/v1/models", X_Api_Key="secret"))[0] == 200


async def test_sigterm_waits_for_what_is_in_flight(short_tmp: Path) -> None:
    async with engine(short_tmp) as fake:
        await fake.ready()
        _, writer = await fake.open()
        writer.write(head("POST", "/v1/chat/completions", {"fake": {"hang": True}}))
        while (await fake.told())["busy"] == 0:
            await asyncio.sleep(0.005)
        fake.process.terminate()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(fake.process.wait(), 0.3)
        writer.close()
        assert await asyncio.wait_for(fake.process.wait(), 2) == 0


async def test_sigterm_while_loading_ends_it_at_once(short_tmp: Path) -> None:
    async with engine(short_tmp, "--never-ready") as fake:
        fake.process.terminate()
        assert await asyncio.wait_for(fake.process.wait(), 2) == -signal.SIGTERM


async def test_it_can_refuse_sigterm_and_have_a_child(short_tmp: Path) -> None:
    async with engine(short_tmp, "--refuse-sigterm", "--fork-child", "session", "--memory", "50000000") as fake:
        await fake.ready()
        (child,) = psutil.Process(fake.process.pid).children()
        try:
            assert psutil.Process(fake.process.pid).memory_info().rss > 50_000_000
            assert os.getsid(child.pid) != os.getsid(fake.process.pid)
            fake.process.terminate()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(fake.process.wait(), 0.2)
            assert (await fake.ask("GET", "/health"))[0] == 200
        finally:
            child.kill()


@pytest.mark.parametrize(
    ("wish", "ends_with"),
    [
        ({"crash_before_first_byte": True}, b""),
        ({"crash_after_tokens": 2}, b" am"),
        ({"half_close": True}, b"I"),
        ({"too_little": 1}, b"timings"),
        ({"garbage": True}, b"not HTTP"),
        ({"error_after_tokens": 1}, b"asked to fail"),
        ({"second_answer": True}, b"second"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_what_can_go_wrong_in_an_answer(short_tmp: Path, wish: dict[str, object], ends_with: bytes) -> None:
    async with engine(short_tmp) as fake:
        await fake.ready()
        reader, writer = await fake.open()
        writer.write(head("POST", "/completion", {"stream": True, "fake": {"chunks": 4, **wish}}))
        got = await asyncio.wait_for(reader.read(), 2)
        writer.close()
        assert ends_with in got[-300:]
        whole = got.endswith(b"0\r\n\r\n")
        assert whole == ("error_after_tokens" in wish)
        if "crash" in next(iter(wish)):
            assert await asyncio.wait_for(fake.process.wait(), 2) == 1


async def test_status_and_prefill(short_tmp: Path) -> None:
    async with engine(short_tmp, "--status", "500", "--slow-prefill", "0.1") as fake:
        await fake.ready()
        began = time.monotonic()
        status, headers, _ = await fake.ask("POST", "/v1/completions", {})
        assert (status, headers["connection"]) == (500, "close")
        assert time.monotonic() - began > 0.1


@pytest.mark.parametrize(
    ("options", "code"), [(("--exit-at-start", "3"), 3), (("--load-s", "0.05", "--exit-while-loading", "1"), 1)]
)
async def test_it_can_end_by_itself(short_tmp: Path, options: tuple[str, ...], code: int) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "corral.fakes.engine_program", "--socket", str(short_tmp / "s"), *options,
        "--log-lines", "2", "--log-text", "out of memory", stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, log = await asyncio.wait_for(process.communicate(), 5)
    assert process.returncode == code
    assert b"log line 1\nout of memory\n" in log


async def test_a_stale_socket_is_in_the_way(short_tmp: Path) -> None:
    (short_tmp / "s").touch()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "corral.fakes.engine_program", "--socket", str(short_tmp / "s"),
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, log = await asyncio.wait_for(process.communicate(), 5)
    assert process.returncode == 1
    assert b"couldn't bind" in log
