"""docs/cli.md shows the help of every command as it is (written by CORRAL_UPDATE_DOCS=1)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from corral.cli import chat
from corral.cli.commands import COMMANDS
from tests.unit.cli.conftest import Command

PAGE = Path(__file__).parents[3] / "docs" / "cli.md"
UPDATE = bool(os.environ.get("CORRAL_UPDATE_DOCS"))
COMMAND = re.compile(r"^  ([a-z][a-z-]*)  ", re.MULTILINE)


def below(corral: Command, name: str) -> list[str]:
    """What its own help lists, if it is a group."""
    listed = corral(name, "--help").out.partition("\nCommands:\n")[2]
    return COMMAND.findall(listed)


def helps(corral: Command) -> str:
    commands = [words for name in COMMANDS for words in ((name,), *((name, each) for each in below(corral, name)))]
    parts = []
    for command in commands:
        text = corral(*command, "--help").out.strip()
        assert text, command
        parts.append(f"### corral {' '.join(command)}\n\n```text\n{text}\n```")
    return "\n\n".join(parts)


def put_in(page: str, blocks: Mapping[str, str]) -> str:
    for name, text in blocks.items():
        block = re.compile(rf"(<!-- generated: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        page = block.sub(lambda found, text=text: f"{found[1]}{text}\n{found[2]}", page)  # type: ignore[misc]
    return page


def test_the_help_on_the_page_is_the_help_of_the_commands(corral: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    wanted = put_in(PAGE.read_text(), {"chat": f"```text\n{chat.HELP}\n```", "help": helps(corral)})
    if UPDATE:
        PAGE.write_text(wanted)
    assert PAGE.read_text() == wanted, "run the test with CORRAL_UPDATE_DOCS=1"
