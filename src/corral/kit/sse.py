"""Server-sent events: where events end, and how one is written."""

from __future__ import annotations

from collections.abc import Iterator


def whole_events(data: bytes) -> int:
    """How many of these bytes are whole events: the index after the last blank line, 0 when there is none."""
    if data.endswith((b"\n\n", b"\r\n\r\n")):
        return len(data)
    at, crlf = data.rfind(b"\n\n"), data.rfind(b"\n\r\n")
    return max(at + 2 if at >= 0 else 0, crlf + 3 if crlf >= 0 else 0)


def event(data: bytes, *, name: str = "") -> bytes:
    """One event; `data` must hold no line break (compact JSON has none)."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data) if name else b"data: %b\n\n" % data


def payloads(data: bytes) -> Iterator[bytes]:
    """The `data:` lines of whole events, without the field name; other fields and comments are passed over."""
    for line in data.splitlines():
        if line.startswith(b"data:"):
            yield line[5:].strip()
