"""
The routes that are not hot: health, listings, metrics and the operator's verbs, as a small Starlette app.

Who asks was found out at the door (`server`, `auth`); here each route says what scope it needs. Nothing in this file
waits for an engine, a disk or a remote, but for `load`, `unload` and `logs`, which are asked to.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, Final, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from corral.contracts.changes import Changes
from corral.contracts.clock import Clock
from corral.contracts.control import Control
from corral.contracts.details import Details
from corral.contracts.fitting import Fits
from corral.contracts.leases import Leases
from corral.contracts.pulling import Pulls
from corral.dialects.anthropic import models as anthropic
from corral.domain.errors import BadRequest, CorralError, UnknownRoute, WrongMethod
from corral.domain.fleet import ModelSpec
from corral.domain.serving import Scope
from corral.gateway import errors, views
from corral.gateway.directory import ModelDirectory
from corral.gateway.fitting import FitRoutes
from corral.gateway.handling import answer as _json
from corral.gateway.handling import read_body as _body
from corral.gateway.handling import route as _route
from corral.gateway.ollama_app import OLLAMA_RUNS, OllamaRoutes
from corral.kit import sse
from corral.kit.tasks import Tasks

HEARTBEAT_S: Final = 15.0
LOAD_S: Final = 600.0
UNLOAD_S: Final = 60.0
CARDS_AT_ONCE: Final = 200
_RUNS: Final = "Corral is running. See /v1/models, /running, /health, /ready and /metrics.\n"
_WAIT_LIMIT_S: Final = 24 * 3600.0

T = TypeVar("T")


class _Load(msgspec.Struct):
    model: str
    wait: bool = True
    timeout_s: float = LOAD_S


class _Unload(msgspec.Struct):
    """All of them is said on purpose: `model` "" or `all` true, not by leaving the field out."""

    model: str | None = None
    all: bool = False
    force: bool = False
    timeout_s: float = UNLOAD_S


async def no_metrics() -> bytes:
    """For a gateway that nobody watches."""
    return b""


class CorralRoutes:
    """The handlers and what they look at."""

    def __init__(
        self,
        leases: Leases,
        directory: ModelDirectory,
        clock: Clock,
        control: Control,
        metrics: Callable[[], Awaitable[bytes]],
        tasks: Tasks,
        draining: Callable[[], bool] = lambda: False,
        *,
        details: Details | None = None,
        changes: Changes | None = None,
        fits: Fits | None = None,
        pulls: Pulls | None = None,
    ) -> None:
        self._leases = leases
        self._directory = directory
        self._clock = clock
        self._control = control
        self._metrics = metrics
        self._tasks = tasks
        self._draining = draining
        self._created = int(clock.wall())
        self._fits = FitRoutes(directory, fits)
        self._ollama = OllamaRoutes(leases, directory, clock, details, changes, pulls)

    def app(self) -> Starlette:
        """The ASGI app."""
        return Starlette(
            routes=[
                _route("/", self.root, None),
                _route("/health", self.health, None),
                _route("/v1/health", self.health, None),
                _route("/ready", self.ready, None),
                _route("/v1/models", self.models, Scope.INFERENCE),
                _route("/models", self.models, Scope.INFERENCE),
                _route("/v1/models/{name:path}", self.model, Scope.INFERENCE),
                _route("/running", self.running, Scope.INFERENCE),
                _route("/metrics", self.metrics, Scope.INFERENCE),
                _route("/api/corral/status", self.status, Scope.ADMIN),
                _route("/api/corral/queue", self.queue, Scope.ADMIN),
                _route("/api/corral/logs", self.logs, Scope.ADMIN),
                _route("/api/corral/events", self.events, Scope.ADMIN),
                _route("/api/corral/load", self.load, Scope.ADMIN, "POST"),
                _route("/api/corral/unload", self.unload, Scope.ADMIN, "POST"),
                *self._fits.routes(),
                *self._ollama.routes(),
            ],
            exception_handlers={CorralError: _on_error, HTTPException: _on_http_error, Exception: _on_bug},
        )

    async def root(self, request: Request) -> Response:
        """A sign of life for people, and for clients that look for Ollama's: on its port they get that alone."""
        if request.scope["state"].get("ollama"):
            return PlainTextResponse(OLLAMA_RUNS)
        browser = "text/html" in request.headers.get("accept", "")
        return PlainTextResponse(_RUNS if browser else f"{OLLAMA_RUNS}\n{_RUNS}")

    async def health(self, request: Request) -> Response:
        """This process is alive; it says nothing of engines."""
        return _json({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """200 once pinned and preloaded Models are up."""
        if self._draining():
            return _json({"status": "stopping"}, 503)
        absent = views.missing(self._directory.models.values(), self._leases.view)
        if not absent:
            return _json({"status": "ready"})
        return _json({"status": "not ready", "missing": absent}, 503)

    async def models(self, request: Request) -> Response:
        """OpenAI's list, or a page of Anthropic's."""
        if _by_anthropic(request):
            return _json(self._anthropic_page(request))
        cards = []
        for name, model in self._directory.listed():
            cards.append(self._card(model, name))
            if len(cards) % CARDS_AT_ONCE == 0:
                await asyncio.sleep(0)  # ten thousand take 60 ms, and nobody's answer stands still for that long
        return _json({"object": "list", "data": cards})

    async def model(self, request: Request) -> Response:
        """One of them, by name or alias."""
        name = request.path_params["name"]
        if _by_anthropic(request):
            return _json(self._anthropic_card(self._directory.get(name), name))
        return _json(self._card(self._directory.get(name), name))

    def _card(self, model: ModelSpec, name: str) -> dict[str, Any]:
        return views.model_card(
            model,
            self._leases.view(model.name),
            created=self._created,
            name=name,
            facts=self._directory.facts_of(model.name),
            context=self._directory.context_of(model.name),
        )

    def _anthropic_page(self, request: Request) -> dict[str, Any]:
        listed, query = self._directory.listed(), request.query_params
        return anthropic.page(
            [name for name, _ in listed],
            lambda places: [self._anthropic_card(listed[place][1], listed[place][0]) for place in places],
            limit=query.get("limit"),
            after_id=query.get("after_id"),
            before_id=query.get("before_id"),
        )

    def _anthropic_card(self, model: ModelSpec, name: str) -> dict[str, Any]:
        facts = self._directory.facts_of(model.name)
        context = model.metadata.get("context_length")
        if not isinstance(context, int):
            context = self._directory.context_of(model.name) or facts.context_tokens
        title = model.title or facts.name
        return anthropic.card(name, title=title, created=self._created, context_tokens=context)

    async def running(self, request: Request) -> Response:
        """What is loaded, loading or waited for."""
        found = views.running(self._leases.views())
        expected, now = self._leases.newcomers_wait_s(view.model for view in found), self._clock.now()
        return _json({"running": [view.row(now, expected.get(view.model)) for view in found]})

    async def metrics(self, request: Request) -> Response:
        """Prometheus text."""
        return Response(await self._metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def status(self, request: Request) -> Response:
        """All that `corral status` and `corral ps` show."""
        return _json(await self._control.status())

    async def load(self, request: Request) -> Response:
        """Load a Model and wait until it is ready, or (`wait` false) only begin to."""
        wanted = await _body(request, _Load)
        model = self._directory.get(wanted.model).name
        timeout_s = _seconds(wanted.timeout_s)
        if not wanted.wait:
            self._tasks.start(self._load_unwatched(model, timeout_s), name=f"load {model}")
            return _json({"model": model, "state": "loading"}, 202)
        view = await self._control.load(model, timeout_s=timeout_s)
        expected = self._leases.newcomers_wait_s([model])
        return _json(view.row(self._clock.now(), expected.get(model)))

    async def _load_unwatched(self, model: str, timeout_s: float) -> None:
        try:
            await self._control.load(model, timeout_s=timeout_s)
        except CorralError:
            pass  # the state and the log tell it; nobody waits here

    async def unload(self, request: Request) -> Response:
        """Unload a Model, or all."""
        wanted = await _body(request, _Unload)
        if wanted.model is None and not wanted.all:
            raise BadRequest("Which Model?", hint='Send {"model": NAME} or {"all": true}.')
        model = self._directory.get(wanted.model).name if wanted.model else ""
        gone = await self._control.unload(model, force=wanted.force, timeout_s=_seconds(wanted.timeout_s))
        return _json({"unloaded": list(gone.models), "fetches_ended": list(gone.fetches)})

    async def queue(self, request: Request) -> Response:
        """Who waits, for which Model, for how long and for how much longer."""
        return _json({"waiting": [views.waiting_row(view) for view in self._leases.waiters()]})

    async def logs(self, request: Request) -> Response:
        """An engine's output, as text; `follow=true` goes on until it has ended."""
        query = request.query_params
        model = self._directory.get(query.get("model", "")).name
        tail = _number(query.get("tail"))
        lines = aiter(self._control.logs(model, tail=tail, follow=query.get("follow", "") in ("1", "true")))
        first = await anext(lines, None)  # an error now is still an answer of its own
        return StreamingResponse(_text(first, lines), media_type="text/plain; charset=utf-8")

    async def events(self, request: Request) -> Response:
        """What happens, as it happens."""
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(self._feed(), media_type="text/event-stream", headers=headers)

    async def _feed(self) -> AsyncGenerator[bytes, None]:
        notices = aiter(self._control.events())
        yield b": corral\n\n"
        while True:
            step = self._tasks.start(_next(notices), name="next event")
            try:
                while not (await asyncio.wait({step}, timeout=HEARTBEAT_S))[0]:
                    yield b":\n\n"  # so that proxies in between do not think it dead
            finally:
                step.cancel()
            notice = step.result()
            if notice is None:
                return
            yield sse.event(views.notice_event(notice))


def _by_anthropic(request: Request) -> bool:
    return "anthropic-version" in request.headers


def _seconds(value: float) -> float:
    if not 0 <= value <= _WAIT_LIMIT_S:
        raise BadRequest("timeout_s must be from 0 to 86400 seconds.")
    return value


def _number(text: str | None) -> int | None:
    if text is None or text == "":
        return None
    if not text.isdecimal() or len(text) > 9:
        raise BadRequest(f"tail must be a whole number, not {text[:20]!r}.")
    return int(text)


async def _next(items: AsyncIterator[T]) -> T | None:
    return await anext(items, None)


async def _text(first: str | None, lines: AsyncIterator[str]) -> AsyncIterator[bytes]:
    if first is not None:
        yield f"{first}\n".encode()
    async for line in lines:
        yield f"{line}\n".encode()


async def _on_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, CorralError):
        raise error
    headers = {name.decode(): value.decode("latin-1") for name, value in errors.headers(error)}
    scope = request.scope
    dialect = errors.spoken(None, scope["raw_path"], dict(scope["headers"]))
    body = dialect.error_body(error, scope["state"]["request_id"])
    return Response(body, dialect.error_status(error), headers)


async def _on_bug(request: Request, error: Exception) -> Response:
    """A bug of ours. The caller learns that, the log has the rest."""
    return await _on_error(request, CorralError("Something went wrong in Corral.", hint="Its log says what."))


async def _on_http_error(request: Request, error: Exception) -> Response:
    """Starlette's own: no such route, wrong method."""
    if isinstance(error, HTTPException) and error.status_code == 405:
        return await _on_error(request, WrongMethod(allow=(error.headers or {}).get("Allow", "")))
    return await _on_error(request, UnknownRoute(f"There is no route {request.scope['path'][:200]!r}."))
