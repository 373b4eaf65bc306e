"""`corral bench MODEL...` against engines whose behaviour is known, and against llama.cpp."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import yaml

from corral.bench import sweep
from tests.models import ENDLESS, model
from tests.paths.shell_kit import Shell, shell

__all__ = ["shell"]

SMALL = ("--prompt-tokens", "20", "--output-tokens", "10")


def config(home: Path, **models: dict[str, Any]) -> None:
    """Fake engines as command Models of one swap group: `slots`, and the program's other words."""
    fakes = {}
    for name, wanted in models.items():
        slots = wanted.pop("slots", 2)
        words = [word for key, value in wanted.items() for word in (f"--{key.replace('_', '-')}", str(value))]
        command = [
            sys.executable,
            "-m",
            "corral.fakes.engine_program",
            "--port",
            "{port}",
            "--slots",
            str(slots),
            *words,
        ]
        env = {"PYTHONPATH": os.pathsep.join(sys.path)}
        fakes[name] = {"engine": "command", "options": {"command": command, "parallel": slots}, "env": env}
    text = {"models": fakes, "groups": {"g": {"members": [*models], "swap": True}}}
    (home / "corral.yaml").write_text(yaml.safe_dump(text))


def report(ran: subprocess.CompletedProcess[str]) -> sweep.Sweep:
    """The report, which has nothing that its shape does not have."""
    assert ran.returncode == 0, ran.stderr
    found = msgspec.json.decode(ran.stdout, type=sweep.Sweep)
    assert msgspec.to_builtins(found) == json.loads(ran.stdout)
    return found


def test_what_the_engines_do_is_what_is_measured(shell: Shell) -> None:
    """One token each 10 ms after 100 ms, by two slots; and the same at half the speed."""
    config(
        shell.home,
        fast={"delay_s": 0.01, "prefill_s": 0.1, "chunks": 10, "load_s": 0.3},
        slow={"delay_s": 0.03, "prefill_s": 0.1, "chunks": 10},
    )
    found = report(shell.run("bench", "fast", "slow", "--concurrency", "4,1,2", *SMALL, "--json"))
    fast, slow = found.models
    assert [each.concurrency for each in fast.levels] == [1, 2, 4]
    assert fast.load_s is not None and 0.3 <= fast.load_s < 5
    one, two, four = fast.levels
    assert (one.counted, one.errors, one.output_tokens) == ("tokens", 0, 10)
    assert one.ttft_p50_s is not None and 0.1 <= one.ttft_p50_s < 0.5
    assert one.total_tokens_per_s and two.total_tokens_per_s and four.total_tokens_per_s
    assert one.total_tokens_per_s < 50  # ten tokens in 200 ms or more
    assert two.total_tokens_per_s > 1.3 * one.total_tokens_per_s
    assert four.total_tokens_per_s < 1.5 * two.total_tokens_per_s
    assert slow.levels[0].total_tokens_per_s and slow.levels[0].total_tokens_per_s < one.total_tokens_per_s
    assert fast.facts.slots == 2
    assert any("At concurrency 1 fast gives" in each for each in found.advice)
    assert shell.processes() == []


def test_a_running_corral_is_measured_and_compared_with_before(shell: Shell) -> None:
    config(shell.home, a={"chunks": 5})
    with shell.serving():
        words = ("bench", "--concurrency", "1", "--requests", "4", *SMALL)  # options before the Model
        (shell.home / "before.json").write_text(shell.run(*words, "a", "--json").stdout)
        ran = shell.run(*words, "a", "--compare", "before.json")
        assert ran.returncode == 0, ran.stderr
        assert "TO BEFORE" in ran.stdout and "cold load" in ran.stdout
        kept = report(shell.run(*words, "a", "--keep-loaded", "--json")).models[0]
        assert (kept.load_s, kept.load_note, kept.levels[0].requests) == (None, "it was loaded already", 4)
        unknown = shell.run("bench", "nobody")
        assert unknown.returncode == 1 and "nobody" in unknown.stderr


def test_wrong_words_are_refused(shell: Shell) -> None:
    (shell.home / "b.json").write_text("{}")
    for words, said in (
        (("--concurrency", "0"), "must be numbers from 1"),
        (("--compare", "b.json"), "is not a report"),
        (("--compare", "none.json"), "cannot be read"),
    ):
        ran = shell.run("bench", "a", *words)
        assert ran.returncode == 2 and said in ran.stderr, ran


def test_failed_requests_are_told(shell: Shell) -> None:
    config(shell.home, a={"chunks": 5, "error_after_tokens": 2})
    ran = shell.run("bench", "a", "--concurrency", "1", *SMALL)
    assert ran.returncode == 1 and "does not answer a prompt" in ran.stderr


def test_a_model_file_is_measured_by_a_corral_of_its_own(shell: Shell) -> None:
    file = model(ENDLESS)
    words = ("--concurrency", "1,2", *SMALL, "-o", "ctx_size=2048", "-o", "parallel=2", "--json")
    found = report(shell.run("bench", str(file), *words)).models[0]
    assert found.facts.engine == "llamacpp" and found.facts.slots == 2
    assert found.facts.options is not None and found.facts.options["ctx_size"] == 2048
    for each in found.levels:
        assert (each.counted, each.prefill_by, each.errors, each.output_tokens) == ("tokens", "engine", 0, 10)
        assert each.prompt_tokens is not None and each.prompt_tokens >= 20
    assert found.load_s is not None
    assert shell.processes() == []


def test_ctrl_c_leaves_no_model_of_a_file_behind(shell: Shell) -> None:
    config(shell.home, a={"chunks": 1000, "delay_s": 0.1})
    argv = shell.argv("bench", "a", "--output-tokens", "1000", "--prompt-tokens", "5")
    assert shell.interrupted(argv, once_runs="corral.fakes.engine_program") == 130
    assert shell.processes() == []
