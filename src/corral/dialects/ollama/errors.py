"""
Ollama's error shape: `{"error": "..."}`, with `source` added: who failed, Corral or the engine.

In a stream it is a line like any other, the last one; the status has been 200 by then.
"""

from __future__ import annotations

from typing import Final

import msgspec

from corral.domain import errors as e

STATUS: Final[dict[type[e.CorralError], int]] = {
    e.CorralError: 500,
    e.Refused: 400,
    e.BadRequest: 400,
    e.Unauthorized: 401,
    e.Forbidden: 403,
    e.UnknownModel: 404,
    e.UnknownRoute: 404,
    e.WrongMethod: 405,
    e.Conflict: 409,
    e.BodyTooLarge: 413,
    e.NotOffered: 501,
    e.ConfigError: 500,
    e.Busy: 503,
    e.QueueFull: 503,
    e.QueueTimeout: 503,
    e.NoMemory: 503,
    e.Unloaded: 503,
    e.Fetching: 503,
    e.ShuttingDown: 503,
    e.EngineFailed: 502,
    e.StartFailed: 503,
    e.EngineDied: 502,
    e.EngineSilent: 504,
    e.EngineProtocolError: 502,
    e.EngineRefused: 502,
    e.PlaceFailed: 503,
    e.StoreFailed: 500,
    e.FileMissing: 503,
    e.Unreadable: 503,
    e.BadGguf: 503,
    e.NotThere: 404,
    e.FetchFailed: 503,
    e.FetchRefused: 503,
    e.WrongContent: 503,
    e.NoSpace: 507,
    e.FetchStopped: 503,
}


_NAME_SHOWN: Final = 100  # characters; nobody needs to read more of what they sent
TOO_LONG: Final = "the input length exceeds the context length"
_TOO_LONG_TYPE: Final = "exceed_context_size_error"


class NotPulled(e.UnknownModel):
    """No Model has this name, as the routes for embeddings say it."""


class NoManifest(e.NotThere):
    """A name to be pulled that nobody has, as clients know it from Ollama's registry."""


def _words(error: e.CorralError) -> str:
    if isinstance(error, NoManifest):
        return f"pull model manifest: file does not exist ({error.sentence()})"
    if isinstance(error, NotPulled):
        return f'model "{error.name[:_NAME_SHOWN]}" not found, try pulling it first'
    if isinstance(error, e.UnknownModel):
        return f"model '{error.name[:_NAME_SHOWN]}' not found"
    if isinstance(error, e.EngineRefused) and error.engine_type == _TOO_LONG_TYPE:
        return f"{TOO_LONG}: {error.message}"
    return error.sentence()


class Ollama:
    """Implements `contracts.dialect.Dialect`."""

    name = "ollama"
    stream_type = b"application/x-ndjson"

    def error_status(self, error: e.CorralError) -> int:
        """The HTTP status; an engine's own first."""
        if isinstance(error, e.EngineRefused):
            return error.engine_status
        return e.nearest(STATUS, error)

    def error_body(self, error: e.CorralError, request_id: str) -> bytes:
        """Ollama's own words where clients look for them."""
        return msgspec.json.encode({"error": _words(error), "code": error.code, "source": error.source})

    def error_event(self, error: e.CorralError, request_id: str) -> bytes:
        """One line."""
        return self.error_body(error, request_id) + b"\n"

    def id_line(self, request_id: bytes) -> bytes:
        """None."""
        return b""
