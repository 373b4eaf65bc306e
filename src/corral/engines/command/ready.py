"""When a program is ready: it takes connections, and its health path, where it has one, answers 2xx or 3xx."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from corral.domain.errors import EngineProtocolError, StartFailed
from corral.domain.launch import Endpoint
from corral.engines.command.options import NO_HEALTH
from corral.kit.localhttp import LocalConnection, NotHttp
from corral.kit.polling import pauses

_FIRST_PAUSE_S: Final = 0.005
_LISTENING_PAUSE_S: Final = 0.015  # nobody listens yet: a look costs nothing, and readiness is seen within 20 ms
_LOADING_PAUSE_S: Final = 0.1  # it answers, and many a program writes a line for each answer
_ANSWER_S: Final = 5.0
_DEFAULT_PATH: Final = "/health"
NOT_THERE_S: Final = 15.0
"""So long may a health path be unknown to a program that answers: routes may come late."""


async def wait_ready(endpoint: Endpoint, health: str, *, not_there_s: float = NOT_THERE_S) -> None:
    """
    Return once it is ready.

    Raises StartFailed for a path that is not there or refuses the key, EngineProtocolError for what is not HTTP.
    """
    clock = asyncio.get_running_loop().time
    quiet, loading = pauses(_FIRST_PAUSE_S, _LISTENING_PAUSE_S, 1.1), pauses(_FIRST_PAUSE_S, _LOADING_PAUSE_S, 1.2)
    missing_since: float | None = None
    async with _connection(endpoint) as link:
        while True:
            if health == NO_HEALTH:
                status = 200 if await _connects(endpoint, _ANSWER_S) else 0
            else:
                status = await _status(link, endpoint, health)
            if 200 <= status < 400:
                return
            if status in (401, 403):
                raise StartFailed(
                    f"The program refuses GET {health} at {endpoint} ({status}).",
                    hint="Set options.api_key, or options.health to a path that needs no key.",
                )
            missing_since = (missing_since or clock()) if status in (404, 405) else None
            if missing_since is not None and clock() - missing_since >= not_there_s:
                raise StartFailed(
                    f"The program at {endpoint} answers GET {health} with {status}.",
                    hint="Set options.health to a path that it has, or to none.",
                    permanent=True,
                )
            await asyncio.sleep(next(loading if status else quiet))


async def alive(endpoint: Endpoint, timeout_s: float) -> bool:
    """True when it answers as a healthy one does; without a health path, when it takes connections."""
    health = endpoint.health or _DEFAULT_PATH
    if health == NO_HEALTH:
        return await _connects(endpoint, timeout_s)
    try:
        async with _connection(endpoint) as link:
            answer = await link.get(health, headers=_headers(endpoint), timeout_s=timeout_s)
    except (OSError, TimeoutError, NotHttp):
        return False
    return 200 <= answer.status < 400


def _connection(endpoint: Endpoint) -> LocalConnection:
    return LocalConnection(socket=endpoint.socket, host=endpoint.host, port=endpoint.port)


def _headers(endpoint: Endpoint) -> dict[str, str]:
    return {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}


async def _status(link: LocalConnection, endpoint: Endpoint, path: str) -> int:
    """The status of one GET; 0 when nobody answered."""
    try:
        return (await link.get(path, headers=_headers(endpoint), timeout_s=_ANSWER_S)).status
    except (OSError, TimeoutError):
        return 0
    except NotHttp as error:
        raise EngineProtocolError(
            f"What answers at {endpoint} does not speak HTTP: {error}.",
            hint="Does the program want another flag to serve HTTP, or is the address taken?",
        ) from error


async def _connects(endpoint: Endpoint, timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            if endpoint.socket:
                _, writer = await asyncio.open_unix_connection(endpoint.socket)
            else:
                _, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            return True
    except (OSError, TimeoutError):
        return False
