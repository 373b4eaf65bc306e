"""
A fake llama-server whose failures are options: `python -m corral.fakes.engine_program --socket PATH --name NAME`.

Standard library only and quick to start. What it does to one request is a `Behaviour`: the options give the usual
one, and a request can change fields for itself in its body (`"fake": {"chunks": 50, "delay_s": 0.01}`) or in headers
(`X-Fake-Delay-S: 0.01`). GET /fake/requests tells what it was asked, and when clients left.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import itertools
import os
import signal
import sys
import time
from typing import Any, Final, NoReturn

from corral.fakes import engine_answers as answers
from corral.fakes.engine_behaviour import Behaviour, Generation, log, quit_now
from corral.fakes.engine_http import ClientLeft, Connection, Request
from corral.kit.tasks import Tasks

CONTEXT: Final = 4096
_ROUTES: Final = {
    "/v1/chat/completions": "chat",
    "/chat/completions": "chat",
    "/v1/completions": "text",
    "/completion": "native",
    "/completions": "native",
    "/infill": "native",
}


class FakeEngine:
    """The server: its slots, its requests, its way to end."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.behaviour = Behaviour(**{each.name: getattr(options, each.name) for each in dataclasses.fields(Behaviour)})
        self.key = os.environ.get(options.key_env, "") if options.key_env else ""
        self.ready = False
        self.busy = 0
        self.requests: list[Request] = []
        self.open: set[Connection] = set()
        self.numbers = itertools.count(1)
        self.connections = itertools.count(1)
        self.tasks = Tasks("fake engine")
        self.stopping = asyncio.Event()

    def connect(self) -> Connection:
        """A new client."""
        connection = _Counted(next(self.connections), lambda: next(self.numbers), self.handle)
        connection.engine = self
        return connection

    async def run(self) -> int:
        """Listen, load, serve until SIGTERM; the exit code."""
        loop = asyncio.get_running_loop()
        server = await self._listen(loop)
        self.tasks.start(self._load(), name="load")
        if self.options.log_flood:
            self.tasks.start(self._flood(), name="log flood")
        await self.stopping.wait()
        # llama-server ends only when nothing is in flight, however long that takes.
        while self.busy:
            await asyncio.sleep(0.005)
        server.close()
        return 0

    async def _listen(self, loop: asyncio.AbstractEventLoop) -> asyncio.Server:
        try:
            if self.options.socket:
                # asyncio would remove a stale file; llama-server fails.
                if os.path.exists(self.options.socket):  # noqa: ASYNC240
                    raise OSError("the socket file exists already")
                server = await loop.create_unix_server(self.connect, self.options.socket)
                where = self.options.socket
            else:
                server = await loop.create_server(self.connect, self.options.host, self.options.port)
                where = "http://{}:{}".format(*server.sockets[0].getsockname()[:2])
        except OSError as error:
            log(f"couldn't bind HTTP server socket: {error}")
            sys.exit(1)
        log(f"server is listening on {where}")
        return server

    async def _load(self) -> None:
        await asyncio.sleep(self.options.load_s)
        while self.options.load_while and os.path.exists(self.options.load_while):  # noqa: ASYNC240
            await asyncio.sleep(0.02)
        if self.options.exit_while_loading is not None:
            log("exiting due to model loading error")
            quit_now(self.options.exit_while_loading)
        if self.options.no_memory_while and os.path.exists(self.options.no_memory_while):  # noqa: ASYNC240
            log("cannot allocate its buffers: out of memory")
            quit_now(1)
        if self.options.never_ready:
            return
        if not self.options.refuse_sigterm:
            # llama-server takes the signal only once it is loaded; before that, SIGTERM ends it at once.
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._terminate)
        self.ready = True
        log("model loaded")

    def _terminate(self) -> None:
        if self.stopping.is_set():
            quit_now(1)  # the second signal ends it at once
        log("cleaning up before exit...")
        self.stopping.set()

    async def _flood(self) -> None:
        line = b"log flood " + b"x" * 110 + b"\n"
        while True:
            os.write(2, line * 32)
            await asyncio.sleep(0.001)

    async def handle(self, request: Request, connection: Connection) -> None:
        """Answer one request."""
        if request.path.startswith("/fake/"):
            await self._tell(request, connection)
            return
        self.requests.append(request)
        if not self.ready:
            await connection.answer(request, 503, answers.dump(answers.LOADING))
        elif not self._allowed(request):
            body = answers.error(401, "Invalid API Key", "authentication_error")
            await connection.answer(request, 401, answers.dump(body))
        elif request.method == "POST":
            await self._post(request, connection)
        else:
            await self._get(request, connection)

    def _allowed(self, request: Request) -> bool:
        if not self.key or request.path in ("/health", "/v1/health"):
            return True
        return self.key in (request.header("authorization").removeprefix("Bearer "), request.header("x-api-key"))

    async def _tell(self, request: Request, connection: Connection) -> None:
        if request.path == "/fake/reset":
            self.requests.clear()
        told = {
            "now": time.monotonic(),
            "pid": os.getpid(),
            "busy": self.busy,
            "connections": len(self.open),
            "requests": [each.report() for each in self.requests],
        }
        await connection.answer(request, 200, answers.dump(told))

    async def _get(self, request: Request, connection: Connection) -> None:
        name, slots = self.options.name, self.options.slots
        body: object
        match request.path:
            case "/health" | "/v1/health":
                body = {"status": "ok"}
            case "/v1/models" | "/models":
                body = answers.models(name, CONTEXT)
            case "/props":
                body = answers.props(name, slots, CONTEXT)
            case "/metrics":
                await self._metrics(request, connection)
                return
            case "/slots":
                body = answers.slot_list(slots, self.busy, CONTEXT)
            case _:
                await connection.answer(request, 404, answers.dump(answers.NOT_FOUND))
                return
        await connection.answer(request, 200, answers.dump(body))

    async def _metrics(self, request: Request, connection: Connection) -> None:
        match self.options.metrics:
            case "hang":
                await connection.gone.wait()
            case "none":
                body = answers.error(501, "This server does not support metrics endpoint.", "not_supported_error")
                await connection.answer(request, 501, answers.dump(body))
            case "garbage":
                await connection.answer(request, 200, b'# TYPE\n{}\nllamacpp:odd{a="b} 1\n\xff\xfe 7\n\n')
            case _:
                served = sum(each.method == "POST" for each in self.requests)
                await connection.answer(request, 200, answers.metrics(served, self.busy).encode())

    async def _post(self, request: Request, connection: Connection) -> None:
        try:
            body = request.json()
            behaviour = self.behaviour.changed(request, body)
        except (ValueError, TypeError) as error:
            wrong = answers.error(400, str(error), "invalid_request_error")
            await connection.answer(request, 400, answers.dump(wrong))
            return
        match request.path:
            case "/tokenize":
                plain: object = {"tokens": list(str(body.get("content", "")).encode())}
            case "/detokenize":
                plain = {"content": bytes(body.get("tokens", ())).decode("utf-8", "replace")}
            case "/apply-template":
                plain = {"prompt": answers.prompt_text(body)}
            case "/v1/embeddings" | "/embeddings" | "/embedding":
                plain = answers.embeddings(body, str(body.get("model", self.options.name)))
            case _:
                plain = None
        route = _ROUTES.get(request.path)
        if plain is None and route is None:
            await connection.answer(request, 404, answers.dump(answers.NOT_FOUND))
            return
        async with self._slot(connection):
            if await self._fails_before_head(request, connection, behaviour):
                return
            if route is None:
                await connection.answer(request, 200, answers.dump(plain))
            else:
                await Generation(self.options.name, request, connection, behaviour, route, body).run()

    @contextlib.asynccontextmanager
    async def _slot(self, connection: Connection) -> Any:
        while self.busy >= self.options.slots:
            await connection.pause(0.002)
        self.busy += 1
        try:
            yield
        finally:
            self.busy -= 1

    async def _fails_before_head(self, request: Request, connection: Connection, behaviour: Behaviour) -> bool:
        await connection.pause(behaviour.prefill_s)
        if behaviour.crash_before_first_byte:
            log("GGML_ASSERT(false) failed")
            quit_now(1)
        if behaviour.hang:
            await connection.gone.wait()
            raise ClientLeft
        if behaviour.garbage:
            await connection.send(request, b"\x00\x01 this is not HTTP \r\n\r\n")
            connection.closing = True
            return True
        if behaviour.status != 200:
            body = answers.error(behaviour.status, "The fake engine was asked to fail", "server_error")
            await connection.answer(request, behaviour.status, answers.dump(body))
            return True
        return False


class _Counted(Connection):
    """A connection that the engine counts and runs."""

    engine: FakeEngine

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.engine.open.add(self)
        self.engine.tasks.start(self.serve(), name=f"connection {self.number}")

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.engine.open.discard(self)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fake-engine", description="A llama-server whose failures are options.")
    parser.add_argument("--socket", default="", help="unix socket to listen on; it must not exist")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one and logs it")
    parser.add_argument("--name", default="fake", help="the model's name, which it answers with")
    parser.add_argument("--key-env", default="", metavar="NAME", help="environment variable that holds the key")
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--load-s", type=float, default=0.0, help="answer 503 for so long")
    parser.add_argument("--load-while", metavar="FILE", help="answer 503 as long as it exists, too")
    parser.add_argument("--never-ready", action="store_true", help="answer 503 for ever")
    parser.add_argument("--exit-at-start", type=int, metavar="CODE", help="end before listening")
    parser.add_argument("--exit-while-loading", type=int, metavar="CODE", help="end after --load-s")
    parser.add_argument("--no-memory-while", metavar="FILE", help="as long as it exists: end for lack of memory")
    parser.add_argument("--memory", type=int, default=0, metavar="BYTES", help="take and touch so much memory")
    parser.add_argument("--refuse-sigterm", action="store_true")
    parser.add_argument("--fork-child", nargs="?", const="group", choices=("group", "session"),
                        help="fork a child that sleeps, in this process group or in a session of its own")  # fmt: skip
    parser.add_argument("--log-lines", type=int, default=0, metavar="N", help="log so many lines at the start")
    parser.add_argument("--log-text", action="append", default=[], metavar="TEXT", help="log this line at the start")
    parser.add_argument("--metrics", choices=("plain", "hang", "none", "garbage"), default="plain",
                        help="what GET /metrics gives")  # fmt: skip
    parser.add_argument("--log-flood", action="store_true", help="log without end")
    for each in dataclasses.fields(Behaviour):
        flag = "--" + each.name.replace("_", "-")
        if each.default is False:
            parser.add_argument(flag, action="store_true")
        else:
            kind = str if each.name == "reply" else float if each.name.endswith("_s") else int
            parser.add_argument(flag, type=kind, default=each.default)
    parser.add_argument("--slow-prefill", dest="prefill_s", type=float, help="the same as --prefill-s")
    return parser


def _fork_child(how: str) -> None:
    child = os.fork()
    if child:
        log(f"child {child}")
        return
    if how == "session":
        os.setsid()
    while True:  # it keeps our pipes and our socket folder, as a real helper process would
        time.sleep(3600)


def main() -> NoReturn:
    """Run until stopped."""
    options = _arguments().parse_args()
    log(f"llama_server: initializing {options.name}, pid {os.getpid()}")
    for number in range(options.log_lines):
        log(f"log line {number}")
    for text in options.log_text:
        log(text)
    if options.exit_at_start is not None:
        quit_now(options.exit_at_start)
    if options.refuse_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if options.fork_child:
        _fork_child(options.fork_child)
    memory = bytearray(options.memory)
    memory[::4096] = b"\1" * len(range(0, len(memory), 4096))

    async def serve() -> int:
        return await FakeEngine(options).run()

    code = asyncio.run(serve())
    quit_now(code)


if __name__ == "__main__":
    main()
