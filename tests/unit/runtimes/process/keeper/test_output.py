"""The ring, the segments and where lines are cut."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from corral.runtimes.process.keeper import output
from corral.runtimes.process.keeper.output import Output


def text(found: tuple[int, list[output.Line]]) -> tuple[int, list[bytes]]:
    return found[0], [line[2] for line in found[1]]


def test_lines_come_together_from_pieces_and_streams_do_not_mix(tmp_path: Path) -> None:
    out = Output(str(tmp_path), "a")
    out.feed("O", b"one\ntw")
    out.feed("E", b"err\n")
    out.feed("O", b"o\r\nthree")
    assert text(out.since(0)) == (0, [b"one", b"err", b"two"])
    out.end()
    assert text(out.since(2)) == (2, [b"two", b"three"])
    assert [line[1] for line in out.since(0)[1]] == ["O", "E", "O", "O"]
    assert out.total == 4


def test_segments_hold_the_same_with_time_and_stream(tmp_path: Path) -> None:
    out = Output(str(tmp_path), "a")
    out.feed("E", b"one\n\ntwo \xff\n")
    out.end()
    (path,) = tmp_path.iterdir()
    assert path.name == "a.0000000000.log"
    assert path.stat().st_mode & 0o777 == 0o600
    lines = path.read_bytes().split(b"\n")
    assert [re.sub(rb"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ", b"", line) for line in lines] == [
        b"E one", b"E ", b"E two \xff", b"",
    ]  # fmt: skip


def test_a_long_line_is_cut_into_lines_between_characters(tmp_path: Path) -> None:
    out = Output(str(tmp_path), "a")
    line = b"x" + "é".encode() * 20_000
    out.feed("O", line[:30_000])
    out.feed("O", line[30_000:] + b"\nnext\n")
    _, lines = out.since(0)
    pieces = [piece for _, _, piece in lines]
    assert pieces[-1] == b"next"
    assert all(len(piece) <= output.LINE_BYTES for piece in pieces)
    assert "".join(piece.decode() for piece in pieces[:-1]) == line.decode()  # each piece is whole UTF-8
    out.end()


def test_the_ring_is_bounded_in_lines_and_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "RING_LINES", 5)
    monkeypatch.setattr(output, "RING_BYTES", 100)
    out = Output(str(tmp_path), "a")
    for number in range(20):
        out.feed("O", b"%d\n" % number)
    assert text(out.since(0)) == (15, [b"15", b"16", b"17", b"18", b"19"])
    out.feed("O", b"x" * 60 + b"\n" + b"y" * 60 + b"\n")
    assert text(out.since(0)) == (21, [b"y" * 60])
    assert out.since(22) == (22, [])
    assert out.since(2**62) == (2**62, [])
    out.end()


def test_a_reply_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "REPLY_LINES", 3)
    out = Output(str(tmp_path), "a")
    out.feed("O", b"0\n1\n2\n3\n4\n")
    assert text(out.since(1)) == (1, [b"1", b"2", b"3"])
    monkeypatch.setattr(output, "REPLY_BYTES", 2)
    assert text(out.since(1)) == (1, [b"1", b"2"])
    out.end()


def test_segments_rotate_and_the_oldest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "SEGMENTS", 2)
    out = Output(str(tmp_path), "a", segment_bytes=60)
    for number in range(10):
        out.feed("O", b"line %d\n" % number)
    out.end()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["a.0000000006.log", "a.0000000008.log"]  # two lines of 33 bytes fill a segment


def test_a_full_disk_costs_lines_on_the_disk_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = Output(str(tmp_path), "a")
    out.feed("O", b"0\n")
    real = os.write

    def full(fd: int, data: bytes) -> int:
        return real(fd, data[:3])

    monkeypatch.setattr(os, "write", full)
    out.feed("O", b"1\n2\n")
    monkeypatch.setattr(os, "write", real)
    out.feed("O", b"3\n")
    out.end()
    assert text(out.since(0)) == (0, [b"0", b"1", b"2", b"3"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.0000000000.log", "a.0000000003.log"]
