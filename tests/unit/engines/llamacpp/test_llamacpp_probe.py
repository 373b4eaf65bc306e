"""probe and binary: which program, and what it says of itself; with small scripts in its place."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from corral.domain.errors import StartFailed
from corral.engines.llamacpp.binary import EMBEDDED, Program, choose, uses_embedded
from corral.engines.llamacpp.probe import Prober

HELP = "usage:\\n-m,    --model FNAME   model\\n--port PORT   port\\n"
Script = Callable[[str], Program]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """A program that notes each call and runs this shell code; `$1` is its flag."""

    def make(body: str) -> Program:
        path = tmp_path / "llama-server"
        path.write_text(f'#!/bin/sh\necho "$1" >> {tmp_path}/calls\n{body}\n')
        path.chmod(0o755)
        return Program(str(path))

    return make


def calls(tmp_path: Path) -> list[str]:
    return sorted((tmp_path / "calls").read_text().split())


async def test_a_binary_is_asked_once_by_a_burst(script: Script, tmp_path: Path) -> None:
    program = script(f'[ "$1" = --version ] && echo "version: 4711 (abc)" >&2 || printf "{HELP}"')
    prober = Prober()
    found = await asyncio.gather(*(prober.probe(program) for _ in range(5)))
    assert {probed.build for probed in found} == {4711}
    assert found[0].known.flags.keys() == {"-m", "--model", "--port"}
    assert calls(tmp_path) == ["--help", "--version"]


async def test_a_changed_binary_is_asked_again(script: Script, tmp_path: Path) -> None:
    prober = Prober()
    await prober.probe(script(f'printf "{HELP}"'))
    changed = script(f'printf "{HELP}--new-flag   new\\n"')
    assert "--new-flag" in (await prober.probe(changed)).known.flags
    assert len(calls(tmp_path)) == 4


async def test_a_cache_folder_outlives_the_prober(script: Script, tmp_path: Path) -> None:
    program = script(f'printf "{HELP}version: 12 (a)\\n"')
    await Prober(cache=tmp_path / "cache").probe(program)
    again = await Prober(cache=tmp_path / "cache").probe(program)
    assert again.build == 12 and "--port" in again.known.flags
    assert len(calls(tmp_path)) == 2
    for file in (tmp_path / "cache").iterdir():
        file.write_text("{ broken")
    assert (await Prober(cache=tmp_path / "cache").probe(program)).build == 12  # a broken cache only costs time
    assert len(calls(tmp_path)) == 4


@pytest.mark.parametrize(
    ("body", "says", "hint"),
    [
        ('echo "unknown option $1"', "does not describe itself", "Set `binary`"),
        ("exit 3", "ended with code 3", ""),
        ('echo "x: error while loading shared libraries: libfoo.so.1: cannot open" >&2; exit 127',
         "ended with code 127", "libfoo.so.1 is missing"),
    ],
)  # fmt: skip
async def test_a_program_that_cannot_say(script: Script, body: str, says: str, hint: str) -> None:
    with pytest.raises(StartFailed, match=says) as caught:
        await Prober().probe(script(body))
    assert hint in caught.value.hint and caught.value.permanent


async def test_a_program_that_does_not_end_has_a_deadline(script: Script) -> None:
    with pytest.raises(StartFailed, match=r"did not answer within 0\.2 s"):
        await Prober(deadline_s=0.2).probe(script("exec sleep 30"))


async def test_a_program_that_cannot_be_run(tmp_path: Path) -> None:
    path = tmp_path / "llama-server"
    path.write_bytes(b"\x7fELF nonsense")
    path.chmod(0o755)
    with pytest.raises(StartFailed, match="cannot be run") as caught:
        await Prober().probe(Program(str(path)))
    assert "another machine" in caught.value.hint


async def test_hidden_settings_and_secrets_do_not_reach_the_probe(
    script: Script, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hidden = ["LLAMA_ARG_HOST", "HF_TOKEN", "OPENAI_API_KEY", "PGPASSWORD", "TEAM"]
    for name in hidden:
        monkeypatch.setenv(name, "not for a binary")
    program = script(f'printf "{HELP}"; env > {tmp_path}/seen')
    await Prober(hidden_env=frozenset({"TEAM"})).probe(program)
    seen = {line.partition("=")[0] for line in (tmp_path / "seen").read_text().splitlines()}
    assert "PATH" in seen and not seen & set(hidden)


async def gone(file: Path) -> None:
    """The process whose pid the file holds ends within two seconds."""
    pid = int(file.read_text())
    async with asyncio.timeout(2):
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("leave", ["", "setsid "])
async def test_nothing_of_a_probed_program_outlives_its_deadline(script: Script, leave: str, tmp_path: Path) -> None:
    program = script(f"{leave}sh -c 'echo $$ > {tmp_path}/pid; exec sleep 987' & wait")
    with pytest.raises(StartFailed, match="did not answer"):
        await Prober(deadline_s=0.5).probe(program)
    await gone(tmp_path / "pid")


@pytest.mark.parametrize("leave", ["", "setsid "])
async def test_nothing_of_a_probed_program_outlives_its_end(script: Script, leave: str, tmp_path: Path) -> None:
    program = script(
        f"{leave}sh -c 'echo $$ > {tmp_path}/pid; exec sleep 987' & "
        f'while [ ! -s {tmp_path}/pid ]; do :; done; printf "{HELP}"'
    )
    began = time.monotonic()
    await Prober().probe(program)  # nor does the pipe that it holds hold up the answer
    assert time.monotonic() - began < 5
    await gone(tmp_path / "pid")


async def test_nothing_of_a_probed_program_outlives_a_caller_that_leaves(script: Script, tmp_path: Path) -> None:
    program = script(f"sh -c 'echo $$ > {tmp_path}/pid; exec sleep 987' & wait")
    asked = asyncio.ensure_future(Prober().probe(program))
    async with asyncio.timeout(5):
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            await asyncio.sleep(0.01)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    await gone(tmp_path / "pid")


async def test_nothing_of_a_probed_program_outlives_a_killed_corral(script: Script, tmp_path: Path) -> None:
    program = script(f"sh -c 'echo $$ > {tmp_path}/pid; exec sleep 987' & wait")
    code = (
        "import asyncio, sys; from corral.engines.llamacpp.binary import Program; "
        "from corral.engines.llamacpp.probe import Prober; asyncio.run(Prober().probe(Program(sys.argv[1])))"
    )
    corral = await asyncio.create_subprocess_exec(sys.executable, "-c", code, program.path)
    async with asyncio.timeout(10):
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            await asyncio.sleep(0.01)
    corral.kill()
    await corral.wait()
    await gone(tmp_path / "pid")


async def test_devices_only_when_asked(script: Script, tmp_path: Path) -> None:
    program = script('printf "Available devices:\\n  CUDA0: X (1 MiB, 1 MiB free)\\n"')
    prober = Prober()
    once = await prober.devices(program)
    assert [device.name for device in once] == ["CUDA0"]
    assert await prober.devices(program) == once
    assert calls(tmp_path) == ["--list-devices"]
    await prober.devices(program, {"CUDA_VISIBLE_DEVICES": "1"})  # another environment, another list
    assert calls(tmp_path) == ["--list-devices"] * 2


async def test_devices_are_numbered_as_nvml_does(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = script(f'echo "$CUDA_DEVICE_ORDER" >> {tmp_path}/order; echo "Available devices:"')
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    await Prober().devices(program)
    await Prober().devices(program, {"CUDA_DEVICE_ORDER": "FASTEST_FIRST"})
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    await Prober().devices(program)
    assert (tmp_path / "order").read_text().split() == ["PCI_BUS_ID", "FASTEST_FIRST", "FASTEST_FIRST"]


def nowhere(name: str) -> str | None:
    return None


def test_the_models_own_binary_comes_first(script: Script, tmp_path: Path) -> None:
    program = script("")
    assert choose(program.path) == program
    assert choose("", which=lambda name: f"/opt/{name}") == Program("/opt/llama-server")
    assert choose(EMBEDDED, which=lambda name: f"/opt/{name}").embedded
    assert choose("", which=nowhere).embedded
    assert uses_embedded("", which=nowhere) and uses_embedded(EMBEDDED)
    assert not uses_embedded("", which=lambda name: name) and not uses_embedded("/x", which=nowhere)


def test_a_missing_binary_says_why(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("")
    for binary, words in (
        (str(tmp_path / "gone"), "does not exist"),
        (str(tmp_path), "is a folder"),
        (str(plain), "may not be executed"),
        ("no-such-llama", "no program 'no-such-llama' on PATH"),
    ):
        with pytest.raises(StartFailed, match=words) as caught:
            choose(binary)
        assert caught.value.permanent and "corral[embedded]" in caught.value.hint
