"""What engines write: nothing lost that is on the disk, nothing that blocks them, nothing that grows without end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from corral.contracts.runtime import LogLine
from corral.domain.launch import ExitKind
from tests.paths.keeper_kit import Home, launch, program, said, until


@pytest.fixture
def home(short_tmp: Path) -> Home:
    return Home(short_tmp)


async def texts(lines: AsyncIterator[LogLine]) -> list[str]:
    return [line.text async for line in lines]


async def test_both_streams_with_their_names_and_a_last_line_without_its_end(home: Home) -> None:
    async with home.open() as runtime:
        before = time.time()
        handle = await launch(runtime, "echo out; sleep 0.1; echo err >&2; sleep 0.1; printf 'no end'")
        await runtime.wait(handle)
        lines = [line async for line in runtime.logs(handle)]
        assert [(line.stream, line.text) for line in lines] == [
            ("stdout", "out"), ("stderr", "err"), ("stdout", "no end"),
        ]  # fmt: skip
        assert before - 0.01 <= lines[0].at < lines[1].at < lines[2].at <= time.time()
        await runtime.destroy(handle)
        assert [line async for line in runtime.logs(handle)] == lines  # the same from the disk, times too


async def test_odd_bytes_and_long_lines(home: Home) -> None:
    source = r"""
        import os
        os.write(1, b"bad \xff\xfe utf-8\r\n\n10%\r20%\n")
        os.write(1, b"a" * 40000 + b"\n")
        os.write(1, ("é" * 20000).encode() + b"\n")
        os.write(1, "日本".encode() + b"\0\x1b[31mred")
    """
    async with home.open() as runtime:
        handle = await program(runtime, source)
        await runtime.wait(handle)
        lines = await texts(runtime.logs(handle))
        assert lines[:3] == ["bad \ufffd\ufffd utf-8", "", "10%\r20%"]
        assert [len(line) for line in lines[3:6]] == [16384, 16384, 7232]
        assert [len(line.encode()) for line in lines[6:9]] == [16384, 16384, 7232]
        assert "".join(lines[6:9]) == "é" * 20000  # cut between characters
        assert lines[9:] == ["日本\0\x1b[31mred"]
        await runtime.destroy(handle)
        assert await texts(runtime.logs(handle)) == lines


NUMBERS = "i=0; while [ $i -lt {count} ]; do echo $i; i=$((i+1)); done; {then}"


async def test_the_beginning_is_on_the_disk_when_the_ring_has_moved_on(home: Home) -> None:
    count = 10_000
    async with home.open() as runtime:
        handle = await launch(runtime, NUMBERS.format(count=count, then="exec sleep 1000"))
        async with asyncio.timeout(20):
            await said(runtime, handle, str(count - 1))
        expected = [str(number) for number in range(count)]
        assert await texts(runtime.logs(handle)) == expected
        assert await texts(runtime.logs(handle, tail=5000)) == expected[-5000:]  # more than the ring has
        assert await texts(runtime.logs(handle, tail=2)) == expected[-2:]
        await runtime.stop(handle, grace_s=2)
        await runtime.destroy(handle)
        assert await texts(runtime.logs(handle, tail=3)) == expected[-3:]
        assert await texts(runtime.logs(handle)) == expected


FLOOD = """
    import os
    block = b"".join(b"%09d " % 0 + b"x" * 90 + b"\\n" for _ in range(300))
    number = 0
    while True:
        block = b"".join(b"%09d " % (number + i) + b"x" * 90 + b"\\n" for i in range(300))
        number += 300
        os.write(1, block)
"""


async def test_a_flood_rotates_starves_nobody_and_grows_nothing(home: Home) -> None:
    async with home.open() as runtime:
        flood = await program(runtime, FLOOD, "flood")
        talker = await launch(runtime, "while :; do date; sleep 0.05; done", "talker")
        keeper = psutil.Process(flood.data["keeper_pid"])
        logs = home.state / "logs"
        async with asyncio.timeout(40):
            while not any(int(path.name.split(".")[1]) > 400_000 for path in logs.glob("flood.*.log")):
                began = time.monotonic()
                handle = await launch(runtime, "exit 0", "quick")
                await runtime.wait(handle)
                await runtime.destroy(handle)
                assert time.monotonic() - began < 2
                await asyncio.sleep(0.05)
        assert await texts(runtime.logs(talker, tail=3))
        files = list(logs.glob("flood.*.log"))
        assert len(files) <= 4
        assert sum(path.stat().st_size for path in files) < 40 << 20
        assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files)
        assert keeper.memory_info().rss < 60 << 20
        began = time.monotonic()
        assert (await runtime.stop(flood, grace_s=2)).kind is ExitKind.STOPPED
        assert time.monotonic() - began < 2
        lines = await texts(runtime.logs(flood))
        assert lines[0].startswith("[corral: ")
        assert lines[0].endswith(" lines missed]")
        missed = int(lines[0].split()[1])
        numbers = [int(line[:9]) for line in lines[1:-1]]
        assert numbers == list(range(missed, missed + len(numbers)))


async def test_a_slow_reader_misses_lines_and_is_told_how_many(home: Home) -> None:
    async with home.open() as runtime:
        handle = await program(runtime, FLOOD)
        seen: list[str] = []
        async with asyncio.timeout(40), contextlib.aclosing(runtime.logs(handle, follow=True)) as lines:  # type: ignore[type-var]
            async for line in lines:
                seen.append(line.text)
                if len(seen) == 10:  # asleep while more is written than the disk keeps
                    await until(lambda: _newest(home) > 600_000, 35)
                if any("missed" in text for text in seen) and seen[-1][:9].isdigit():
                    break
        gap = next(index for index, text in enumerate(seen) if "missed" in text)
        missed = int(seen[gap].split()[1])
        assert int(seen[gap + 1][:9]) - int(seen[gap - 1][:9]) - 1 == missed
        assert missed > 0
        assert await runtime.recover(handle) is None  # it was never blocked by the reader


def _newest(home: Home) -> int:
    return max((int(path.name.split(".")[1]) for path in (home.state / "logs").glob("one.*.log")), default=0)


async def test_a_silent_follower_hears_a_line_at_once(home: Home) -> None:
    async with home.open() as runtime:
        source = """
            import sys, time
            time.sleep(0.2)
            print(time.monotonic(), flush=True)
            time.sleep(1000)
        """
        handle = await program(runtime, source)
        async with asyncio.timeout(5), contextlib.aclosing(runtime.logs(handle, follow=True)) as lines:  # type: ignore[type-var]
            async for line in lines:
                assert time.monotonic() - float(line.text) < 0.1
                break


async def test_logs_that_cannot_be_written_do_not_hurt_the_engine(home: Home) -> None:
    async with home.open() as runtime:
        await launch(runtime, "exec sleep 1000", "first")
        logs = home.state / "logs"
        logs.rmdir() if not list(logs.iterdir()) else None
        logs.write_text("a file where the folder was")  # root may write anywhere, but not here
        handle = await launch(runtime, NUMBERS.format(count=100, then="exec sleep 1000"))
        await said(runtime, handle, "99")
        assert await texts(runtime.logs(handle)) == [str(number) for number in range(100)]
        os.unlink(logs)


async def test_a_follower_ends_when_the_keeper_dies(home: Home) -> None:
    async with home.open() as runtime:
        handle = await launch(runtime, "echo one; echo two; exec sleep 1000")
        follower = asyncio.gather(texts(runtime.logs(handle, follow=True)))
        await said(runtime, handle, "two")
        os.kill(handle.data["keeper_pid"], 9)
        async with asyncio.timeout(5):
            (seen,) = await follower
        assert seen == ["one", "two"]
        await runtime.wait(handle)
        assert await texts(runtime.logs(handle)) == ["one", "two"]


async def test_a_new_life_of_a_name_has_a_new_log(home: Home) -> None:
    async with home.open() as runtime:
        for text in ("first", "second"):
            handle = await launch(runtime, f"echo {text}")
            await runtime.wait(handle)
            assert await texts(runtime.logs(handle)) == [text]
            await runtime.destroy(handle)
            assert await texts(runtime.logs(handle)) == [text]  # from the disk
