"""
Which headers pass: allow-lists in both directions, and the heads made from them.

Never on a list: credentials, cookies, Origin, X-Conversation-Id (it makes llama-server's streams survive their
client), and what an engine says of CORS (llama-server echoes any Origin with credentials).
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import TYPE_CHECKING, Final

from corral.kit.http_heads import RequestHead

if TYPE_CHECKING:
    from corral.gateway.links import AnswerHead, Site

SENT_TO_ENGINES: Final = frozenset(
    {b"content-type", b"accept", b"user-agent", b"traceparent", b"tracestate", b"x-request-id"}
)
SENT_RAW: Final = SENT_TO_ENGINES | {
    b"accept-encoding", b"accept-language", b"if-none-match", b"if-modified-since", b"range",
}  # fmt: skip
"""Raw routes serve files too."""

SENT_TO_CLIENTS: Final = frozenset(
    {
        b"content-type", b"cache-control", b"content-encoding", b"content-disposition", b"content-language",
        b"etag", b"last-modified", b"retry-after", b"content-range", b"accept-ranges",
    }
)  # fmt: skip
JSON: Final = b"application/json"
NOT_BUFFERED: Final = b"x-accel-buffering: no\r\n"  # nginx would collect the stream


def engine_lines(head: RequestHead, path: bytes, allowed: Set[bytes], site: Site) -> bytes:
    """The head of the request that the engine gets, up to its length; its own key is part of `site.prefix`."""
    fields = passed_to_engine(head, allowed)
    return b"%b %b%b%b%b" % (head.method, site.base_path, path, site.prefix, fields)


def written_lines(head: RequestHead, path: bytes, allowed: Set[bytes], site: Site) -> bytes:
    """The same for a request whose body was written anew."""
    fields = passed_to_engine(head, allowed - {b"content-type", b"accept"})
    return b"POST %b%b%b%bcontent-type: application/json\r\n" % (site.base_path, path, site.prefix, fields)


def passed_to_engine(head: RequestHead, allowed: Set[bytes]) -> bytes:
    """The header lines of a request that go on to the engine."""
    return b"".join([b"%b: %b\r\n" % pair for pair in head.headers if pair[0] in allowed])


def passed_on(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The header lines of an engine's answer that clients get."""
    lines = [b"%b: %b\r\n" % pair for pair in headers if pair[0] in SENT_TO_CLIENTS]
    return b"".join(lines) + b"x-corral-source: engine\r\n"


def client_fields(head: AnswerHead, request_id: bytes, queue_s: float, load_s: float = 0.0) -> bytes:
    """All header lines of an engine's answer but the framing, which is the connection's affair."""
    fields = b"%bx-request-id: %b\r\n" % (head.lines, request_id)
    if queue_s >= 0.001:
        fields += waited(queue_s, load_s)
    return fields + NOT_BUFFERED if head.stream else fields


def waited(queue_s: float, load_s: float) -> bytes:
    """How long the request waited in line, and how long for its Model to be loaded, in milliseconds."""
    return b"server-timing: queue;dur=%.1f, load;dur=%.1f\r\n" % (max(0.0, queue_s - load_s) * 1000, load_s * 1000)


def own_fields(
    media_type: bytes,
    request_id: bytes,
    queue_s: float = 0.0,
    load_s: float = 0.0,
    *,
    source: bytes = b"engine",
    id_line: bytes = b"",
) -> bytes:
    """
    The header lines of an engine's answer that was written anew, or of a stream that has not begun yet.

    `id_line` is the dialect's own for the request's id.
    """
    ids = b"x-request-id: %b\r\n%b" % (request_id, id_line)
    fields = b"content-type: %b\r\nx-corral-source: %b\r\n%b" % (media_type, source, ids)
    if queue_s >= 0.001:
        fields += waited(queue_s, load_s)
    return fields if media_type == JSON else fields + NOT_BUFFERED
