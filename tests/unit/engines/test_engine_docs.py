"""The pages of the engines hold every option as its table declares it; run this file as a script to print the rows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from corral.contracts.options import OptionSpec, OptionTable
from corral.engines.command.options import OPTIONS as COMMAND
from corral.engines.llamacpp.options import OPTIONS as LLAMACPP
from corral.engines.llamacpp.spellings import OWNED
from corral.engines.remote.options import OPTIONS as REMOTE

DOCS = Path(__file__).parents[3] / "docs" / "engines"


def row(option: OptionSpec) -> str:
    """One line of the table of options."""
    default = "" if option.default is None else f"`{str(option.default).lower()}`"
    return f"| `{option.name}` | {option.allowed()} | {default} | {option.help} |"


@pytest.mark.parametrize(("page", "table"), [("llamacpp.md", LLAMACPP), ("command.md", COMMAND), ("remote.md", REMOTE)])
def test_every_option_is_on_its_page(page: str, table: OptionTable) -> None:
    lines = (DOCS / page).read_text("utf-8").splitlines()
    assert [option.name for option in table if row(option) not in lines] == []
    named = {match[1] for line in lines if (match := re.match(r"\| `(\w+)` \| .* \| .* \|", line))}
    assert named == {option.name for option in table}  # and none that is gone


def test_the_page_names_the_flags_that_corral_owns() -> None:
    text = (DOCS / "llamacpp.md").read_text("utf-8")
    spelled_out = {flag for flag in OWNED if len(flag) > 4 and not flag.startswith(("no-", "fim-", "hf", "webui"))}
    assert {flag for flag in spelled_out if f"`{flag}`" not in text} == set()


if __name__ == "__main__":
    for table in (LLAMACPP, COMMAND, REMOTE):
        print(*map(row, table), sep="\n", end="\n\n")
