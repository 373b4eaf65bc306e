"""Engines that fork, hide, share and refuse: all of a tree is seen, and all of it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import sys
import time
from pathlib import Path

import pytest

from corral.domain.errors import PlaceFailed
from corral.domain.launch import Endpoint, ExitKind, ExitStatus, LaunchPlan
from corral.runtimes.process.keeper import procs
from tests.paths.keeper_kit import STUBBORN, Home, corral, launch, program, said, until


@pytest.fixture
def home(short_tmp: Path) -> Home:
    return Home(short_tmp)


# --- forms of wrappers


async def test_an_exec_wrapper_is_the_engine(home: Home) -> None:
    async with home.open() as runtime:
        handle = await launch(runtime, "echo up; exec sleep 1000")
        await said(runtime, handle, "up")
        assert home.alive() == [handle.data["pid"]]
        assert await runtime.stop(handle, grace_s=5) == ExitStatus(ExitKind.STOPPED, signal=15)


async def test_a_wrapper_that_waits_for_its_engine_in_the_background(home: Home) -> None:
    script = "trap 'kill $engine; wait $engine; exit 4' TERM; sleep 1000 & engine=$!; echo up; wait"
    async with home.open() as runtime:
        handle = await launch(runtime, script)
        await said(runtime, handle, "up")
        found = await runtime.usage(handle)
        assert found is not None
        assert list(found.pids) == home.alive()
        assert len(found.pids) == 2
        assert await runtime.stop(handle, grace_s=5) == ExitStatus(ExitKind.STOPPED, code=4)
        assert home.alive() == []


async def test_a_daemon_that_left_its_parents_ends_with_them(home: Home) -> None:
    # The main process ends by itself: that is the end of the engine, and the daemon must not stay behind.
    source = """
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
            time.sleep(1000)
        time.sleep(0.2)
        os._exit(5)
    """
    async with home.open() as runtime:
        handle = await program(runtime, source)
        await until(lambda: len(home.alive()) == 2)
        assert await runtime.wait(handle) == ExitStatus(ExitKind.EXITED, code=5)
        assert home.alive() == []


HIDDEN = "(setsid env -i sleep {time} &) ; echo up; exec sleep 1000"
"""A daemon in its own session and with an empty environment: no mark, no group, no parent."""


def sleepers(seconds: str) -> list[int]:
    found = []
    for pid in procs.pids():
        try:
            if Path(f"/proc/{pid}/cmdline").read_bytes() == f"sleep\0{seconds}\0".encode():
                found.append(pid)
        except OSError:
            continue
    return found


@pytest.mark.parametrize("others", [0, 1])
async def test_a_daemon_without_a_mark_ends_at_last_with_the_keeper(home: Home, others: int) -> None:
    async with home.open() as runtime:
        seconds = f"98765.{others}{os.getpid()}"
        handle = await launch(runtime, HIDDEN.format(time=seconds))
        for number in range(others):
            await launch(runtime, "exec sleep 1000", f"other{number}")
        await said(runtime, handle, "up")
        await until(lambda: sleepers(seconds))
        await runtime.stop(handle, grace_s=5)
        if not others:  # nobody else's
            assert sleepers(seconds) == []
    assert sleepers(seconds) == []


@pytest.mark.parametrize("orphan", ["setsid sleep {time}", "env -i sleep {time}"], ids=["mark", "session"])
async def test_an_orphan_is_known_by_its_mark_or_its_session(home: Home, orphan: str) -> None:
    async with home.open() as runtime:
        seconds = f"98767.{os.getpid()}"
        other = await launch(runtime, "exec sleep 1000", "other")
        handle = await launch(runtime, f"({orphan.format(time=seconds)} &) ; echo up; exec sleep 1000")
        await said(runtime, handle, "up")
        await until(lambda: sleepers(seconds))
        found = await runtime.usage(handle)
        assert found is not None
        assert set(sleepers(seconds)) < set(found.pids)
        await runtime.stop(handle, grace_s=5)
        assert sleepers(seconds) == []
        assert await runtime.recover(other) is None


async def test_a_child_without_a_mark_is_known_by_its_parent(home: Home) -> None:
    async with home.open() as runtime:
        seconds = f"98766.{os.getpid()}"
        await launch(runtime, "exec sleep 1000", "other")
        handle = await launch(runtime, f"setsid env -i sleep {seconds} & echo up; wait")
        await said(runtime, handle, "up")
        await until(lambda: sleepers(seconds))
        await runtime.stop(handle, grace_s=5)
        assert sleepers(seconds) == []


async def test_only_one_of_two_equal_trees_ends(home: Home) -> None:
    script = "setsid sleep 1000 & echo up; sleep 1000 & wait"
    async with home.open() as runtime:
        one, two = await launch(runtime, script, "one"), await launch(runtime, script, "on")
        for handle in (one, two):
            await said(runtime, handle, "up")
        await until(lambda: len(home.alive()) == 6)
        await runtime.stop(two, grace_s=5)
        assert len(home.alive("one")) == 3
        assert home.alive("on") == []


async def test_a_whole_tree_that_refuses_to_end_is_killed(home: Home) -> None:
    script = (
        "trap '' TERM; (while :; do sleep 0.05; done) & setsid sh -c 'while :; do sleep 0.05; done' & echo up; wait"
    )
    async with home.open() as runtime:
        handle = await launch(runtime, script)
        await said(runtime, handle, "up")
        began = time.monotonic()
        assert await runtime.stop(handle, grace_s=0.3) == ExitStatus(ExitKind.STOPPED, signal=9)
        assert 0.3 <= time.monotonic() - began < 1.5
        assert home.alive() == []


COUNTS = """
import signal, time
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(time.monotonic()))
print("up", flush=True)
while not asked or time.monotonic() < asked[0] + 0.3:
    time.sleep(0.01)
print("asked", len(asked), "times", flush=True)
"""


async def test_each_of_the_group_is_asked_once(home: Home) -> None:
    # llama-server gives up its clean end at the second SIGTERM. The shell dies of the first and leaves it an orphan.
    async with home.open() as runtime:
        handle = await launch(runtime, f"{sys.executable} -S counts.py & wait", files={"counts.py": COUNTS})
        await said(runtime, handle, "up")
        assert await runtime.stop(handle, grace_s=5) == ExitStatus(ExitKind.STOPPED, signal=15)
        assert [line.text async for line in runtime.logs(handle, tail=1)] == ["asked 1 times"]


async def test_a_second_stop_may_be_less_patient(home: Home) -> None:
    async with home.open() as runtime:
        handle = await launch(runtime, STUBBORN)
        await said(runtime, handle, "up")
        patient = asyncio.gather(runtime.stop(handle, grace_s=60))
        await asyncio.sleep(0.05)
        began = time.monotonic()
        status = await runtime.stop(handle, grace_s=0.1)
        assert time.monotonic() - began < 1
        assert status == ExitStatus(ExitKind.STOPPED, signal=9)
        await patient


# --- what an engine is given


async def test_the_plan_reaches_the_engine(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_ARG_MODEL", "evil")
    monkeypatch.setenv("LLAMACPP", "scrubbed too")
    monkeypatch.setenv("KEPT", "kept")
    source = """
        import os, stat, sys
        env = os.environ
        print([name for name in env if name.startswith(("LLAMA", "AIP_"))])
        print(env["KEPT"], env["MINE"], env["KEY"], env["CORRAL_INSTANCE"].split("@")[0])
        print(oct(os.umask(0)), os.getcwd())
        print(os.getpid() == os.getsid(0) == os.getpgid(0), sorted(os.listdir("/proc/self/fd"))[:4])
        print(stat.S_ISFIFO(os.fstat(0).st_mode), os.set_blocking(0, False))
        try:
            os.read(0, 1)
        except BlockingIOError:
            print("stdin is open and silent")
    """
    async with home.open() as runtime:
        handle = await program(
            runtime, source, env={"MINE": "m"}, secret_env={"KEY": "s3cret"}, env_scrub=("LLAMA", "AIP_")
        )
        await runtime.wait(handle)
        scratch = home.state / "scratch" / "one"
        assert [line.text async for line in runtime.logs(handle)] == [
            "[]",
            "kept m s3cret one",
            f"0o77 {scratch}",
            "True ['0', '1', '2', '3']",  # 3 is the listing itself
            "True None",
            "stdin is open and silent",
        ]
        assert "s3cret" not in handle.to_json()


async def test_stdin_ends_with_the_keeper(home: Home) -> None:
    # What a parent-death signal does not reach (a grandchild; anything on macOS) can listen to this.
    mark = home.state / "eof"
    async with corral(home, f"exec 3<&0; (cat <&3; touch {mark}) & echo up; wait") as output:
        while await output.readline() != b"running\n":
            pass
        os.kill(home.keeper(), signal.SIGSTOP)  # nobody is left who could sweep
    assert not mark.exists()
    os.kill(home.keeper(), signal.SIGKILL)
    await until(mark.exists)
    await until(lambda: not home.alive())


async def test_a_stale_socket_is_removed_before_the_start(home: Home) -> None:
    source = """
        import os, socket, sys
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(os.environ["SOCKET"])
        print("bound", flush=True)
    """
    async with home.open() as runtime:
        for _ in range(2):
            place = await runtime.place("one")
            left = socket.socket(socket.AF_UNIX)
            left.bind(place.socket)
            left.close()
            handle = await program(runtime, source, env={"SOCKET": place.socket})
            assert await runtime.wait(handle) == ExitStatus(ExitKind.EXITED, code=0)
            assert stat.S_ISSOCK(os.stat(place.socket).st_mode)  # it stays behind, as llama-server's does
            await runtime.destroy(handle)
            assert not os.path.exists(place.socket)


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"argv": ("/no/such/program",)}, "/no/such/program could not be started: No such file"),
        ({"argv": ("no-such-program-on-path",)}, "no-such-program-on-path could not be started: No such file"),
        ({"argv": ("/etc/passwd",)}, "/etc/passwd could not be started: Permission denied"),
        ({"argv": ("true",), "cwd": "/no/such/folder"}, "No such file or directory: /no/such/folder"),
        ({"argv": ("true",), "stop_signal": "SIGNONSENSE"}, "'SIGNONSENSE' is not a signal"),
        ({"argv": ("true",), "files": {"../outside": ""}}, "'../outside' lies outside the scratch folder"),
        ({"argv": ("true",), "env": {"A": "b\0c"}}, "could not be started"),
    ],
)
async def test_a_start_that_cannot_be_says_why(home: Home, plan: dict[str, object], words: str) -> None:
    async with home.open() as runtime:
        place = await runtime.place("one")
        made = LaunchPlan(endpoint=Endpoint(socket=place.socket), **plan)  # type: ignore[arg-type]
        with pytest.raises(PlaceFailed) as caught:
            await runtime.start(made, instance="one", model="m", digest="d")
        assert words in caught.value.sentence()
        assert list((home.state / "scratch").iterdir()) == []
        assert not (home.state / "outside").exists()
        ok = await launch(runtime, "exit 0")  # the keeper is well
        assert (await runtime.wait(ok)).code == 0
