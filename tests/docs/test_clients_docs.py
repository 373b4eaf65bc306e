"""The snippets of docs/clients.md can be read by who gets them, and lead to Corral."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from corral.config.schema import Server

DOCS: Final = Path(__file__).parents[2] / "docs"
PAGE: Final = (DOCS / "clients.md").read_text()
SNIPPETS: Final = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
READ: Final[dict[str, Callable[[str], Any]]] = {
    "json": json.loads,
    "yaml": yaml.safe_load,
    "toml": tomllib.loads,
    "python": lambda code: compile(code, "clients.md", "exec"),
    "sh": lambda code: dict(re.findall(r"(\w+)=(\S+)", code)),
}
ADDRESS: Final = re.compile(r"http://(?:127\.0\.0\.1|host\.docker\.internal):(\d+)(/v1)?")


@pytest.mark.parametrize(("language", "code"), SNIPPETS)
def test_each_snippet_is_what_it_says_and_leads_to_corral(language: str, code: str) -> None:
    assert READ[language](code)
    assert {port for port, _ in ADDRESS.findall(code)} == {"11435"}


def test_the_port_is_the_default() -> None:
    assert Server().port == 11435


def test_links_lead_somewhere() -> None:
    for page in (DOCS / "clients.md", DOCS / "compatibility.md", *(DOCS / "api").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), (page.name, target)
