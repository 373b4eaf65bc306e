"""Server-sent events: where events end, and how one is written."""

from __future__ import annotations

from collections.abc import Iterator


def whole_events(data: bytes | bytearray, since: int = 0) -> int:
    """
    How many of these bytes are whole events: the index after the last blank line, 0 when there is none.

    No blank line ends before `since`.
    """
    if data.endswith((b"\n\n", b"\r\n\r\n")):
        return len(data)
    since = max(0, since - 2)  # the longest beginning of a blank line that is none yet
    at, crlf = data.rfind(b"\n\n", since), data.rfind(b"\n\r\n", since)
    return max(at + 2 if at >= 0 else 0, crlf + 3 if crlf >= 0 else 0)


def take_whole(held: bytearray, data: bytes) -> bytes:
    """
    Add to the beginning of an event that is held, and take out what are whole events by now.

    Only what is new is looked at and nothing is copied but what is taken: an engine may send its event byte by byte.
    """
    known = len(held)
    held += data
    end = whole_events(held, known)
    if not end:
        return b""
    taken = bytes(held[:end])
    del held[:end]
    return taken


def event(data: bytes, *, name: str = "") -> bytes:
    """One event; `data` must hold no line break (compact JSON has none)."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data) if name else b"data: %b\n\n" % data


def payloads(data: bytes) -> Iterator[bytes]:
    """The `data:` lines of whole events, without the field name; other fields and comments are passed over."""
    for line in data.splitlines():
        if line.startswith(b"data:"):
            yield line[5:].strip()
