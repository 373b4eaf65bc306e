"""One Corral a state directory; engines that are kept on purpose; files that are private."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import stat
import time
from pathlib import Path

import pytest

from corral.domain.errors import PlaceFailed
from corral.domain.launch import ExitKind, ExitStatus
from corral.runtimes.process import ProcessRuntime
from tests.paths.keeper_kit import STUBBORN, Home, corral, launch, said, until


@pytest.fixture
def home(short_tmp: Path) -> Home:
    return Home(short_tmp)


# --- one owner


async def test_a_second_corral_is_refused_and_told_who_is_first(home: Home) -> None:
    async with corral(home, "echo up; exec sleep 1000") as output:
        while await output.readline() != b"running\n":
            pass
        first = int((home.state / "owner.lock").read_text())
        second = home.runtime()
        for attempt in (second.handles(), second.place("two"), launch(second, "exit 0", "two")):
            with pytest.raises(PlaceFailed) as caught:
                await attempt
            assert f"pid {first}" in caught.value.sentence()
            assert str(home.state) in caught.value.sentence()
        await second.close()
        assert len(home.alive("one")) == 1  # the first one's engine is untouched
    await until(lambda: not home.alive())


async def test_two_state_directories_do_not_touch_each_other(short_tmp: Path) -> None:
    one, two = Home(short_tmp / "1"), Home(short_tmp / "2")
    two.run = one.run
    async with one.open() as first:
        handle = await launch(first, "setsid sleep 1000 & echo up; wait", "same")
        await said(first, handle, "up")
        async with two.open() as second:
            other = await launch(second, "exec sleep 1000", "same")
            os.kill(other.data["keeper_pid"], signal.SIGKILL)
            assert (await second.wait(other)).kind is ExitKind.LOST
            await second.destroy(other)
        assert await first.recover(handle) is None
        assert len(one.alive()) == 2


async def test_a_stranger_with_the_pid_of_a_handle_is_not_touched(home: Home) -> None:
    async with home.open() as runtime:
        handle = await launch(runtime, "exec sleep 1000")
        await runtime.stop(handle, grace_s=1)
    stranger = await asyncio.create_subprocess_exec("sleep", "1000")
    try:
        path = home.state / "handles" / "one.json"
        raw = json.loads(path.read_text())
        raw["data"]["pid"] = stranger.pid  # the pid was given again
        path.write_text(json.dumps(raw))
        async with home.open() as runtime:
            (handle,) = await runtime.handles()
            status = await runtime.recover(handle)
            assert status is not None
            assert status.kind is ExitKind.LOST
            await runtime.stop(handle, grace_s=0)
            await runtime.destroy(handle)
        assert stranger.returncode is None
        os.kill(stranger.pid, 0)
    finally:
        stranger.kill()
        await stranger.wait()


async def test_a_broken_handle_file_is_left_alone(home: Home) -> None:
    async with home.open() as runtime:
        await runtime.handles()
        broken = home.state / "handles" / "broken.json"
        broken.write_text('{"version": 99}')
        assert await runtime.handles() == []
        assert broken.exists()


# --- kept


async def test_engines_of_a_killed_corral_are_kept_and_found_again(home: Home) -> None:
    script = "echo up; trap 'exit 3' USR1; while :; do sleep 0.05; done"
    async with corral(home, script, on_exit="keep", keep_s=60) as output:
        while await output.readline() != b"running\n":
            pass
    await asyncio.sleep(0.3)
    async with home.open() as runtime:
        (handle,) = await runtime.handles()
        assert await runtime.recover(handle) is None
        assert home.keeper() == handle.data["keeper_pid"]
        assert [line.text async for line in runtime.logs(handle)] == ["up"]
        wait = asyncio.gather(runtime.wait(handle))
        os.kill(handle.data["pid"], signal.SIGUSR1)
        (status,) = await wait
        assert status == ExitStatus(ExitKind.EXITED, code=3)
        await runtime.destroy(handle)


async def test_exit_codes_of_what_ended_meanwhile_outlive_the_keeper(home: Home) -> None:
    runtime = home.runtime(on_exit="keep", keep_s=60)
    handle = await launch(runtime, "sleep 0.2; exit 3")
    await runtime.close()
    await until(lambda: not home.keeper())  # nothing was left to keep
    async with home.open() as later:
        assert await later.handles() == [handle]
        assert await later.recover(handle) == ExitStatus(ExitKind.EXITED, code=3)


async def test_keeping_ends_in_time(home: Home) -> None:
    runtime = home.runtime()
    handle = await launch(runtime, STUBBORN)
    await said(runtime, handle, "up")
    began = time.monotonic()
    await runtime.close(keep_s=0.5)
    await until(lambda: not home.alive() and not home.keeper(), 5)
    assert 0.5 <= time.monotonic() - began < 4
    async with home.open() as later:
        status = await later.recover(handle)
        assert status is not None
        assert status.kind is ExitKind.STOPPED
        assert status.detail == "Corral did not come back in time"


async def test_a_corral_that_comes_while_engines_stop_learns_how_they_end(home: Home) -> None:
    async with corral(home, STUBBORN) as output:
        while await output.readline() != b"running\n":
            pass
    async with home.open() as runtime:  # at once: the keeper is between SIGTERM and SIGKILL
        (handle,) = await runtime.handles()
        status = await runtime.wait(handle)
        assert status.kind is ExitKind.STOPPED
        assert status.detail == "Corral is gone"
        await runtime.destroy(handle)
        again = await launch(runtime, "exec sleep 1000")
        assert await runtime.recover(again) is None


async def test_an_engine_whose_handle_is_missing_ends_when_corral_returns(home: Home) -> None:
    runtime = home.runtime(on_exit="keep", keep_s=60)
    handle = await launch(runtime, "exec sleep 1000")
    await runtime.close()
    (home.state / "handles" / "one.json").unlink()  # Corral was killed between the start and the file
    async with home.open() as later:
        again = await launch(later, "exec sleep 1000", "two")
        assert home.alive("one") == []
        assert await later.recover(again) is None
        assert (await later.wait(handle)).kind is ExitKind.LOST


async def test_a_keeper_that_is_asked_to_end_waits_for_its_owner(home: Home) -> None:
    runtime = home.runtime(on_exit="keep", keep_s=60)
    handle = await launch(runtime, "exec sleep 1000")
    os.kill(handle.data["keeper_pid"], signal.SIGTERM)  # the service manager signals everyone; Corral drains first
    await asyncio.sleep(0.1)
    assert await runtime.recover(handle) is None
    await runtime.close()
    os.kill(handle.data["keeper_pid"], signal.SIGTERM)
    await until(lambda: not home.alive() and not home.keeper(), 5)
    async with home.open() as later:
        status = await later.recover(handle)
        assert status is not None
        assert (status.kind, status.detail) == (ExitKind.STOPPED, "the keeper was asked to end")


async def test_a_hung_keeper_is_reported(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corral.runtimes.process.client.HELLO_TIMEOUT_S", 0.3)
    runtime = home.runtime(on_exit="keep", keep_s=60)
    handle = await launch(runtime, "exec sleep 1000")
    keeper = handle.data["keeper_pid"]
    await runtime.close()
    os.kill(keeper, signal.SIGSTOP)
    try:
        async with home.open(on_exit="keep", keep_s=60) as later:
            with pytest.raises(PlaceFailed, match=r"did not answer within 0\.3 s"):
                await later.recover(handle)
    finally:
        os.kill(keeper, signal.SIGCONT)
    async with home.open() as later:
        assert await later.recover(handle) is None


async def test_a_keeper_of_another_version_is_replaced(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = home.runtime(on_exit="keep", keep_s=60)
    handle = await launch(runtime, "exec sleep 1000")
    await runtime.close()
    monkeypatch.setattr("corral.runtimes.process.client.VERSION", 2)
    async with home.open() as later:
        status = await later.recover(handle)
        assert status is not None
        assert (status.kind, status.detail) == (ExitKind.STOPPED, "Corral shut down")
        again = await launch(later, "exec sleep 1000", "two")
        assert again.data["keeper_pid"] != handle.data["keeper_pid"]


async def test_a_keeper_that_was_stopping_serves_the_next_corral(home: Home) -> None:
    runtime = home.runtime(on_exit="keep", keep_s=60)
    handle = await launch(runtime, STUBBORN)
    await said(runtime, handle, "up")
    await runtime.close()
    os.kill(handle.data["keeper_pid"], signal.SIGTERM)
    await asyncio.sleep(0.1)
    async with home.open() as later:
        again = await launch(later, "exec sleep 1000", "two")
        assert (await later.wait(handle)).detail == "the keeper was asked to end"
        assert await later.recover(again) is None
        assert again.data["keeper_pid"] == handle.data["keeper_pid"]


async def test_nonsense_on_the_socket_is_not_heard(home: Home) -> None:
    async with home.open() as runtime:
        handle = await launch(runtime, "exec sleep 1000")
        path = json.loads((home.state / "keeper.lock").read_bytes())["socket"]
        for nonsense in (b"GET / HTTP/1.1\r\n\r\n", b"[1]\n", b'{"op": "shutdown", "id": 1}\n', b'{"id": 1}\n'):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(nonsense)
            answer = await reader.readline()
            assert answer == b"" or "error" in json.loads(answer)
            writer.close()
            await writer.wait_closed()
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b'{"op": "hello", "id": 1, "pid": 1, "keep_s": 0}\n')
        assert f"pid {os.getpid()} owns" in json.loads(await reader.readline())["error"]
        writer.close()
        await writer.wait_closed()
        assert await runtime.recover(handle) is None


async def test_close_is_the_end(home: Home) -> None:
    runtime = home.runtime()
    handle = await launch(runtime, "exec sleep 1000")
    await runtime.close()
    assert not home.keeper()
    for attempt in (runtime.place("two"), launch(runtime, "exit 0", "two"), runtime.handles()):
        with pytest.raises(PlaceFailed, match="closed"):
            await attempt
    await runtime.destroy(handle)
    assert list((home.state / "handles").iterdir()) == []


# --- files


async def test_everything_is_private(home: Home) -> None:
    old = os.umask(0)
    try:
        async with home.open() as runtime:
            handle = await launch(runtime, "echo up; echo made > here; exec sleep 1000", files={"a/b": "x"})
            await said(runtime, handle, "up")
            await until((home.state / "scratch" / "one" / "here").exists)
            for top in (home.state, home.run):
                for path in [top, *top.rglob("*")]:
                    mode = path.lstat().st_mode
                    assert not stat.S_IMODE(mode) & 0o077, (path, oct(mode))
    finally:
        os.umask(old)


async def test_sockets_are_short_wherever_the_state_is(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = short_tmp / ("d" * 120)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_tmp / "x"))
    runtime = ProcessRuntime(deep)
    place = await runtime.place("one")
    assert place.socket.startswith(str(short_tmp / "x" / "corral"))
    await runtime.close()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))  # too long: the temp directory
    runtime = ProcessRuntime(deep)
    place = await runtime.place("one")
    assert "/corral-" in place.socket
    assert len(place.socket.encode()) <= 100
    handle = await launch(runtime, "exec sleep 1000")
    await runtime.close(keep_s=60)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_tmp / "y"))  # the keeper is found where it is, not where we look
    later = ProcessRuntime(deep)
    assert await later.recover(handle) is None
    await later.close()
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(os.path.dirname(place.socket))


async def test_without_any_socket_path_there_is_a_port(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corral.runtimes.process.places.SOCKET_PATH_BYTES", 5)
    home = Home(short_tmp)
    async with home.open() as runtime:
        place = await runtime.place("one")
        assert place.socket == ""
        assert place.host == "127.0.0.1"
        assert 1024 <= place.port < 65536
        handle = await launch(runtime, "exec sleep 1000")  # over the pair alone
        assert await runtime.recover(handle) is None
