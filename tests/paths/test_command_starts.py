"""Starts of command Models that take their time or go wrong: what is waited for, and the sentence that comes of it."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import sys
import time
from pathlib import Path

import pytest

from corral.domain.fleet import Timeouts
from corral.scheduler import instances
from tests.corrals import Running, corral
from tests.paths.command_kit import command, script, server

QUICK = Timeouts(load_s=1.5)


async def refused(running: Running, model: str = "a") -> str:
    """The sentence of a start that failed."""
    answer = await running.chat(model)
    assert answer.status_code == 503, answer.text
    return str(answer.json()["error"]["message"])


async def test_ready_means_the_pattern_and_the_health(tmp_path: Path) -> None:
    flags = ("--say-later", "the model is warm", "--later-s", "0.5")
    async with corral({"a": script(tmp_path, *flags, ready_pattern=r"model is \w+ *$")}) as running:
        began = time.monotonic()
        asked = asyncio.ensure_future(running.text("a"))
        await asyncio.sleep(0.3)
        assert running.state("a") == "starting"
        assert await asked == "I am a with no key"
        assert time.monotonic() - began >= 0.5


async def test_a_pattern_alone_is_enough(tmp_path: Path) -> None:
    model = script(tmp_path, "--health", "503", health="none", ready_pattern="serving at port")
    async with corral({"a": model}) as running:
        assert await running.text("a") == "I am a with no key"


async def test_without_health_taking_connections_is_ready(tmp_path: Path) -> None:
    async with corral({"a": script(tmp_path, "--health", "500", "--load-s", "0.3", health="none")}) as running:
        assert await running.text("a") == "I am a with no key"


@pytest.mark.parametrize(
    ("flags", "options", "says"),
    [
        (("--health", "503"), {}, "The program listens, but GET /health did not answer 200 within 1.5 s."),
        ((), {"ready_pattern": "never said"}, "No line of its output matched ready_pattern 'never said' within 1.5 s."),
        (("--load-s", "60"), {}, "Nothing answered GET http://127.0.0.1:"),
        (("--load-s", "60"), {"health": "none"}, "The program did not listen on 127.0.0.1:"),
        (("--health", "401"), {}, "refuses GET /health"),
        (("--port-typo",), {}, "ended with code 2 before it was ready"),
    ],
)
async def test_a_start_that_fails_says_why(
    flags: tuple[str, ...], options: dict[str, str], says: str, tmp_path: Path
) -> None:
    async with corral({"a": script(tmp_path, *flags, timeouts=QUICK, **options)}) as running:
        assert says in await refused(running)
        assert running.engine_pids() == []


async def test_a_program_that_listens_elsewhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instances, "LATE_S", 0.7)
    model = command(
        sys.executable, server(tmp_path), "--port", "0", env=(("PORT", "{port}"),), timeouts=QUICK, ready_pattern="."
    )
    async with corral({"a": model}) as running:
        sentence = await refused(running)
        assert "The program listens on 127.0.0.1:" in sentence and "Pass {port} in options.command" in sentence
        assert "is not ready yet. It listens on 127.0.0.1:" in caplog.text


async def test_a_program_that_listens_on_all_interfaces_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with corral({"a": script(tmp_path, "--host", "0.0.0.0"), "b": script(tmp_path)}) as running:
        await running.text("a")
        await running.text("b")
        async with asyncio.timeout(5):
            while "can use it past Corral" not in caplog.text:
                await asyncio.sleep(0.01)
        (line,) = [line for line in caplog.text.splitlines() if "past Corral" in line]
        assert " a (" in line and "Tell it to listen on 127.0.0.1." in line


async def test_a_flood_of_lines_does_not_hide_the_ready_line(tmp_path: Path) -> None:
    flags = ("--log-flood", "--log-lines", "20000", "--load-s", "0.5", "--socket", "{socket}")
    model = command(
        sys.executable, "-m", "corral.fakes.engine_program", *flags, health="none", ready_pattern="^model loaded$"
    )
    async with corral({"a": model}) as running:
        assert await running.text("a") == "I am fake."
        view = running.app.scheduler.view("a")
        assert view is not None and view.load_s is not None and 0.5 <= view.load_s < 15


async def test_huge_lines_and_binary_output_do_no_harm(tmp_path: Path) -> None:
    async with corral({"a": script(tmp_path, "--raw-bytes", ready_pattern="serving at port [0-9]")}) as running:
        assert await running.text("a") == "I am a with no key"


async def test_an_address_that_is_taken_is_refused_before_the_start(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        model = script(tmp_path, port=str(port), address=f"127.0.0.1:{port}")
        async with corral({"a": model}) as running:
            assert f"127.0.0.1:{port} is taken: something listens there already." in await refused(running)
    async with corral({"a": model, "b": model}, group="swap") as running:
        for name in ("a", "b", "a"):
            assert await running.text(name) == f"I am {name} with no key"


async def test_a_changed_program_takes_over_the_address_of_its_old_self(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    fake = (sys.executable, "-m", "corral.fakes.engine_program", "--port", str(port), "--name", "{model}")
    old = command(*fake, "--chunks", "30", "--delay-s", "0.03", address=f"127.0.0.1:{port}")
    async with corral({"a": old}) as running:
        await running.text("a")
        (before,) = running.engine_pids()
        streaming = asyncio.ensure_future(running.stream("a"))
        await asyncio.sleep(0.2)
        settings = running.app.settings
        changed = dataclasses.replace(
            settings.fleet.models["a"], env=(*settings.fleet.models["a"].env, ("CHANGED", "yes"))
        )
        fleet = dataclasses.replace(settings.fleet, models={"a": changed})
        await running.app.reload(lambda: dataclasses.replace(settings, fleet=fleet))
        assert await running.text("a"), "it waits in line for the new one"
        assert (await streaming)[1], "and the old one finished its answer"
        assert running.engine_pids() != [before]


async def test_a_port_that_was_snatched_is_replaced_once(tmp_path: Path) -> None:
    wrapper = tmp_path / "unlucky.sh"
    wrapper.write_text(
        f'echo "$@" >> {tmp_path}/ports\n'
        f'[ "$(wc -l < {tmp_path}/ports)" -gt "$LUCK" ] || {{ echo "bind: Address already in use"; exit 1; }}\n'
        f'exec {sys.executable} {server(tmp_path)} --port "$1"\n'
    )
    unlucky = command("sh", str(wrapper), "{port}", env=(("LUCK", "1"),))
    async with corral({"a": unlucky}) as running:
        assert await running.text("a") == "I am a with no key"
    first, second = (tmp_path / "ports").read_text().split()
    assert first != second
    async with corral({"a": command("sh", str(wrapper), "{port}", env=(("LUCK", "99"),))}) as running:
        assert "another one was faster" in await refused(running)
    assert len((tmp_path / "ports").read_text().split()) == 4, "one more try, no more"


async def test_a_missing_program_is_told_with_a_near_name() -> None:
    async with corral({"a": command("pyton3", "{port}")}) as running:
        assert "There is no program 'pyton3' on PATH. Did you mean python3" in await refused(running)


async def test_a_program_that_goes_to_the_background(tmp_path: Path) -> None:
    model = command("sh", "-c", f"{sys.executable} {server(tmp_path)} --port $0 & exit 0", "{port}")
    async with corral({"a": model}) as running:
        assert "has to stay in the foreground" in await refused(running)
        assert running.engine_pids() == []
