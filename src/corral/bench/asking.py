"""One streamed request to a Model, and what was seen of it: when tokens came, and what the engine says it counted."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import ssl
import time
from dataclasses import dataclass
from typing import Any, Final

import httptools

PATH: Final = "/v1/chat/completions"
WORDS: Final = (
    "alpaca", "river", "stone", "seven", "lamp", "quiet", "bread", "harbour", "green", "letter", "mountain", "clock",
    "paper", "winter", "orange", "bridge",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Where:
    """A running Corral: its socket, or an address."""

    socket: str = ""
    host: str = ""
    port: int = 0
    tls: bool = False
    prefix: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """
    One answer. Seconds from the request; `first_s` is the first token, 0 if none came.

    Tokens are the engine's own counts, None where it does not say; `prefill_ms` is its own time for `prefilled` tokens,
    `decode_ms` for `decoded` ones.
    """

    error: str = ""
    first_s: float = 0.0
    last_s: float = 0.0
    whole_s: float = 0.0
    chunks: int = 0
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int = 0
    prefilled: int = 0
    prefill_ms: float = 0.0
    decoded: int = 0
    decode_ms: float = 0.0


def prompt(words: int) -> str:
    """So many words after a beginning that was never there before: no cache of prompts can help."""
    return " ".join([secrets.token_hex(8), *(WORDS[number * 7 % len(WORDS)] for number in range(words))])


def body(model: str, words: int, output_tokens: int) -> bytes:
    """A request for exactly so many tokens, as far as the engine knows `ignore_eos`."""
    return json.dumps(
        {
            "model": model, "stream": True, "stream_options": {"include_usage": True}, "max_tokens": output_tokens,
            "temperature": 0, "ignore_eos": True, "messages": [{"role": "user", "content": prompt(words)}],
        }
    ).encode()  # fmt: skip


class _Stream(asyncio.Protocol):
    """The connection of one request."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.parser = httptools.HttpResponseParser(self)
        self.rest = b""
        self.first = self.last = 0.0
        self.chunks = 0
        self.said: dict[str, Any] = {}
        self.error = "the connection ended before the answer did"

    def connection_made(self, transport: Any) -> None:
        """Ask."""
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        """Parse."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.error = f"no HTTP: {error}"
            self.transport.close()

    def on_body(self, data: bytes) -> None:
        """Whole lines of the stream."""
        self.rest += data
        if self.parser.get_status_code() == 200:
            *lines, self.rest = self.rest.split(b"\n")
            for line in lines:
                if line.startswith(b"data:"):
                    self._event(line[5:].strip())

    def _event(self, data: bytes) -> None:
        if data == b"[DONE]":
            self.error = ""
            return
        event = json.loads(data)
        if event.get("error"):
            self.error = str(event["error"].get("message", event["error"]))
            self.transport.close()
            return
        for name in ("usage", "timings"):
            if event.get(name):
                self.said[name] = event[name]
        delta = next((choice.get("delta") or {} for choice in event.get("choices") or ()), {})
        if delta.get("content") or delta.get("reasoning_content"):
            self.last = time.perf_counter()
            self.first = self.first or self.last
            self.chunks += 1

    def on_message_complete(self) -> None:
        """The end, or a refusal."""
        status = self.parser.get_status_code()
        if status != 200:
            self.error = f"{status}: {_message(self.rest)}"
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing comes any more."""
        if not self.ended.done():
            self.ended.set_result(None)


def _message(data: bytes) -> str:
    with contextlib.suppress(ValueError, AttributeError, KeyError, TypeError):
        return str(json.loads(data)["error"]["message"])
    return data[:200].decode(errors="replace")


async def ask(where: Where, data: bytes, *, timeout_s: float) -> Answer:
    """Send it and watch the answer. Errors are in the Answer: a benchmark counts them."""
    auth = f"Authorization: Bearer {where.key}\r\n" if where.key else ""
    head = (
        f"POST {where.prefix}{PATH} HTTP/1.1\r\nHost: {where.host or 'localhost'}\r\n{auth}Connection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    loop, began = asyncio.get_running_loop(), time.perf_counter()
    stream = _Stream(head.encode() + data)
    transport: asyncio.BaseTransport | None = None
    try:
        async with asyncio.timeout(timeout_s):
            if where.socket:
                transport, _ = await loop.create_unix_connection(lambda: stream, where.socket)
            else:
                tls = ssl.create_default_context() if where.tls else None
                transport, _ = await loop.create_connection(lambda: stream, where.host, where.port, ssl=tls)
            await stream.ended
    except TimeoutError:
        stream.error = f"no whole answer within {timeout_s:.0f} s"
    except OSError as error:
        stream.error = error.strerror or str(error)
    finally:
        if transport is not None:
            transport.close()
    return _answer(stream, began)


def _answer(stream: _Stream, began: float) -> Answer:
    whole = time.perf_counter() - began
    if stream.error:
        return Answer(error=stream.error, whole_s=whole)
    usage, timings = stream.said.get("usage") or {}, stream.said.get("timings") or {}
    return Answer(
        first_s=stream.first - began if stream.first else 0.0,
        last_s=stream.last - began if stream.first else 0.0,
        whole_s=whole,
        chunks=stream.chunks,
        prompt_tokens=usage.get("prompt_tokens"),
        output_tokens=usage.get("completion_tokens", timings.get("predicted_n")),
        cached_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
        prefilled=timings.get("prompt_n") or 0,
        prefill_ms=timings.get("prompt_ms") or 0.0,
        decoded=timings.get("predicted_n") or 0,
        decode_ms=timings.get("predicted_ms") or 0.0,
    )
