"""
Rules that hold for every test: nothing leaks, and what CI requires is never skipped.

A test fails when it leaves a child process or an open file or socket behind; a leaked task is caught by pytest-asyncio,
which cancels it at the end of the test, and by its `Task was destroyed` warning (warnings are errors).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import pytest
import uvloop


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """
    Journeys run on uvloop, as the product does; the relay and the runtimes run on asyncio's own loop as well, because
    the two differ in small ways. Unit tests need no speed.
    """
    both = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
    folder, name = item.path.parent.name, item.path.name
    if name.startswith("test_relay_") or name == "test_runtime.py":
        return both
    only = "uvloop" if folder in ("paths", "real", "contracts") else "asyncio"
    return {only: both[only]}


REQUIRED = set(os.environ.get("CORRAL_REQUIRE", "").split())


def pytest_configure(config: pytest.Config) -> None:
    """In the background of a shell pytest ignores Ctrl-C, and so would every program that tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine lacks, with the reason, unless CORRAL_REQUIRE names it: then it fails."""
    if item.get_closest_marker("llama_server"):
        binary = os.environ.get("CORRAL_TEST_LLAMA_SERVER", "")
        if not (binary and os.access(binary, os.X_OK)):
            _lacking("llama_server", "no llama-server: set CORRAL_TEST_LLAMA_SERVER (scripts/build-llama-server)")
    if item.get_closest_marker("nginx") and not shutil.which("nginx"):
        _lacking("nginx", "the program nginx is not installed")


def _lacking(what: str, reason: str) -> None:
    if what in REQUIRED:
        pytest.fail(f"required by CORRAL_REQUIRE: {reason}")
    pytest.skip(reason)


def _open_files() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{name}")
            if target.startswith("socket:") or (target.startswith("/") and not target.startswith(("/dev/", "/proc/"))):
                found.add(target)
    return found


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """Child processes, sockets and files that a test opened are gone when it ends (they get two seconds)."""
    me = psutil.Process()
    children = set(me.children(recursive=True))
    files = _open_files()
    yield
    deadline = time.monotonic() + 2.0
    while True:
        left = [child for child in set(me.children(recursive=True)) - children if _lives(child)]
        opened = _open_files() - files
        if not left and not opened:
            return
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    for child in left:
        with contextlib.suppress(psutil.Error):
            child.kill()
    pytest.fail(f"left behind: processes {left}, files {sorted(opened)}")


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE or process.ppid() == os.getpid()
    except psutil.Error:
        return False


@pytest.fixture
def short_tmp() -> Iterator[Path]:
    """A folder with a path short enough for unix sockets."""
    path = tempfile.mkdtemp(prefix="c")
    yield Path(path)
    shutil.rmtree(path, ignore_errors=True)
