"""The lines of a download: the words that people grep for, and figures that are right."""

from __future__ import annotations

import os
import re
import signal
import time
from types import FrameType

import pytest
import typer

from corral.cli import output
from corral.cli.models import progress
from corral.cli.models.progress import EVERY_S, Stop, line, megabytes, watched
from corral.contracts.fetching import Progress, Told
from corral.domain.errors import FetchStopped


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (Progress(518_144_000, 2_048_000_000), "Download progress: 25.3% (518 MB / 2048 MB)"),
        (
            Progress(518_144_000, 2_048_000_000, per_s=61_200_000),
            "Download progress: 25.3% (518 MB / 2048 MB), 61.2 MB/s, 25s left",
        ),
        (
            Progress(5, 100, files_done=1, files=3),
            "Download progress: 5.0% (0.0 MB / 0.0 MB), file 2 of 3",
        ),
        (Progress(7_340_000, None), "Download progress: 7.3 MB downloaded"),
        (Progress(7_340_000, None, per_s=2e6), "Download progress: 7.3 MB downloaded, 2.0 MB/s"),
        (
            Progress(2_047_999_999, 2_048_000_000, per_s=1e9),
            "Download progress: 99.9% (2048 MB / 2048 MB), 1000.0 MB/s, 1s left",
        ),
        (
            Progress(2_048_000_000, 2_048_000_000, doing="verifying"),
            "Download progress: 100.0% (2048 MB / 2048 MB), verifying",
        ),
        (
            Progress(1_000_000_000, 2_000_000_000, doing="waiting"),
            "Download progress: 50.0% (1000 MB / 2000 MB), another process fetches it",
        ),
        (
            Progress(1_000_000_000, 2_000_000_000, doing="stalled"),
            "Download progress: 50.0% (1000 MB / 2000 MB), nothing comes for now",
        ),
        (Progress(0, None, doing="looking"), "Looking what there is to download"),
        (Progress(10, 10, files_done=2, files=2), "Download progress: 100.0% (0.0 MB / 0.0 MB), file 2 of 2"),
    ],
)
def test_a_line(progress: Progress, text: str) -> None:
    assert line(progress) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 MB"), (49_999, "0.0 MB"), (9_940_000, "9.9 MB"), (10_000_000, "10 MB"), (2_048_000_000, "2048 MB")],
)
def test_megabytes(count: int, text: str) -> None:
    assert megabytes(count) == text


def test_elsewhere_than_on_a_terminal_a_line_comes_every_five_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert EVERY_S == 5
    monkeypatch.setattr(progress, "EVERY_S", 0.2)

    def work(told: Told, stop: Stop) -> str:
        time.sleep(1.2)  # a server that says nothing
        for _ in range(10):
            told(Progress(5_000_000, 60_000_000, 1e6, file="m.gguf"))
            time.sleep(0.06)
        return "done"

    assert watched("small", work) == "done"
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "[small] Looking what there is to download"
    assert len(lines) < 10, "not each time that it is told"
    assert set(lines[1:]) - {lines[0]} == {"[small] Download progress: 8.3% (5.0 MB / 60 MB), 1.0 MB/s, 55s left"}


def test_the_bar_has_the_speed_that_it_is_told_and_none_where_all_was_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "styled", lambda stream: True)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")

    def work(told: Told, stop: Stop) -> None:
        for done in (0, 50, 60, 70):
            told(Progress(done * 10**9, 100 * 10**9, 5e6 if done == 70 else 0.0, file="m.gguf"))
            time.sleep(0.15)

    watched("small", work)
    seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert "50.0/100.0 GB" in seen and set(re.findall(r"[\d.]+ [kMG]?B/s", seen)) == {"5.0 MB/s"}
    assert "5.0 MB/s, 1h 40m left" in seen


def mine(number: int, frame: FrameType | None) -> None:
    """Nothing happens."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_and_says_how_to_go_on(number: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.signal(number, mine)  # were it not heard, it would end the tests

    def work(told: Told, stop: Stop) -> None:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
        raise FetchStopped()

    try:
        with pytest.raises(typer.Exit) as ended:
            watched("small", work)
        assert ended.value.exit_code == 128 + number and signal.getsignal(number) is mine
    finally:
        signal.signal(number, before)
    assert "the same command goes on with it" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_what_does_not_stop(number: signal.Signals) -> None:
    before = signal.signal(number, mine)

    def work(told: Told, stop: Stop) -> None:
        os.kill(os.getpid(), number)
        assert stop()
        os.kill(os.getpid(), number)
        raise AssertionError("it went on")

    try:
        with pytest.raises(SystemExit) as ended:
            watched("small", work)
        assert ended.value.code == 128 + number and signal.getsignal(number) is mine
    finally:
        signal.signal(number, before)
