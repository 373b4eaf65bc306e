"""
The pages of the engines hold every option as its table declares it.

    CORRAL_UPDATE_DOCS=1 pytest tests/unit/engines/test_engine_docs.py      # writes what is generated
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from corral.contracts.options import OptionKind, OptionSpec, OptionTable
from corral.engines.command.options import OPTIONS as COMMAND
from corral.engines.llamacpp.embedded.table import REFUSED
from corral.engines.llamacpp.options import SECTIONS
from corral.engines.llamacpp.owned import LEFT_TO_ARGS, OWNED
from corral.engines.remote.options import OPTIONS as REMOTE

DOCS = Path(__file__).parents[3] / "docs" / "engines"
TABLES: dict[str, Mapping[str, OptionTable]] = {
    "llamacpp.md": SECTIONS,
    "command.md": {"": COMMAND},
    "remote.md": {"": REMOTE},
}


def row(option: OptionSpec) -> str:
    """One line of the table of options."""
    default = "" if option.default is None else f"`{str(option.default).lower()}`"
    if option.default is not None and option.kind is OptionKind.SIZE:
        default = f"`{option.default}{option.unit}`"
    return f"| `{option.name}` | {option.allowed()} | {default} | {option.help} |"


def options_text(sections: Mapping[str, OptionTable]) -> str:
    """All tables, each under its heading."""
    parts = []
    for title, table in sections.items():
        head = [f"### {title}", ""] if title else []
        rows = ["| option | value | default | meaning |", "|---|---|---|---|", *map(row, table)]
        parts.append("\n".join([*head, *rows]))
    return "\n\n".join(parts)


def reasons_text(flags: Mapping[str, str]) -> str:
    """Flags by the sentence that they share, in the order of the table."""
    by_reason: dict[str, list[str]] = {}
    for flag, reason in flags.items():
        by_reason.setdefault(reason, []).append(f"`{flag}`")
    return "\n".join(f"- {', '.join(names)}: {reason}" for reason, names in by_reason.items())


def generated(page: str) -> dict[str, str]:
    """What stands between `<!-- NAME -->` and `<!-- end -->` on this page."""
    parts = {"options": options_text(TABLES[page])}
    if page == "llamacpp.md":
        parts["owned"] = reasons_text(OWNED)
        parts["left"] = reasons_text(LEFT_TO_ARGS)
        parts["refused"] = reasons_text(REFUSED)
    return parts


@pytest.mark.parametrize("page", TABLES)
def test_what_is_generated_is_up_to_date(page: str) -> None:
    text = (DOCS / page).read_text("utf-8")
    wanted = text
    for name, part in generated(page).items():
        wanted, count = re.subn(
            rf"(<!-- {name} -->\n).*?(<!-- end -->)",
            lambda found, part=part: f"{found[1]}{part}\n{found[2]}",  # type: ignore[misc]
            wanted,
            flags=re.DOTALL,
        )
        assert count == 1, f"{page} needs <!-- {name} --> and <!-- end --> once"
    if os.environ.get("CORRAL_UPDATE_DOCS"):
        (DOCS / page).write_text(wanted, "utf-8")
    else:
        assert text == wanted, "run: CORRAL_UPDATE_DOCS=1 pytest tests/unit/engines/test_engine_docs.py"
