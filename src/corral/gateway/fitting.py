"""`POST /api/corral/fit`: does a model run here? It reads a file, or asks where the model is; nothing is loaded."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from corral.contracts.fitting import Fits, FitWanted
from corral.domain.errors import BadGguf, BadRequest, FileMissing, UnknownRoute, Unreadable
from corral.domain.references import is_reference
from corral.domain.serving import Scope
from corral.gateway.directory import ModelDirectory
from corral.gateway.handling import answer, read_body, route


class _Fit(msgspec.Struct, forbid_unknown_fields=True):
    """`model` is a Model's name, a path on the server, or a reference; `options` go before those of the Model."""

    model: str
    options: dict[str, Any] = {}
    memory: list[str] = []


class FitRoutes:
    """The handler and whom it asks."""

    def __init__(self, directory: ModelDirectory, fits: Fits | None) -> None:
        self._directory = directory
        self._fits = fits

    def routes(self) -> list[Route]:
        """For the table."""
        return [route("/api/corral/fit", self.fit, Scope.ADMIN, "POST")]

    async def fit(self, request: Request) -> Response:
        """Of a Model, a file or a reference."""
        if self._fits is None:
            raise UnknownRoute("This gateway has no store that could be asked.")
        wanted = await read_body(request, _Fit)
        spec = self._directory.find(wanted.model)
        if spec is None and not (is_reference(wanted.model) or is_path(wanted.model)):
            spec = self._directory.get(wanted.model)  # which says what there is instead
        question = FitWanted(wanted.model, spec, wanted.options, tuple(wanted.memory))
        try:
            return answer(await self._fits.fit(question))
        except FileMissing as error:
            raise _NoSuchFile(error.message, hint=error.hint) from error
        except Unreadable as error:
            raise _NotToBeRead(error.message, hint=error.hint) from error
        except BadGguf as error:
            raise _NoModel(error.message, hint=error.hint) from error


class _NoSuchFile(BadRequest):
    """Of a file that is asked about, not needed: it is the question's fault, and clients send a 503 again."""

    code = FileMissing.code


class _NotToBeRead(BadRequest):
    """The same of one that does not let itself be read."""

    code = Unreadable.code


class _NoModel(BadRequest):
    """The same of one that is no model."""

    code = BadGguf.code


def is_path(text: str) -> bool:
    """Whether it can only be a file's."""
    return text.startswith("/") or text.lower().endswith(".gguf")
