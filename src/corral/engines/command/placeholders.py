"""
`{port}` and its like in commands and environments: what stands for what is only known when a place was found.

Only a name in braces is a placeholder; JSON and other braces pass as they are. `{{name}}` stands for the text `{name}`
(in a config mark the value with `!literal`, because `{{ }}` is a template there).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

LISTEN_WORDS: Final = frozenset({"port", "socket"})
KEY_WORDS: Final = frozenset({"key", "key_file"})
WORDS: Final = LISTEN_WORDS | {"model", "source", "scratch", "key_file"}
STOP_WORDS: Final = WORDS | {"pid"}
ENV_WORDS: Final = WORDS | {"key"}

_PART = re.compile(r"\{\{(?P<text>[A-Za-z_][A-Za-z0-9_]*)\}\}|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)\}")


def named(texts: Iterable[str]) -> frozenset[str]:
    """The names of all placeholders."""
    return frozenset(match["name"] for text in texts for match in _PART.finditer(text) if match["name"])


def fill(text: str, values: Mapping[str, str]) -> str:
    """The text with its placeholders filled in; names without a value stay as they are."""

    def part(match: re.Match[str]) -> str:
        return f"{{{match['text']}}}" if match["text"] else values.get(match["name"], match[0])

    return _PART.sub(part, text)
