"""
docs/models.md and docs/models/: commands that there are, answers as they are given, lines as they are written.

CORRAL_UPDATE_DOCS=1 writes the answers.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import typer

from corral.cli.commands import build
from corral.cli.models import progress
from corral.cli.models.fitted import HEAD
from corral.cli.models.progress import line, megabytes
from corral.contracts.fetching import Progress
from corral.domain.references import parse, suggested_name
from corral.scheduler import fetching
from tests.architectures import architecture
from tests.unit.cli.conftest import Command
from tests.unit.cli.conftest import corral as corral
from tests.unit.cli.test_reference import UPDATE, below, put_in

DOCS: Final = Path(__file__).parents[2] / "docs"
INDEX: Final = DOCS / "models.md"
PAGES: Final = [INDEX, *sorted((DOCS / "models").glob("*.md"))]
COMMANDS: Final = [
    (page.name, words)
    for page in PAGES
    for words in re.findall(r"^\$ corral (.+?)(?:\s+#.*)?$", page.read_text("utf-8"), re.MULTILINE)
]
ANSWERS: Final = {
    "fit": ("models", "fit", "tiny.gguf", "--memory", "ram=64GiB,24GiB,8GiB"),
    "inspect": ("models", "inspect", "tiny.gguf"),
}


@pytest.mark.parametrize(("page", "words"), COMMANDS)
def test_the_command_line_takes_every_command_of_the_pages(page: str, words: str) -> None:
    command: Any = typer.main.get_command(build(words.split()))
    rest = words.split()
    with command.context_class(command) as context:
        while hasattr(command, "resolve_command"):
            _, command, rest = command.resolve_command(context, rest)
        command.make_context("corral", rest).close()


def test_the_index_has_every_command_and_every_page(corral: Command) -> None:
    text = INDEX.read_text("utf-8").partition("## The commands")[2]
    rows = [cell for row in re.findall(r"^\| (`.+?) \|", text, re.MULTILINE) for cell in re.findall(r"`([^`]+)`", row)]
    named = [cell.removeprefix("corral models ").split()[0] for cell in rows]
    assert sorted(named) == sorted(below(corral, "models"))
    assert {f"models/{page.name}" for page in PAGES[1:]} <= set(re.findall(r"\]\(([^)#]+)\)", INDEX.read_text("utf-8")))


@pytest.mark.parametrize("name", ANSWERS)
def test_the_answer_on_the_page_is_that_of_the_command(
    name: str, corral: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", os.defpath)  # no llama-server of this machine: the embedded engine
    shutil.copy(architecture("qwen3moe"), "tiny.gguf")
    ran = corral(*ANSWERS[name])
    assert (ran.code, ran.err) == (0, "")
    page = DOCS / "models" / f"{name}.md"
    shown = f"```console\n$ corral {' '.join(ANSWERS[name])}\n{ran.out.strip()}\n```"
    wanted = put_in(page.read_text("utf-8"), {name: shown})
    assert shown in wanted
    if UPDATE:
        page.write_text(wanted, "utf-8")
    assert page.read_text("utf-8") == wanted, "run the test with CORRAL_UPDATE_DOCS=1"


def test_every_column_of_fit_is_explained() -> None:
    text = (DOCS / "models" / "fit.md").read_text("utf-8")
    assert re.findall(r"^\| ([a-z ]+) \|", text.partition("| column |")[2].partition("\n\n")[0], re.MULTILINE) == [
        *HEAD[1:]
    ]


@pytest.mark.parametrize(
    ("name", "said", "size"),
    [("pull.md", line, megabytes), ("on-demand.md", fetching.line, fetching.megabytes)],
    ids=["pull", "on demand"],
)
def test_lines_of_a_download_are_those_of_the_program(
    name: str, said: Callable[[Progress], str], size: Callable[[int], str]
) -> None:
    text = (DOCS / "models" / name).read_text("utf-8")
    lines = re.findall(r"^\[([\w.-]+)\] (.+)$", text, re.MULTILINE)
    assert len({label for label, _ in lines}) == 1
    come = Progress(518_144_000, 2_048_000_000, per_s=61_200_000)
    shown = [words for _, words in lines]
    assert said(come) in shown
    assert any(words.startswith("Model downloaded ") and words.endswith(f"({size(2_048_000_000)})") for words in shown)


def test_a_pull_is_labelled_with_the_name_that_its_model_would_have() -> None:
    text = (DOCS / "models" / "pull.md").read_text("utf-8")
    label, reference = re.findall(r"^\[(\S+)\] Downloading model from (\S+) to ", text, re.MULTILINE)[0]
    assert label == suggested_name(parse(reference))
    assert progress.EVERY_S == 5 and "every five seconds" in text
