"""`corral bench gateway` as a person runs it: a report, JSON of a known shape, and nothing left behind."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time

import msgspec
import pytest

from corral.bench import peers, report, swap
from corral.bench.measure import ROWS, TRANSLATED_ROWS
from corral.bench.processes import Cores
from tests.paths.shell_kit import WAIT_S, Shell, shell

__all__ = ["shell"]

PAGE = "<!-- generated: gateway -->\n<!-- end -->\n"


@pytest.mark.timeout(120)
def test_it_measures_corral_beside_direct_and_tells_what_is_missing(shell: Shell) -> None:
    (shell.home / "page.md").write_text(PAGE)
    shell.env["PATH"] = "/nowhere"  # neither go nor litellm, whatever this machine has
    words = ("bench", "gateway", "--only", "corral,go,litellm", "--rounds", "1", "--seconds", "0.5")
    ran = subprocess.run(
        shell.argv(*words, "--json", "--write", "page.md"),
        capture_output=True, text=True, env=shell.env, cwd=shell.home, timeout=110, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    found = msgspec.convert(msgspec.json.decode(ran.stdout), report.Gateway)
    assert msgspec.to_builtins(found) == msgspec.json.decode(ran.stdout)  # nothing in it that the shape does not have
    direct, corral = found.programs
    assert (direct.name, corral.name, corral.failed) == ("direct", "corral", "")
    assert corral.rows.keys() == ROWS.keys()
    assert found.units == ROWS
    assert {"go", "litellm"} == found.missing.keys()
    assert corral.rows["requests_per_s"].median > 50
    assert 0 < corral.rows["rss_idle_mb"].median < 200
    assert corral.rows["slow_reader_mb"].median < 5
    for name in ("messages", "ollama"):  # the bound is 20 us; a machine that is shared may take twice as long
        assert 0 < corral.rows[f"cpu_us_per_chunk_{name}"].median < 60
    assert "| CPU per request, us | - |" in (shell.home / "page.md").read_text()
    assert shell.processes() == []


def test_ctrl_c_leaves_nothing_running(shell: Shell) -> None:
    argv = shell.argv("bench", "gateway", "--only", "corral", "--seconds", "30")
    assert shell.interrupted(argv, once_runs="corral.bench.load") == 130
    assert shell.processes() == []


def test_even_a_killed_benchmark_leaves_nothing_running(shell: Shell) -> None:
    if sys.platform != "linux":
        pytest.skip("parent-death signals are Linux's")
    argv = shell.argv("bench", "gateway", "--only", "corral", "--seconds", "30")
    child = subprocess.Popen(argv, env=shell.env, cwd=shell.home, stderr=subprocess.DEVNULL)
    shell.until_runs("corral.bench.load", child)
    child.kill()
    child.wait()
    deadline = time.monotonic() + WAIT_S
    while shell.processes():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_swap_through_corral_is_measured(shell: Shell) -> None:
    place = peers.Place(str(shell.home), peers.free_port(), "")
    took = swap.through(place, Cores(-1, -1, -1), "corral")
    assert took is not None and 0 < took < 5000
    assert swap.through(place, Cores(-1, -1, -1), "nginx") is None


@pytest.mark.nginx
def test_a_peer_is_measured_too(shell: Shell) -> None:
    assert shutil.which("nginx")
    shell.env["PATH"] += ":/usr/sbin"
    ran = subprocess.run(
        shell.argv("bench", "gateway", "--only", "nginx", "--rounds", "1", "--seconds", "0.5", "--json"),
        capture_output=True, text=True, env=shell.env, cwd=shell.home, timeout=50, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    nginx = msgspec.convert(msgspec.json.decode(ran.stdout), report.Gateway).programs[1]
    assert nginx.failed == ""
    assert nginx.rows.keys() == ROWS.keys() - TRANSLATED_ROWS.keys() - {"swap_ms"}
