"""docs/configuration.md: the examples are configs, the keys those of the schema (CORRAL_UPDATE_DOCS=1 writes them)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from corral.config.explain import shown_config
from corral.config.schema import Config, Group, Key, Model
from corral.config.sentences import field_help, section_at
from tests.unit.config.conftest import Loader

PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"
DEFAULTS = shown_config(Config())


def rows(keys: tuple[str | int, ...] = ()) -> Iterator[tuple[str, str, str]]:
    """Key, default and text of everything below, in the order of the schema."""
    section = section_at(keys)
    assert section is not None
    for name, field in section.model_fields.items():
        here = (*keys, name)
        below = {"models": "NAME", "groups": "NAME"}.get(name) if not keys else None
        if below:
            yield from rows((*here, below))
        elif here == ("server", "keys"):
            yield from rows((*here, 0))
        elif section_at(here) is not None:
            yield from rows(here)
        else:
            yield dotted(here), default_of(here, field), (field_help(here) or "").replace("|", "\\|")


def dotted(keys: tuple[str | int, ...]) -> str:
    return re.sub(r"\.0\.", "[].", ".".join(str(key) for key in keys))


def default_of(keys: tuple[str | int, ...], field: Any) -> str:
    if field.is_required():
        return "required"
    if keys[0] in ("models", "groups") and len(keys) > 3:
        return ""  # a Model's timeouts: those of `defaults.timeouts`
    value: Any = DEFAULTS
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    if keys[0] in ("models", "groups") or 0 in keys:
        value = field.get_default(call_default_factory=True)
    if value in (None, "", (), {}, []):
        return ""
    if isinstance(value, tuple | list):
        return f"`[{', '.join(value)}]`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def generated() -> str:
    lines = ["| key | default | |", "|---|---|---|"]
    lines += [f"| `{key}` | {default} | {text} |" for key, default, text in rows()]
    return "\n".join(lines)


def test_every_key_stands_on_the_page() -> None:
    page = PAGE.read_text()
    block = re.compile(r"(<!-- generated: keys -->\n).*?(\n?<!-- end -->)", re.DOTALL)
    wanted = block.sub(lambda found: f"{found[1]}{generated()}\n<!-- end -->", page)
    if os.environ.get("CORRAL_UPDATE_DOCS"):
        PAGE.write_text(wanted)
    assert PAGE.read_text() == wanted, "run the test with CORRAL_UPDATE_DOCS=1"


def test_every_key_has_a_text() -> None:
    assert [key for key, _, text in rows() if not text] == []
    for section in (Key, Model, Group):
        assert section.__doc__


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL))
def test_the_examples_are_configs(config: Loader, text: str) -> None:
    assert config(text, {"TEAM_KEY": "0123456789abcdef"}).settings.fleet.models
