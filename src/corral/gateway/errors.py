"""
What clients see when something goes wrong: one complete table from the error tree to status and body.

The shape is OpenAI's, `{"error": {"message", "type", "param", "code"}}`, with `source` added: who failed, Corral or
the engine. The header `x-corral-source` says the same. `tests/unit/gateway/test_errors.py` keeps the table complete.
"""

from __future__ import annotations

from math import ceil
from typing import Final, NamedTuple

import msgspec

from corral.domain import errors as e
from corral.kit import sse


class Shape(NamedTuple):
    """How a kind of error is shown."""

    status: int
    type: str


TABLE: Final[dict[type[e.CorralError], Shape]] = {
    e.CorralError: Shape(500, "server_error"),
    e.Refused: Shape(400, "invalid_request_error"),
    e.BadRequest: Shape(400, "invalid_request_error"),
    e.Unauthorized: Shape(401, "authentication_error"),
    e.Forbidden: Shape(403, "permission_error"),
    e.UnknownModel: Shape(404, "not_found_error"),
    e.UnknownRoute: Shape(404, "not_found_error"),
    e.WrongMethod: Shape(405, "invalid_request_error"),
    e.Conflict: Shape(409, "conflict_error"),
    e.BodyTooLarge: Shape(413, "invalid_request_error"),
    e.ConfigError: Shape(500, "server_error"),
    e.Busy: Shape(503, "overloaded_error"),
    e.QueueFull: Shape(503, "overloaded_error"),
    e.QueueTimeout: Shape(503, "overloaded_error"),
    e.NoMemory: Shape(503, "overloaded_error"),
    e.Unloaded: Shape(503, "overloaded_error"),
    e.ShuttingDown: Shape(503, "overloaded_error"),
    e.EngineFailed: Shape(502, "engine_error"),
    e.StartFailed: Shape(503, "engine_error"),
    e.EngineDied: Shape(502, "engine_error"),
    e.EngineSilent: Shape(504, "engine_error"),
    e.EngineProtocolError: Shape(502, "engine_error"),
    e.PlaceFailed: Shape(503, "server_error"),
    e.StoreFailed: Shape(500, "server_error"),
    e.FileMissing: Shape(503, "server_error"),
    e.BadGguf: Shape(503, "server_error"),
}

JSON: Final = b"application/json"


def shape(error: e.CorralError) -> Shape:
    """The row of the nearest class that has one (plug-ins may derive their own errors)."""
    for kind in type(error).__mro__:
        row = TABLE.get(kind)
        if row is not None:
            return row
    return TABLE[e.CorralError]


def body(error: e.CorralError) -> bytes:
    """The JSON body."""
    fields: dict[str, object] = {
        "message": error.sentence(),
        "type": shape(error).type,
        "param": "model" if isinstance(error, e.UnknownModel) else None,
        "code": error.code,
        "source": error.source,
    }
    if isinstance(error, e.StartFailed) and error.log_tail:
        fields["log_tail"] = list(error.log_tail)
    return msgspec.json.encode({"error": fields})


def event(error: e.CorralError) -> bytes:
    """The one terminal event of a stream that cannot go on; no `[DONE]` follows it."""
    return sse.event(body(error))


def headers(error: e.CorralError) -> list[tuple[bytes, bytes]]:
    """Headers of an answer that is this error."""
    out = [(b"content-type", JSON), (b"x-corral-source", error.source.encode())]
    if error.retry_after_s is not None:
        out.append((b"retry-after", b"%d" % max(1, ceil(error.retry_after_s))))
    if isinstance(error, e.WrongMethod) and error.allow:
        out.append((b"allow", error.allow.encode()))
    if isinstance(error, e.Unauthorized):
        out.append((b"www-authenticate", b'Bearer realm="corral"'))
    return out
