"""
OpenAI's error shape: `{"error": {"message", "type", "param", "code"}}`, with `source` added: who failed, Corral or the
engine.
"""

from __future__ import annotations

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
    e.NotOffered: Shape(501, "invalid_request_error"),
    e.ConfigError: Shape(500, "server_error"),
    e.Busy: Shape(503, "overloaded_error"),
    e.QueueFull: Shape(503, "overloaded_error"),
    e.QueueTimeout: Shape(503, "overloaded_error"),
    e.NoMemory: Shape(503, "overloaded_error"),
    e.Unloaded: Shape(503, "overloaded_error"),
    e.Fetching: Shape(503, "overloaded_error"),
    e.ShuttingDown: Shape(503, "overloaded_error"),
    e.EngineFailed: Shape(502, "engine_error"),
    e.StartFailed: Shape(503, "engine_error"),
    e.EngineDied: Shape(502, "engine_error"),
    e.EngineSilent: Shape(504, "engine_error"),
    e.EngineProtocolError: Shape(502, "engine_error"),
    e.EngineRefused: Shape(502, "engine_error"),
    e.PlaceFailed: Shape(503, "server_error"),
    e.StoreFailed: Shape(500, "server_error"),
    e.FileMissing: Shape(503, "server_error"),
    e.Unreadable: Shape(503, "server_error"),
    e.BadGguf: Shape(503, "server_error"),
    e.NotThere: Shape(404, "not_found_error"),
    e.FetchFailed: Shape(503, "server_error"),
    e.FetchRefused: Shape(503, "server_error"),
    e.WrongContent: Shape(503, "server_error"),
    e.NoSpace: Shape(507, "server_error"),
    e.FetchStopped: Shape(503, "server_error"),
}


_TOO_LONG: Final = "context_length_exceeded"
"""OpenAI's own code, by which agents know that they must shorten what they send."""


def shape(error: e.CorralError) -> Shape:
    """How it is shown; an engine's own words first."""
    if isinstance(error, e.EngineRefused):
        return Shape(error.engine_status, error.engine_type or TABLE[e.EngineRefused].type)
    return e.nearest(TABLE, error)


def shown(error: e.CorralError) -> dict[str, object]:
    """`param` is `model` where that names nothing; a start that failed has the engine's last log lines."""
    fields: dict[str, object] = {
        "message": error.sentence(),
        "type": shape(error).type,
        "param": "model" if isinstance(error, e.UnknownModel) else None,
        "code": _TOO_LONG if _is_too_long(error) else error.code,
        "source": error.source,
    }
    if isinstance(error, e.StartFailed) and error.log_tail:
        fields["log_tail"] = list(error.log_tail)
    return fields


def _is_too_long(error: e.CorralError) -> bool:
    return isinstance(error, e.EngineRefused) and error.engine_type == "exceed_context_size_error"


class OpenAi:
    """Implements `contracts.dialect.Dialect`."""

    name = "openai"
    stream_type = b"text/event-stream"

    def error_status(self, error: e.CorralError) -> int:
        """The HTTP status."""
        return shape(error).status

    def error_body(self, error: e.CorralError, request_id: str) -> bytes:
        """The JSON body."""
        return msgspec.json.encode({"error": shown(error)})

    def error_event(self, error: e.CorralError, request_id: str) -> bytes:
        """No `[DONE]` follows it."""
        return sse.event(self.error_body(error, request_id))

    def id_line(self, request_id: bytes) -> bytes:
        """None."""
        return b""
