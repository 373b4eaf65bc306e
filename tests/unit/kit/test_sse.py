"""Where events end."""

from __future__ import annotations

import random

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


@pytest.mark.parametrize("seed", range(20))
def test_events_that_come_in_pieces_are_taken_as_soon_as_they_are_whole(seed: int) -> None:
    rng = random.Random(seed)
    data = b"".join(rng.choice([b"\n", b"\r\n", b"\r", b"x", b"data: y", b"\n\n"]) for _ in range(60))
    held, at = bytearray(), 0
    while at < len(data):
        piece = data[at : at + rng.randint(1, 5)]
        at += len(piece)
        both = bytes(held) + piece
        whole = sse.whole_events(both)
        assert (sse.take_whole(held, piece), bytes(held)) == (both[:whole], both[whole:])


class Counted(bytearray):
    """Bytes that count how many of them were searched and copied."""

    work = 0

    def rfind(self, sub: object, start: object = 0, end: object = None) -> int:
        """A search from `start` on."""
        assert isinstance(sub, bytes) and isinstance(start, int)
        self.work += len(self) - start
        return super().rfind(sub, start)

    def __getitem__(self, at: object) -> bytearray:  # type: ignore[override]
        assert isinstance(at, slice)
        out = super().__getitem__(at)
        self.work += len(out)
        return out


def test_a_long_event_that_comes_byte_by_byte_costs_no_more_than_its_length() -> None:
    held, size = Counted(b"data: "), 256 * 1024
    for _ in range(size):
        assert sse.take_whole(held, b"x") == b""
    assert len(sse.take_whole(held, b"\n\ndata: ")) == size + 8
    assert held.work < 10 * size
    assert held == b"data: "


def test_events_are_written_and_read_back() -> None:
    data = sse.event(b'{"a":1}') + sse.event(b"[DONE]", name="end") + b": comment\r\nid: 1\r\ndata:x\r\n\r\n"
    assert data.startswith(b'data: {"a":1}\n\nevent: end\ndata: [DONE]\n\n')
    assert list(sse.payloads(data)) == [b'{"a":1}', b"[DONE]", b"x"]
