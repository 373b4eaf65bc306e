"""Where events end."""

from __future__ import annotations

import pytest

from corral.kit import sse


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (b"", 0),
        (b"data: a", 0),
        (b"data: a\n", 0),
        (b"data: a\n\n", 9),
        (b"data: a\r\n\r\n", 11),
        (b"data: a\n\r\n", 10),
        (b"data: a\n\ndata: b", 9),
        (b"data: a\r\n\r\ndata: b\n", 11),
        (b"data: a\n\ndata: b\r\n\r\nx", 20),
        (b"data: a\r\n\r\ndata: b\n\nx", 20),
        (b":\n\n", 3),
        (b"\n\n", 2),
    ],
)
def test_whole_events(data: bytes, whole: int) -> None:
    assert sse.whole_events(data) == whole


def test_events_are_written_and_read_back() -> None:
    data = sse.event(b'{"a":1}') + sse.event(b"[DONE]", name="end") + b": comment\r\nid: 1\r\ndata:x\r\n\r\n"
    assert data.startswith(b'data: {"a":1}\n\nevent: end\ndata: [DONE]\n\n')
    assert list(sse.payloads(data)) == [b'{"a":1}', b"[DONE]", b"x"]
