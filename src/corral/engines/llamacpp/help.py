"""What a llama-server knows, read from its own `--help`: flags, whether they take a value, and whether a list."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from corral.domain.names import near_names

_FLAG = re.compile(r"--?[A-Za-z][\w.-]*")
_HEADER = re.compile(r"^ {0,4}(?=--?[A-Za-z])")
_SEPARATOR: Final = re.compile(r",\s*(?=--?[A-Za-z])")
_REMOVED: Final = "argument has been removed"


@dataclass(frozen=True, slots=True)
class Flag:
    """One entry of the help: all its spellings, what follows it (`N`, `[on|off|auto]`, "" for nothing), its text."""

    names: tuple[str, ...]
    hint: str = ""
    text: str = ""

    @property
    def takes_value(self) -> bool:
        """False for a bare switch."""
        return bool(self.hint)

    @property
    def takes_list(self) -> bool:
        """True where several values are joined by commas; else the flag is repeated."""
        return "comma-separated" in self.text or bool(re.search(r",\.\.|,\w*1,|\w,\.\.\.", self.hint))

    @property
    def removed(self) -> str:
        """For a flag that only explains where it went: that explanation."""
        return self.text if _REMOVED in self.text else ""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The flags of one binary by every spelling; those that only say that they are gone are in `gone`."""

    flags: MappingProxyType[str, Flag] = field(default_factory=lambda: MappingProxyType({}))
    gone: MappingProxyType[str, str] = field(default_factory=lambda: MappingProxyType({}))
    text: str = field(default="", repr=False)

    def first(self, names: Iterable[str]) -> Flag | None:
        """The flag of the first spelling that is known."""
        name = self.spelling(names)
        return self.flags[name] if name else None

    def spelling(self, names: Iterable[str]) -> str:
        """The first of these spellings that is known, else ""."""
        return next((name for name in names if name in self.flags), "")

    def near(self, name: str) -> tuple[str, ...]:
        """Known flags that look like this one, nearest first."""
        return near_names(name, (flag for flag in self.flags if flag.startswith("--")))


def parse_help(text: str) -> Capabilities:
    """Read a `--help` text. An empty result means that it was none."""
    flags: dict[str, Flag] = {}
    gone: dict[str, str] = {}
    for entry in _entries(text):
        for name in entry.names:
            if entry.removed:
                gone[name] = entry.removed
            else:
                flags.setdefault(name, entry)
    return Capabilities(MappingProxyType(flags), MappingProxyType(gone), text)


def _entries(text: str) -> list[Flag]:
    found: list[Flag] = []
    names: tuple[str, ...] = ()
    hint = ""
    body: list[str] = []
    for line in text.splitlines():
        if _HEADER.match(line):
            if names:
                found.append(Flag(names, hint, " ".join(body)))
            names, hint, rest = _header(line.strip())
            body = [rest] if rest else []
        elif names and line.startswith(" "):
            body.append(line.strip())
    if names:
        found.append(Flag(names, hint, " ".join(body)))
    return found


def _header(line: str) -> tuple[tuple[str, ...], str, str]:
    """`-c,    --ctx-size N      size ...` -> (names, hint, text)."""
    names: list[str] = []
    hint = ""
    while match := _FLAG.match(line):
        names.append(match[0])
        line = line[match.end() :]
        separator = _SEPARATOR.match(line)
        if separator:
            line = line[separator.end() :]
            continue
        # One space and a word is what the flag takes; two spaces begin the text. Some builds write `-m FNAME, --model`.
        value = re.match(r" (?! )(.*?)(?=,\s+--?[A-Za-z]|\s{2,}|$)", line)
        if not value:
            break
        hint = value[1]
        line = line[value.end() :]
        again = _SEPARATOR.match(line)
        if not again:
            break
        line = line[again.end() :]
    return tuple(names), hint, line.strip()
