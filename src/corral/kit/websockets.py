"""The opening handshake of websockets (RFC 6455, section 4): what makes a request one, and what answers it. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Final

from corral.kit.http_heads import RequestHead, ResponseHead

WEBSOCKET: Final = b"websocket"
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_VERSION: Final = b"13"
_KEY_BYTES: Final = 16


def is_offer(head: RequestHead) -> bool:
    """The request wants to become a websocket, rightly or not."""
    return head.fields.get(b"upgrade", b"").lower() == WEBSOCKET


def problem(head: RequestHead) -> str:
    """Why the request cannot become a websocket, "" when it can."""
    fields = head.fields
    if head.method != b"GET" or head.minor != 1:
        return "a websocket is opened with GET in HTTP/1.1"
    if head.chunked or head.length:
        return "the request that opens a websocket has no body"
    if not _has_token(head, b"upgrade"):
        return "the header `Connection: upgrade` is missing"
    if fields.get(b"sec-websocket-version") != _VERSION:
        return "the only Sec-WebSocket-Version is 13"
    if any(sum(name == each for name, _ in head.headers) > 1 for each in (b"upgrade", b"sec-websocket-key")):
        return "a header of the handshake is there twice"
    if not _is_key(fields.get(b"sec-websocket-key", b"")):
        return "the Sec-WebSocket-Key must be 16 bytes in Base64"
    return ""


def accept_of(key: bytes) -> bytes:
    """What proves that the other side has read this key."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def is_accepted(answer: ResponseHead, key: bytes) -> bool:
    """The answer (101) is that of a websocket server to this very key."""
    fields = answer.fields
    return (
        answer.minor == 1
        and fields.get(b"upgrade", b"").lower() == WEBSOCKET
        and _has_token(answer, b"upgrade")
        and fields.get(b"sec-websocket-accept") == accept_of(key)
        and answer.length is None
        and not answer.chunked
    )


def _has_token(head: RequestHead | ResponseHead, token: bytes) -> bool:
    values = b",".join([value for name, value in head.headers if name == b"connection"])
    return token in [each.strip().lower() for each in values.split(b",")]


def _is_key(value: bytes) -> bool:
    try:
        return len(base64.b64decode(value, validate=True)) == _KEY_BYTES
    except binascii.Error:
        return False
