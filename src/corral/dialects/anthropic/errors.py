"""
Anthropic's error shape: `{"type": "error", "error": {"type", "message"}, "request_id"}`, with `source` added to the
inner object: who failed, Corral or the engine.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

from corral.domain import errors as e
from corral.kit import sse


class Shape(NamedTuple):
    """How a kind of error is shown."""

    status: int
    type: str


TABLE: Final[dict[type[e.CorralError], Shape]] = {
    e.CorralError: Shape(500, "api_error"),
    e.Refused: Shape(400, "invalid_request_error"),
    e.BadRequest: Shape(400, "invalid_request_error"),
    e.Unauthorized: Shape(401, "authentication_error"),
    e.Forbidden: Shape(403, "permission_error"),
    e.UnknownModel: Shape(404, "not_found_error"),
    e.UnknownRoute: Shape(404, "not_found_error"),
    e.WrongMethod: Shape(405, "invalid_request_error"),
    e.Conflict: Shape(409, "invalid_request_error"),
    e.BodyTooLarge: Shape(413, "request_too_large"),
    e.NotOffered: Shape(501, "invalid_request_error"),
    e.ConfigError: Shape(500, "api_error"),
    e.Busy: Shape(503, "overloaded_error"),
    e.QueueFull: Shape(503, "overloaded_error"),
    e.QueueTimeout: Shape(503, "overloaded_error"),
    e.NoMemory: Shape(503, "overloaded_error"),
    e.Unloaded: Shape(503, "overloaded_error"),
    e.Fetching: Shape(503, "overloaded_error"),
    e.ShuttingDown: Shape(503, "overloaded_error"),
    e.EngineFailed: Shape(502, "api_error"),
    e.StartFailed: Shape(503, "api_error"),
    e.EngineDied: Shape(502, "api_error"),
    e.EngineSilent: Shape(504, "timeout_error"),
    e.EngineProtocolError: Shape(502, "api_error"),
    e.EngineRefused: Shape(502, "api_error"),
    e.PlaceFailed: Shape(503, "api_error"),
    e.StoreFailed: Shape(500, "api_error"),
    e.FileMissing: Shape(503, "api_error"),
    e.Unreadable: Shape(503, "api_error"),
    e.BadGguf: Shape(503, "api_error"),
    e.NotThere: Shape(404, "not_found_error"),
    e.FetchFailed: Shape(503, "api_error"),
    e.FetchRefused: Shape(503, "api_error"),
    e.WrongContent: Shape(503, "api_error"),
    e.NoSpace: Shape(507, "api_error"),
    e.FetchStopped: Shape(503, "api_error"),
}
_BY_STATUS: Final = {
    400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error",
    404: "not_found_error", 413: "request_too_large", 429: "rate_limit_error", 503: "overloaded_error",
    504: "timeout_error", 529: "overloaded_error",
}  # fmt: skip


class NoThreads(e.BadRequest):
    """
    Conversations cannot be held here between requests: send all messages, and no `thread`.

    Anthropic's clients read `details`, and then do so by themselves. To pass over the field would be to answer the last
    message alone.
    """

    details: Final = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}


def shape(error: e.CorralError) -> Shape:
    """How it is shown; an engine's own status first."""
    if isinstance(error, e.EngineRefused):
        return Shape(error.engine_status, _BY_STATUS.get(error.engine_status, "api_error"))
    return e.nearest(TABLE, error)


def _words(error: e.CorralError) -> str:
    """Clients that make their prompt shorter look for Anthropic's own words."""
    if isinstance(error, e.EngineRefused) and error.engine_type == "exceed_context_size_error":
        return f"prompt is too long: {error.sentence()}"
    return error.sentence()


class Anthropic:
    """Implements `contracts.dialect.Dialect`."""

    name = "anthropic"
    stream_type = b"text/event-stream"

    def error_status(self, error: e.CorralError) -> int:
        """The HTTP status."""
        return shape(error).status

    def error_body(self, error: e.CorralError, request_id: str) -> bytes:
        """The request id is in the body as well, where Anthropic's clients read it."""
        inner: dict[str, Any] = {
            "type": shape(error).type,
            "message": _words(error),
            "code": error.code,
            "source": error.source,
        }
        if isinstance(error, NoThreads):
            inner["details"] = error.details
        return msgspec.json.encode({"type": "error", "error": inner, "request_id": request_id})

    def error_event(self, error: e.CorralError, request_id: str) -> bytes:
        """No `message_stop` follows it."""
        return sse.event(self.error_body(error, request_id), name="error")

    def id_line(self, request_id: bytes) -> bytes:
        """`request-id`."""
        return b"request-id: %b\r\n" % request_id
