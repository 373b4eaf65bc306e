"""How command Models end: by signals, by stop commands that work, fail or hang, and what wrappers leave behind."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import pytest

from corral.domain.fleet import Timeouts
from corral.domain.launch import PID
from corral.runtimes.process.keeper import procs
from tests.corrals import Running, corral
from tests.paths.command_kit import command, script, server
from tests.paths.keeper_kit import STUBBORN, Home, launch, said, until


async def unloaded(running: Running, model: str = "a", *, force: bool = False) -> float:
    """Load and unload it; the seconds that the unload took."""
    await running.text(model)
    began = time.monotonic()
    await running.app.control.unload(model, force=force, timeout_s=30)
    assert running.state(model) == "stopped" and running.engine_pids() == []
    return time.monotonic() - began


async def test_a_stop_command_ends_what_no_signal_ends(tmp_path: Path) -> None:
    model = script(
        tmp_path, "--deaf", stop_command=("sh", "-c", "kill -KILL $0", "{pid}"), timeouts=Timeouts(stop_s=10)
    )
    async with corral({"a": model}) as running:
        assert await unloaded(running) < 2


async def test_a_stop_command_may_ask_by_the_port(tmp_path: Path) -> None:
    ask = "import urllib.request, sys; urllib.request.urlopen(sys.argv[1], b'x', timeout=3)"
    model = script(
        tmp_path,
        "--deaf",
        stop_command=(sys.executable, "-c", ask, "http://127.0.0.1:{port}/stop"),
        timeouts=Timeouts(stop_s=10),
    )
    async with corral({"a": model}) as running:
        assert await unloaded(running) < 5


@pytest.mark.parametrize(
    ("stop_command", "says"),
    [
        (("sleep", "60"), "the stop command sleep did not end within"),
        (("sh", "-c", "echo it is not mine; exit 3"), "ended with code 3: it is not mine"),
        (("/no/such/program",), "cannot be run: No such file"),
        (("sh", "-c", "exit 0"), ""),
        (("kill", "999999999"), "the stop command kill ended with code 1"),
    ],
)
async def test_a_stop_command_that_does_not_help_gives_way_to_the_signal(
    stop_command: tuple[str, ...], says: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = script(tmp_path, stop_command=stop_command, timeouts=Timeouts(stop_s=2))
    async with corral({"a": model}) as running:
        assert await unloaded(running) < 2.5
        assert says in caplog.text
        log = await running.http.get("/api/corral/logs", params={"model": "a"})
        assert "asked to end" in log.text, "by the signal, not by the kill"


async def test_when_command_and_signal_fail_it_is_killed(tmp_path: Path) -> None:
    model = script(tmp_path, "--deaf", stop_command=("sleep", "60"), timeouts=Timeouts(stop_s=1))
    async with corral({"a": model}) as running:
        assert 0.9 < await unloaded(running) < 3


async def test_a_signal_of_its_own(tmp_path: Path) -> None:
    source = (
        "import signal, sys, os\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "signal.signal(signal.SIGUSR2, lambda *_: os._exit(0))\n"
        "sys.argv = ['server.py', '--port', os.environ['PORT']]\n"
        f"exec(open({server(tmp_path)!r}).read())\n"
    )
    (tmp_path / "own.py").write_text(source)
    model = command(
        sys.executable, str(tmp_path / "own.py"), env=(("PORT", "{port}"),), stop_signal="SIGUSR2",
        timeouts=Timeouts(stop_s=10),
    )  # fmt: skip
    async with corral({"a": model}) as running:
        assert await unloaded(running) < 2


async def test_a_wrapper_that_forks_leaves_nothing(tmp_path: Path) -> None:
    model = command("sh", "-c", f"{sys.executable} {server(tmp_path)} --deaf --port $0; true", "{port}")
    async with corral({"a": model}) as running:
        await running.text("a")
        assert len(running.engine_pids()) == 2
        assert await unloaded(running) < 4


async def test_a_stop_command_that_is_tied_to_nothing_follows_a_crash_and_a_forced_unload(tmp_path: Path) -> None:
    clean = ("sh", "-c", f"echo $MARK >> {tmp_path}/cleaned")
    model = script(tmp_path, stop_command=clean, env=(("MARK", "mine"),))
    tied = script(tmp_path, stop_command=("sh", "-c", f"echo $0 >> {tmp_path}/tied", "{pid}"))
    async with corral({"a": model, "b": tied}) as running:
        for name in ("a", "b"):
            await running.text(name)
            await running.http.post(f"/upstream/{name}/stop", json={})
            await running.until(name, "failed")
        assert (tmp_path / "cleaned").read_text() == "mine\n" and not (tmp_path / "tied").exists()
        await unloaded(running, "a", force=True)
        assert (tmp_path / "cleaned").read_text() == "mine\n" * 2
        await unloaded(running, "a")
        assert (tmp_path / "cleaned").read_text() == "mine\n" * 3, "once for each stop"
        await unloaded(running, "b", force=True)
        assert not (tmp_path / "tied").exists()


# --- the runtime alone ---------------------------------------------------------------------------------------------


async def test_it_runs_with_the_engines_own_environment_and_folder(short_tmp: Path, tmp_path: Path) -> None:
    async with Home(short_tmp).open() as runtime:
        told = tmp_path / "told"
        stop = ("sh", "-c", f'echo "$A $SECRET $(pwd) $0" > {told}; kill -KILL $0', PID)
        handle = await launch(
            runtime, STUBBORN, env={"A": "1"}, secret_env={"SECRET": "s"}, stop_command=stop, cwd=str(tmp_path)
        )
        await said(runtime, handle, "up")
        status = await runtime.stop(handle, grace_s=5)
        assert told.read_text() == f"1 s {tmp_path} {handle.data['pid']}\n"
        assert str(status) == "was killed by signal 9"
        assert "s" not in handle.data["stop_env"].values(), "secrets are not kept in the handle"


async def test_the_next_corral_stops_a_kept_engine_by_its_command(short_tmp: Path, tmp_path: Path) -> None:
    home = Home(short_tmp)
    first = home.runtime(on_exit="keep", keep_s=60)
    handle = await launch(
        first, STUBBORN, env={"A": "1"}, stop_command=("sh", "-c", f"echo $A > {tmp_path}/told; kill -9 $0", PID)
    )
    await said(first, handle, "up")
    await first.close()
    async with home.open() as second:
        (found,) = await second.handles()
        assert await second.recover(found) is None
        began = time.monotonic()
        await second.stop(found, grace_s=10)
        assert time.monotonic() - began < 3 and (tmp_path / "told").read_text() == "1\n"
        await second.destroy(found)
    await until(lambda: not home.alive() and not home.keeper(), 5.0)


async def test_a_forced_stop_does_not_wait_for_a_stop_command_that_hangs(short_tmp: Path) -> None:
    async with Home(short_tmp).open() as runtime:
        handle = await launch(runtime, STUBBORN, stop_command=("sh", "-c", "sleep 60 # $0", PID))
        await said(runtime, handle, "up")
        gentle = asyncio.ensure_future(runtime.stop(handle, grace_s=30))
        await asyncio.sleep(0.2)
        began = time.monotonic()
        await runtime.stop(handle, grace_s=0.0)
        assert time.monotonic() - began < 2
        gentle.cancel()
        await asyncio.gather(gentle, return_exceptions=True)


async def test_a_stop_command_leaves_nothing_of_its_own(short_tmp: Path, tmp_path: Path) -> None:
    async with Home(short_tmp).open() as runtime:
        stop = ("sh", "-c", f"sleep 77.25 & echo $! > {tmp_path}/left; sleep 60")
        handle = await launch(runtime, STUBBORN, stop_command=stop)
        await said(runtime, handle, "up")
        await runtime.stop(handle, grace_s=1.0)
        assert procs.start_ticks(int((tmp_path / "left").read_text())) == 0


async def test_where_it_listens_is_seen(short_tmp: Path, tmp_path: Path) -> None:
    async with Home(short_tmp).open() as runtime:
        handle = await launch(runtime, f"{sys.executable} {server(tmp_path)} --port 0; true")
        port = ""
        async for line in runtime.logs(handle, follow=True):
            if line.text.startswith("serving at port"):
                port = line.text.split()[-1]
                break
        assert await runtime.listening(handle) == (f"127.0.0.1:{port}",)
        await runtime.stop(handle, grace_s=0)
        assert await runtime.listening(handle) == ()
