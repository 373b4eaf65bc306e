"""What the handlers of the routes that are not hot share: scopes, bodies, answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from corral.domain.errors import BadRequest, Forbidden, Unauthorized
from corral.domain.serving import Caller, Scope

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Response]]


def route(path: str, handler: Handler, scope: Scope | None, *methods: str) -> Route:
    """A route that callers with this scope may use; None: everybody. GET, the default, answers HEAD as well."""

    async def guarded(request: Request) -> Response:
        error = missing_scope(request, scope) if scope is not None else None
        if error is not None:
            raise error
        return await handler(request)

    return Route(path, guarded, methods=methods or ("GET",))


def missing_scope(request: Request, scope: Scope) -> Unauthorized | Forbidden | None:
    """Why whoever asks may not do what needs this scope; None where they may."""
    caller: Caller | None = request.scope["state"]["caller"]
    if caller is None:
        return Unauthorized()
    if not caller.may(scope):
        return Forbidden(f"This needs the scope {scope.value!r}, which the key {caller.name!r} does not have.")
    return None


async def read_body(request: Request, kind: type[T]) -> T:
    """The JSON body. Raises BadRequest."""
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"The request body is wrong: {error}.") from None


def answer(value: Any, status: int = 200) -> Response:
    """JSON."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")
