"""The page's list of what is checked together: every rule of the code stands in it."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from types import ModuleType

import pytest

from corral.engines.llamacpp import caches, checks, drafting, failures, fits, settings
from corral.engines.llamacpp.options import OPTIONS

PAGE = Path(__file__).parents[4] / "docs" / "engines" / "llamacpp.md"
NAMES = {spec.name for spec in OPTIONS}
WORD = re.compile(r"[a-z][a-z0-9_]+")
PLAIN = frozenset({"keep", "device"})
"""Options that are words of sentences too."""


def section() -> str:
    """The part of the page."""
    text = PAGE.read_text("utf-8")
    return text.split("### Checked against each other\n", 1)[1].split("\n## ", 1)[0]


def rules_of_page() -> list[set[str]]:
    """The words of each item and of each paragraph."""
    parts = re.split(r"\n(?=- )|\n\n", section())
    return [{*WORD.findall(part)} for part in parts]


def sentences(module: ModuleType) -> list[str]:
    """Every text of the code that begins with an option's name; `{}` where something is filled in."""
    tree = ast.parse(Path(str(module.__file__)).read_text("utf-8"))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
            found.append("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return [text for text in found if text.startswith("options.")]


def rules() -> list[tuple[str, frozenset[str]]]:
    """(sentence, the options that it names) of each that is about two or more."""
    found = {}
    for module in (caches, checks, drafting, fits, settings):
        for text in sentences(module):
            named = {word for word in WORD.findall(text) if word in NAMES} - PLAIN
            if len(named) > 1:
                found[text] = frozenset(named)
    return sorted(found.items())


RULES = rules()


@pytest.mark.parametrize(("sentence", "names"), RULES, ids=[text[:60] for text, _ in RULES])
def test_every_rule_about_several_options_stands_in_the_list(sentence: str, names: frozenset[str]) -> None:
    assert any(names <= words for words in rules_of_page()), f"no item of the list has all of {sorted(names)}"


def test_all_rules_were_found() -> None:
    assert len(RULES) > 30


def test_what_only_the_engine_finds_stands_below_it() -> None:
    (rule,) = [rule for rule in failures.RULES if rule.pattern.search("GGML_ASSERT(ggml_can_mul_mat(a, b)) failed")]
    names = {"pooling", "ubatch_size", "parallel"}
    assert names <= {*WORD.findall(rule.fix)}
    assert any(names <= words for words in rules_of_page())


def test_every_option_in_the_list_is_one() -> None:
    for word in re.findall(r"`([a-z][a-z0-9_]+)(?:: \w+)?`", section()):
        assert word in NAMES | {"ttl", "args", "options", "rank"}, word
