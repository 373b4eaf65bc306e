"""Joining the disk and the ring by line number, with a keeper that is a function."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from corral.contracts.runtime import LogLine
from corral.runtimes.process import logs

STAMP = "2026-01-02T03:04:05.678Z"
AT = 1767323045.678


def segment(folder: Path, first: int, *texts: str, end: str = "\n") -> None:
    body = "\n".join(f"{STAMP} O {text}" for text in texts) + end
    (folder / f"m.{first:010d}.log").write_text(body)


class Keeper:
    """Has lines `first`..; answers at most three at a time."""

    def __init__(self, first: int, *texts: str) -> None:
        self.first = first
        self.texts = texts
        self.asked: list[tuple[int, bool]] = []

    async def __call__(self, after: int, *, now: bool) -> dict[str, Any]:
        self.asked.append((after, now))
        first = max(after, self.first)
        total = self.first + len(self.texts)
        lines = [(AT, "E", text) for text in self.texts[max(0, first - self.first) :][:3]]
        return {"first": first, "lines": lines, "total": total, "ended": first + len(lines) >= total}


async def nobody(after: int, *, now: bool) -> None:
    return None


async def read(folder: Path, ask: Any, tail: int | None = None, follow: bool = False) -> list[str]:
    return [line.text async for line in logs.read(folder / "m", ask, tail=tail, follow=follow)]


async def test_all_from_the_ring(tmp_path: Path) -> None:
    assert await read(tmp_path, Keeper(0, *"abcde")) == list("abcde")
    assert await read(tmp_path, Keeper(0, *"abcde"), tail=2) == ["d", "e"]
    assert await read(tmp_path, Keeper(0, *"abcde"), follow=True) == list("abcde")
    assert await read(tmp_path, Keeper(0)) == []


async def test_the_disk_before_the_ring_each_line_once(tmp_path: Path) -> None:
    segment(tmp_path, 0, "a", "b")
    segment(tmp_path, 2, "c", "d")
    keeper = Keeper(3, *"defg")
    assert await read(tmp_path, keeper) == list("abcdefg")
    assert await read(tmp_path, keeper, tail=5) == list("cdefg")
    assert await read(tmp_path, keeper, tail=6) == list("bcdefg")


async def test_the_disk_alone(tmp_path: Path) -> None:
    segment(tmp_path, 0, "a", "b")
    segment(tmp_path, 2, "c", "d")
    lines = [line async for line in logs.read(tmp_path / "m", nobody, tail=None, follow=True)]
    assert lines == [LogLine(AT, "stdout", text) for text in "abcd"]
    assert await read(tmp_path, nobody, tail=3) == ["b", "c", "d"]
    assert await read(tmp_path, nobody, tail=0) == []
    assert await read(tmp_path / "none", nobody) == []


async def test_gaps_are_told(tmp_path: Path) -> None:
    segment(tmp_path, 2, "c", "d half", end="")  # the beginning was rotated away; the last line is not written yet
    segment(tmp_path, 6, "g")
    assert await read(tmp_path, Keeper(8, "i")) == [
        "[corral: 2 lines missed]", "c", "[corral: 3 lines missed]", "g", "[corral: 1 line missed]", "i",
    ]  # fmt: skip


async def test_a_prefix_of_another_name_is_not_ours(tmp_path: Path) -> None:
    segment(tmp_path, 0, "a")
    (tmp_path / "m.x.0000000000.log").write_text(f"{STAMP} O other\n")
    (tmp_path / "m.notes.log").write_text("notes\n")
    assert await read(tmp_path, nobody) == ["a"]
    logs.remove(tmp_path / "m")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.notes.log", "m.x.0000000000.log"]


async def test_an_edited_line_is_shown_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "m.0000000000.log").write_bytes(b"hello\n" + f"{STAMP} E bad ".encode() + b"\xff\n\n")
    assert await read(tmp_path, nobody) == ["hello", "bad \ufffd", ""]
