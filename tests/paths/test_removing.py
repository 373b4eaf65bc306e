"""`corral models remove` on a terminal: what is asked, and how one gets out of it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.models import ADA, model
from tests.paths.shell_kit import Shell, shell
from tests.paths.terminal import CTRL_C, CTRL_D, Terminal

__all__ = ["shell"]  # a fixture


@pytest.fixture
def file(shell: Shell) -> Path:
    """A model in the store."""
    path = shell.home / ".local/share/corral/models/import/ada.gguf"
    path.parent.mkdir(parents=True)
    path.write_bytes(model(ADA).read_bytes())
    return path


@pytest.mark.parametrize(("key", "code"), [(CTRL_C, 130), (CTRL_D, 1), ("n\n", 1), ("\n", 1), ("y\n", 0)])
def test_who_is_asked_may_say_no_in_any_way(shell: Shell, file: Path, key: str, code: int) -> None:
    with Terminal(shell, "models", "remove", "ada") as terminal:
        terminal.until("Remove ada (")
        terminal.until("[y/N]: ")
        time.sleep(0.2)  # a signal that comes between the question and the wait for the answer is seen after it
        terminal.types(key)
        assert terminal.ends() == code, terminal.seen
    assert file.exists() == (code != 0)
    assert "Aborted" not in terminal.seen and "Traceback" not in terminal.seen
    assert ("Nothing was removed." in terminal.seen) == (code == 1)
