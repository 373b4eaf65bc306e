"""
Ollama's routes that ask no engine: what there is, what runs, and the changes that mean something here.

A Model is what the config says, so `copy` writes an alias into the config file and `delete` takes a name out of it; no
model file is ever touched. `pull` is in `pulling`. What only Ollama's own store could do is refused with 501 and what
to do instead.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from corral.contracts.changes import Changes
from corral.contracts.clock import Clock
from corral.contracts.details import Details
from corral.contracts.leases import Leases
from corral.contracts.pulling import Pulls
from corral.dialects.ollama import models as shapes
from corral.dialects.ollama.names import shortest, spellings
from corral.domain.devices import RAM
from corral.domain.errors import BadRequest, Conflict, NotOffered, UnknownModel
from corral.domain.fleet import ModelSpec
from corral.domain.instance import InstanceState, InstanceView
from corral.domain.names import MODEL_NAME
from corral.domain.serving import Scope
from corral.gateway.directory import ModelDirectory
from corral.gateway.handling import answer, read_body, route
from corral.gateway.pulling import PullRoute
from corral.version import __version__

OLLAMA_RUNS: Final = "Ollama is running"
"""The whole of what Ollama's own `/` says; clients look for these words."""
BLOBS: Final = b"/api/blobs/"
_AT_ONCE: Final = 200
_DIGEST: Final = re.compile(r"sha256[:-][0-9a-fA-F]{64}")
_SERVING: Final = frozenset({InstanceState.READY, InstanceState.DRAINING})
_OWN_FILES: Final = "Corral serves model files where they are and takes none in."
_ADD: Final = "Put the .gguf file on the server and add it to the config under `models`."
_REFUSED: Final = {
    "/api/create": (
        "Corral makes no models from Modelfiles.",
        "Its config has what they say: `source`, `options`, aliases. For a second name use /api/copy.",
    ),
    "/api/push": ("Corral publishes no models.", ""),
    "/api/me": ("Corral has no accounts at ollama.com.", "Its own keys are in the config under server.keys."),
    "/api/signout": ("Corral has no accounts at ollama.com.", "Its own keys are in the config under server.keys."),
    "/api/web_search": ("Corral does not search the web.", "Give the Model a tool that does."),
    "/api/web_fetch": ("Corral does not fetch web pages.", "Give the Model a tool that does."),
    "/api/experimental/web_search": ("Corral does not search the web.", "Give the Model a tool that does."),
    "/api/experimental/web_fetch": ("Corral does not fetch web pages.", "Give the Model a tool that does."),
}


class _Named(msgspec.Struct):
    """`name` is what older clients send."""

    model: str | None = None
    name: str | None = None


class _Show(_Named):
    verbose: bool | None = None


class _Copy(msgspec.Struct):
    source: str | None = None
    destination: str | None = None


def no_blobs() -> NotOffered:
    """A file that somebody would send us; it need not be read to be refused."""
    return NotOffered(_OWN_FILES, hint=_ADD)


class OllamaRoutes:
    """The handlers and what they look at. Without `details`, `changes` and `pulls` there are none."""

    def __init__(
        self,
        leases: Leases,
        directory: ModelDirectory,
        clock: Clock,
        details: Details | None,
        changes: Changes | None,
        pulls: Pulls | None,
    ) -> None:
        self._leases = leases
        self._directory = directory
        self._clock = clock
        self._details = details
        self._changes = changes
        self._pull = PullRoute(directory, pulls)
        self._created = clock.wall()

    def routes(self) -> list[Route]:
        """For the app."""
        return [
            route("/api/tags", self.tags, Scope.INFERENCE),
            route("/api/show", self.show, Scope.INFERENCE, "POST"),
            route("/api/ps", self.ps, Scope.INFERENCE),
            route("/api/version", self.version, Scope.INFERENCE),
            route("/api/status", self.status, Scope.INFERENCE),
            route("/api/pull", self._pull.pull, Scope.INFERENCE, "POST"),
            route("/api/copy", self.copy, Scope.ADMIN, "POST"),
            route("/api/delete", self.delete, Scope.ADMIN, "DELETE"),
            route("/api/blobs/{digest:path}", self.blob, Scope.INFERENCE, "HEAD", "POST"),
            *(route(path, self.refused, Scope.INFERENCE, "POST") for path in _REFUSED),
        ]

    # --- what there is ---

    async def tags(self, request: Request) -> Response:
        """Every Model, and aliases where they are listed."""
        found = []
        for name, model in self._directory.listed():
            facts = self._directory.facts_of(model.name)
            shown = model.pulled if model.pulled and name == model.name else name
            found.append(shapes.tag(shown, model.name, facts, self._able(model), created=self._created))
            if len(found) % _AT_ONCE == 0:
                await asyncio.sleep(0)  # ten thousand must not hold everybody's answers up
        return answer({"models": found})

    async def show(self, request: Request) -> Response:
        """One Model, with what its file says."""
        wanted = await read_body(request, _Show)
        name, model = self._meant(wanted)
        file = await self._details.of(model) if self._details is not None else None
        facts = self._directory.facts_of(model.name)
        found = shapes.show(
            name, facts, self._able(model), model.options, file, created=self._created, verbose=bool(wanted.verbose)
        )
        return answer(found)

    async def ps(self, request: Request) -> Response:
        """What is loaded; what stays longest comes first."""
        found = [
            (self._expires_at(view), view)
            for view in self._leases.views()
            if view.state in _SERVING and view.model in self._directory.models
        ]
        found.sort(key=lambda each: -each[0])
        return answer({"models": [self._running(view, expires_at) for expires_at, view in found]})

    def _expires_at(self, view: InstanceView) -> float:
        """While it answers its time has not begun: it ends no sooner than that long from now."""
        if view.pinned or view.ttl_s is None:
            left = shapes.FOREVER_S
        else:
            left = view.ttl_s if view.expires_at is None else view.expires_at - self._clock.now()
        return self._clock.wall() + min(shapes.FOREVER_S, max(0.0, left))

    def _running(self, view: InstanceView, expires_at: float) -> dict[str, Any]:
        facts = self._directory.facts_of(view.model)
        vram = sum(size for device, size in view.devices.items() if device != RAM)
        return shapes.running(
            self._directory.models[view.model].pulled or view.model,
            view.model,
            facts,
            size=sum(view.devices.values()) or view.ram_bytes or facts.size_bytes or 0,
            size_vram=vram,
            expires_at=expires_at,
            context=self._directory.context_of(view.model, view.instance),
        )

    def _able(self, model: ModelSpec) -> tuple[str, ...]:
        return model.capabilities or self._directory.facts_of(model.name).capabilities

    async def version(self, request: Request) -> Response:
        """Of the API, and our own."""
        return answer({"version": shapes.VERSION, "corral": __version__})

    async def status(self, request: Request) -> Response:
        """There is no cloud behind this."""
        return answer({"cloud": {"disabled": True, "source": "none"}})

    # --- what changes something ---

    async def copy(self, request: Request) -> Response:
        """A second name for a Model: an alias in the config."""
        wanted = await read_body(request, _Copy)
        if not wanted.source or not wanted.destination:
            raise BadRequest("source and destination are required.")
        _, model = self._directory.meant(spellings(wanted.source))
        alias = shortest(wanted.destination)
        if not (MODEL_NAME.fullmatch(alias) and all(part[:1].isalnum() for part in alias.split("/"))):
            raise BadRequest(
                f"destination {_cut(wanted.destination)!r} is invalid.",
                hint="Begin with a letter or a digit, go on with those and . _ : / @ + -",
            )
        try:
            there, other = self._directory.meant(spellings(wanted.destination))
        except UnknownModel:
            await self._changing().add_alias(model.name, alias)
            return Response()
        if other.name != model.name:
            what = "a Model" if there == other.name else f"an alias of {other.name!r}"
            raise Conflict(f"{there!r} is {what} already.", hint="Delete it first, or choose another name.")
        return Response()

    async def delete(self, request: Request) -> Response:
        """Of an alias the alias, of a Model its entry in the config."""
        name, model = self._meant(await read_body(request, _Named))
        if name == model.name:
            await self._changing().remove_model(model.name)
        else:
            await self._changing().remove_alias(model.name, name)
        return Response()

    def _changing(self) -> Changes:
        if self._changes is None:
            raise Conflict("There is no config file that could be changed.")
        return self._changes

    # --- what means nothing here ---

    async def blob(self, request: Request) -> Response:
        """There are none, so none is found; and none is taken in."""
        if not _DIGEST.fullmatch(request.path_params["digest"]):
            raise BadRequest("invalid digest format: sha256:<64 hex digits> is one.")
        if request.method == "HEAD":
            return Response(status_code=404)
        raise no_blobs()

    async def refused(self, request: Request) -> Response:
        """Says why, and what to do instead."""
        message, hint = _REFUSED[request.scope["path"]]
        raise NotOffered(message, hint=hint)

    def _meant(self, wanted: _Named) -> tuple[str, ModelSpec]:
        name = wanted.model or wanted.name
        if not name:
            raise BadRequest("model is required.")
        return self._directory.meant(spellings(name))


def _cut(name: str) -> str:
    return name if len(name) <= 100 else name[:97] + "..."
