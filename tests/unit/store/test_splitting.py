"""Cutting and joining through a tool: what goes wrong with it, by tools that are shell scripts."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from corral.domain.errors import BadGguf, NoSpace, PlaceFailed, StoreFailed
from corral.store import splitting
from corral.store.files import part_paths, resolve
from corral.store.splitting import TOOL, find_tool, merge, split
from tests.models import ADA, SPLIT, model


def script(path: Path, lines: str) -> Path:
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that is larger than the smallest part."""
    monkeypatch.setattr(splitting, "_MEGABYTE", 1000)
    return model(ADA)


def test_where_the_tool_is_found(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    tool, server = script(tmp_path / "a" / TOOL, ""), script(tmp_path / "a" / "llama-server", "")
    (tmp_path / "b" / "llama-server").symlink_to(server)
    paths = {"given": str(tool), "llama-server": str(tmp_path / "b" / "llama-server"), str(server): str(server)}
    assert find_tool("given", which=paths.get) == tool
    assert find_tool(which={TOOL: "/x"}.get) == Path("/x")
    assert find_tool(servers=[str(server)], which={str(server): str(server)}.get) == tool
    assert find_tool(which=paths.get) == tool  # beside what the link leads to
    nothing: dict[str, str] = {}
    with pytest.raises(PlaceFailed, match="neither on PATH nor beside a llama-server"):
        find_tool(which=nothing.get)


def test_a_tool_in_this_folder_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    script(tmp_path / "tool", "exit 3")
    with pytest.raises(StoreFailed, match=r"tool failed \(3\)"):
        merge(model(SPLIT), tmp_path / "m.gguf", find_tool("./tool"))


def test_a_tool_that_cannot_be_run_is_no_matter_of_the_disk(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_bytes(b"\x7fELF no program")
    tool.chmod(0o755)
    with pytest.raises(PlaceFailed, match="tool cannot be run: Exec format error"):
        merge(model(SPLIT), tmp_path / "m.gguf", tool)


def test_a_place_that_is_taken_needs_no_tool(tmp_path: Path, large: Path) -> None:
    tool = script(tmp_path / "tool", f'touch "{tmp_path}/ran"')
    (tmp_path / "m.gguf").touch()
    (tmp_path / f"{large.stem}-00001-of-00007.gguf").touch()
    with pytest.raises(StoreFailed, match="is there already"):
        merge(model(SPLIT), tmp_path / "m.gguf", tool)
    with pytest.raises(StoreFailed, match="is there already"):
        split(large, tmp_path, 100_000, tool)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_the_tool_ends_with_us(tmp_path: Path, number: signal.Signals) -> None:
    tool = script(tmp_path / "tool", f'sleep 60 & echo $! > "{tmp_path}/child"; echo $$ > "{tmp_path}/pid"; wait')
    out = tmp_path / "out"
    command = ["models", "merge", str(model(SPLIT)), "--out", str(out / "m.gguf"), "--tool", str(tool)]
    with subprocess.Popen([sys.executable, "-m", "corral", *command], stderr=subprocess.DEVNULL) as corral:
        until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().endswith("\n"))
        corral.send_signal(number)
        corral.wait(10)
    for name in ("pid", "child"):
        pid = int((tmp_path / name).read_text())
        until(lambda pid=pid: not Path(f"/proc/{pid}").exists())  # type: ignore[misc]
    assert len(list(out.iterdir())) == (number == signal.SIGKILL)
    (out / f".corral-split-{os.getpid()}-x").mkdir()
    with pytest.raises(StoreFailed):
        merge(model(SPLIT), out / "m.gguf", Path("/bin/false"))
    assert [each.name for each in out.iterdir()] == [f".corral-split-{os.getpid()}-x"], "whose process runs"


def until(there: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not there():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_tool_that_fails_leaves_nothing(tmp_path: Path, large: Path) -> None:
    tool = script(tmp_path / "tool", 'echo begin; echo "it is broken" >&2; touch "$5-00001-of-00002.gguf"; exit 3')
    with pytest.raises(StoreFailed, match=r"tool failed \(3\): begin / it is broken"):
        split(large, tmp_path / "out", 100_000, tool)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_tool_that_writes_something_else_is_not_believed(tmp_path: Path) -> None:
    tool = script(tmp_path / "tool", f'cp "{model(ADA)}" "$3"')
    with pytest.raises(BadGguf, match="is not the model that it was given"):
        merge(model(SPLIT), tmp_path / "out" / "m.gguf", tool)
    nothing = script(tmp_path / "nothing", "exit 0")
    with pytest.raises(StoreFailed):
        merge(model(SPLIT), tmp_path / "out" / "m.gguf", nothing)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_tool_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splitting, "_LEAST_S", 0.1)
    tool = script(tmp_path / "tool", "exec sleep 60")
    with pytest.raises(StoreFailed, match="did not end in time"):
        merge(model(SPLIT), tmp_path / "m.gguf", tool)
    assert not (tmp_path / "m.gguf").exists()


def test_what_is_there_is_not_replaced(tmp_path: Path, large: Path) -> None:
    parts = part_paths(model(SPLIT))
    copies = " ".join(f'"{part}"' for part in parts)
    tool = script(tmp_path / "tool", f'cp {copies} "$(dirname "$5")"')
    (tmp_path / parts[1].name).write_text("mine")
    with pytest.raises(StoreFailed, match="is there already"):
        split(large, tmp_path, 100_000, tool)
    assert (tmp_path / parts[1].name).read_text() == "mine"


def test_what_needs_no_tool_to_be_refused(tmp_path: Path, large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = Path("/bin/false")
    with pytest.raises(StoreFailed, match="is a part of a split model already"):
        split(model(SPLIT), tmp_path, 100_000, tool)
    with pytest.raises(StoreFailed, match="too small"):
        split(large, tmp_path, 10, tool)
    with pytest.raises(StoreFailed, match="that is one part of that size"):
        split(large, tmp_path, 1 << 40, tool)
    with pytest.raises(StoreFailed, match="is no part of a split model"):
        merge(large, tmp_path / "m.gguf", tool)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
    with pytest.raises(NoSpace, match=r"has 10 B free, \S+ KiB are needed"):
        merge(model(SPLIT), tmp_path / "m.gguf", tool)


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreFailed, match="file cannot be written to: File exists"):
        merge(model(SPLIT), tmp_path / "file" / "m.gguf", Path("/bin/false"))


def test_what_counts_as_the_same_model(large: Path) -> None:
    whole = resolve(model(SPLIT))
    assert splitting._same(whole, resolve(part_paths(model(SPLIT))[2]))
    assert not splitting._same(whole, resolve(large))
