"""`corral bench`: one file under two engines side by side, a llama-server and the embedded one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import msgspec
import pytest
import yaml

from corral.bench import sweep
from tests.models import ENDLESS, model
from tests.paths.shell_kit import Shell, shell

__all__ = ["shell"]

BINARY = os.environ.get("CORRAL_TEST_LLAMA_SERVER", "")
pytestmark = pytest.mark.llama_server


def config(home: Path) -> None:
    shared = {"source": str(model(ENDLESS)), "options": {"ctx_size": 4096, "parallel": 2, "threads": 1}}
    models = {"built": {**shared, "binary": BINARY}, "wheel": {**shared, "binary": "embedded"}}
    (home / "corral.yaml").write_text(yaml.safe_dump({"models": models}))


def test_two_engines_of_one_file_stand_side_by_side(shell: Shell) -> None:
    config(shell.home)
    words = ("--concurrency", "1,2", "--prompt-tokens", "200", "--output-tokens", "30", "--json")
    ran = subprocess.run(
        shell.argv("bench", "built", "wheel", *words),
        capture_output=True, text=True, env=shell.env, cwd=shell.home, timeout=50, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    for report in msgspec.json.decode(ran.stdout, type=sweep.Sweep).models:
        assert report.load_s is not None and report.facts.slots == 2
        for level in report.levels:
            assert (level.errors, level.counted, level.output_tokens) == (0, "tokens", 30)
            assert (level.prefill_by, level.decode_by) == ("engine", "engine")
            assert level.prompt_tokens is not None and 180 <= level.prompt_tokens <= 220
    assert shell.processes() == []
