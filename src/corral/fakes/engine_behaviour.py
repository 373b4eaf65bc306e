"""What the fake engine does to one request: the Behaviour, and the answer that follows it."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from dataclasses import dataclass
from typing import Any, NoReturn

from corral.fakes import engine_answers as answers
from corral.fakes.engine_http import ClientLeft, Connection, Request


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What one request meets. Counts of tokens are of the answer; None means never."""

    reply: str = ""  # "" = I am NAME.
    chunks: int | None = None  # tokens of the answer; None = the words of the reply
    delay_s: float = 0.0  # before each token
    prefill_s: float = 0.0  # before the first byte
    status: int = 200
    hang: bool = False  # take the request and never answer
    hang_after_tokens: int | None = None
    crash_before_first_byte: bool = False
    crash_after_tokens: int | None = None
    error_after_tokens: int | None = None  # an error event in mid-stream, then the end
    half_close: bool = False  # send the head and one token, then end our half
    garbage: bool = False  # no HTTP
    too_little: int = 0  # leave out so many bytes at the end of the body, then close
    too_much: int = 0  # send so many more after the end
    second_answer: bool = False  # answer twice

    def changed(self, request: Request, body: dict[str, Any]) -> Behaviour:
        """With the wishes of this request. Raises ValueError for a field that does not exist."""
        wishes = dict(body.get("fake") or {})
        for name, value in request.headers:
            if name.lower().startswith("x-fake-"):
                field = name.lower().removeprefix("x-fake-").replace("-", "_")
                wishes[field] = value if field == "reply" else json.loads(value)
        unknown = wishes.keys() - {each.name for each in dataclasses.fields(self)}
        if unknown:
            raise ValueError(f"unknown fake fields: {', '.join(sorted(unknown))}")
        return dataclasses.replace(self, **wishes)


class Generation:
    """One answer, token by token, with what shall go wrong in it."""

    def __init__(
        self,
        model: str,
        request: Request,
        connection: Connection,
        behaviour: Behaviour,
        route: str,
        body: dict[str, Any],
    ) -> None:
        self.model = model
        self.request = request
        self.connection = connection
        self.behaviour = behaviour
        self.route = route
        self.body = body
        said = answers.tokens(behaviour.reply or f"I am {model}.", behaviour.chunks)
        limit = body.get("max_tokens", body.get("max_completion_tokens", body.get("n_predict")))
        cut = isinstance(limit, int) and 0 <= limit < len(said)
        self.said = said[:limit] if cut else said
        self.finish = "length" if cut else "stop"
        self.prompt = len(answers.prompt_text(body).split())

    async def run(self) -> None:
        """Send it."""
        began = time.monotonic()
        if self.body.get("stream"):
            await self.stream(began)
            return
        for index in range(len(self.said)):
            await self.before(index)
        whole = answers.whole(self.route, self.model, self.request.number, self.said, self.finish, self.counts(began))
        await self.send_whole(answers.dump(whole))

    async def send_whole(self, body: bytes) -> None:
        """An answer that does not stream."""
        plan = self.behaviour
        self.connection.closing = self.connection.closing or plan.too_little > 0
        sent = body[: len(body) - plan.too_little]
        await self.connection.answer(self.request, 200, sent, length=len(body))
        if plan.second_answer:
            await self.connection.answer(self.request, 200, body)
        if plan.too_much:
            await self.connection.send(self.request, b"x" * plan.too_much)

    async def stream(self, began: float) -> None:
        """An answer as server-sent events."""
        request, connection, plan = self.request, self.connection, self.behaviour
        # The head goes out when the prompt is done, the role chunk with it.
        await connection.begin_stream(request)
        if first := answers.opening(self.route, self.model, request.number):
            await connection.chunk(request, first)
        for index, text in enumerate(self.said):
            if not await self.before(index):
                return
            await connection.chunk(
                request, answers.piece(self.route, self.model, request.number, index, text, self.prompt)
            )
            request.chunks_sent += 1
            if plan.half_close:
                connection.transport.write_eof()
                await connection.gone.wait()
                raise ClientLeft
        if not await self.before(len(self.said)):
            return
        options = self.body.get("stream_options")
        with_usage = isinstance(options, dict) and bool(options.get("include_usage"))
        for data in answers.closing(
            self.route, self.model, request.number, self.finish, self.counts(began), with_usage=with_usage
        ):
            await connection.chunk(request, data)
        if not plan.too_little:
            await connection.chunk(request, b"")
        if plan.too_much or plan.second_answer:
            await connection.send(request, b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond" + b"x" * plan.too_much)

    async def before(self, index: int) -> bool:
        """Wait for the token of this index; False when the answer has ended with an error instead."""
        plan = self.behaviour
        if plan.crash_after_tokens == index:
            log("ggml_abort")
            quit_now(1)
        if plan.hang_after_tokens == index:
            await self.connection.gone.wait()
            raise ClientLeft
        if plan.error_after_tokens == index and self.body.get("stream"):
            wrong = answers.error(500, "The fake engine was asked to fail", "server_error")
            await self.connection.chunk(self.request, answers.event(wrong))
            await self.connection.chunk(self.request, b"")
            return False
        if index < len(self.said):
            await self.connection.pause(plan.delay_s)
        return True

    def counts(self, began: float) -> dict[str, Any]:
        """Usage and timings of the whole answer."""
        count, spent_ms = len(self.said), 1e3 * (time.monotonic() - began)
        return {
            "usage": answers.usage(self.prompt, count),
            "timings": answers.timings(self.prompt, count, 1e3 * self.behaviour.prefill_s, spent_ms),
        }


def log(text: str) -> None:
    """One line on stderr, where llama-server logs."""
    os.write(2, f"{text}\n".encode())


def quit_now(code: int) -> NoReturn:
    """End at once, as a crash does: nothing is closed or flushed."""
    os._exit(code)
