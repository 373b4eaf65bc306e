"""
What clients see when something goes wrong: status and body in the dialect that the client speaks.

Each dialect has its own complete table from the error tree (`dialects/*/errors.py`); headers are the same in all.
`x-corral-source` says who failed, Corral or the engine, as the body does.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Final

from corral.contracts.dialect import Dialect
from corral.dialects.anthropic.errors import Anthropic
from corral.dialects.ollama.errors import Ollama
from corral.dialects.openai.errors import OpenAi
from corral.domain import errors as e
from corral.gateway.routes.table import Route

JSON: Final = b"application/json"
OPENAI: Final = OpenAi()
DIALECTS: Final[dict[str, Dialect]] = {each.name: each for each in (OPENAI, Anthropic(), Ollama())}


def spoken(route: Route | None, path: bytes, fields: Mapping[bytes, bytes]) -> Dialect:
    """What the client of this request speaks: its route says so, else its path or headers (lower case) do."""
    if route is not None and route.dialect != OPENAI.name:
        return DIALECTS[route.dialect]
    if path.startswith(b"/api/") and not path.startswith(b"/api/corral/"):
        return DIALECTS["ollama"]
    if path.startswith(b"/v1/messages") or b"anthropic-version" in fields:
        return DIALECTS["anthropic"]
    return OPENAI


def headers(error: e.CorralError) -> list[tuple[bytes, bytes]]:
    """Headers of an answer that is this error."""
    out = [(b"content-type", JSON), (b"x-corral-source", error.source.encode())]
    if error.retry_after_s is not None:
        out.append((b"retry-after", b"%d" % max(1, ceil(error.retry_after_s))))
    if not error.asking_again_helps:
        out.append((b"x-should-retry", b"false"))  # OpenAI's and Anthropic's clients repeat a 503 unless told so
    if isinstance(error, e.WrongMethod) and error.allow:
        out.append((b"allow", error.allow.encode()))
    if isinstance(error, e.Unauthorized):
        basic = b'Basic realm="corral", ' if error.for_page else b""
        out.append((b"www-authenticate", basic + b'Bearer realm="corral"'))
    return out


def lines(error: e.CorralError, dialect: Dialect, request_id: bytes) -> bytes:
    """The same as header lines, with the request's id where it has one."""
    fields = b"".join([b"%b: %b\r\n" % pair for pair in headers(error)])
    return fields + b"x-request-id: %b\r\n%b" % (request_id, dialect.id_line(request_id)) if request_id else fields


def outcome_of(error: e.CorralError) -> str:
    """How a request that ends with this error is on record (`RequestFinished.outcome`)."""
    if isinstance(error, e.Refused | e.Busy):
        return "refused"
    if isinstance(error, e.EngineSilent):
        return "timeout"
    return "engine_died" if isinstance(error, e.EngineDied) else "engine_error"
