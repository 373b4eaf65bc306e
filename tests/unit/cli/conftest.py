"""The command line, run inside the test."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from corral.cli import main


@dataclass
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Ran]


@pytest.fixture
def corral(
    tmp_path: Path, short_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """`corral("config", "path")` in an empty home and an empty working directory."""
    for name in [*os.environ]:
        if name.startswith(("CORRAL_", "XDG_", "HF_", "HUGGINGFACE_", "LLAMA_", "OLLAMA_")):
            monkeypatch.delenv(name)
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(short_tmp))  # control sockets may lie there
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")

    def run(*arguments: str) -> Ran:
        capsys.readouterr()
        code = main.run(arguments)
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return run
