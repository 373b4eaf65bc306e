"""
A config file as plain data, with the place of every key.

YAML (`yaml_text`), TOML (`toml_text`) and folders of both (`files`) become the same Document, so that everything after
them, from templates to error messages, knows no file format.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from corral.config.problems import Keys

MAX_BYTES: Final = 16 * 1024**2  # of all files together
MAX_DEPTH: Final = 50
MAX_VALUES: Final = 500_000  # after aliases are expanded; ten thousand Models with twenty keys each need 200,000

_INT = re.compile(r"-?(?:0|[1-9][0-9]{0,30})\Z")
_FLOAT = re.compile(
    r"-?(?=[0-9]*[.eE])(?:(?:0|[1-9][0-9]{0,30})(?:\.[0-9]{1,30})?|\.[0-9]{1,30})(?:[eE][-+]?[0-9]{1,2})?\Z"
)
_WORDS: Final[dict[str, Any]] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True,
    "false": False, "False": False, "FALSE": False,
}  # fmt: skip


class EnvText(str):
    """Text from the environment: it takes the type that its place wants (`8080` becomes a number for a port)."""

    __slots__ = ()


class GivenText(EnvText):
    """The same for text that may be shown in messages: of the command line, and of variables that hold no secret."""

    __slots__ = ()


@dataclass(slots=True)
class Document:
    """
    `data` is the content, `lines` the line of every key, `literal` the keys that templates leave alone.

    `file` is what was named, a file or a folder, and `parts` the files that were read. `owners` says in which of
    several parts a key stands; with one part it is empty.
    """

    file: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[Keys, int] = field(default_factory=dict)
    literal: set[Keys] = field(default_factory=set)
    parts: tuple[str, ...] = ()
    owners: dict[Keys, str] = field(default_factory=dict)


def plain_value(text: str) -> Any:
    """What an unquoted scalar means."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.match(text):
        return int(text)
    if text[-1].isdigit() and _FLOAT.match(text):
        return float(text)
    return text
