"""
OptionSpec: the one declaration of an engine option, from which schema, validation, argv, help and docs grow.

A table is a tuple of OptionSpec. Values are plain: int (a size counts in its unit), float, bool, str, or a tuple of
str.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from corral.domain.devices import RAM
from corral.domain.fleet import OptionValue
from corral.domain.units import parse_bytes
from corral.kit.words import split_words


class OptionKind(StrEnum):
    """What a value looks like in YAML."""

    INT = "int"
    FLOAT = "float"
    BOOL = "bool"
    STR = "str"
    ENUM = "enum"  # one of `words`
    PATH = "path"  # a file; ~ and relative paths are resolved against the config file's folder
    LIST = "list"  # list of strings
    COMMAND = "command"  # a program and its arguments: list of strings, or one text that is split into them
    SIZES = "sizes"  # bytes: of RAM, or of memories by name; becomes ("ram=4096", "CUDA0=1024")
    PATHS = "paths"  # list of files, each as PATH
    SIZE = "size"  # memory: `512MiB`, or a whole number of the option's unit


PATH_KINDS: Final = frozenset({OptionKind.PATH, OptionKind.PATHS})
TEXT_KINDS: Final = PATH_KINDS | {OptionKind.STR, OptionKind.LIST, OptionKind.COMMAND, OptionKind.SIZES}
"""Kinds whose values are texts as they stand: `${env.X}` among them is never read as a number."""
_LONGEST_SHOWN: Final = 60
_UNITS: Final = {"bytes": 1, "MiB": 1024**2}


@dataclass(frozen=True, slots=True)
class OptionSpec:
    """
    One option. `words` are accepted beside the kind's own values (`auto`, `all` for an int) and are all of an ENUM.

    `default` None means: not sent to the engine unless set. `unit` names what a number counts (tokens, threads, ...).
    """

    name: str
    kind: OptionKind
    help: str
    default: OptionValue | None = None
    words: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    unit: str = ""

    def check(self, value: object) -> OptionValue:
        """The value in its plain form. Raises ValueError with a sentence that says what is allowed."""
        try:
            ok = self._plain(value)
        except OverflowError:  # of a number with hundreds of digits
            ok = None
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from None
        if ok is None:
            raise ValueError(f"{self.name} must be {self.allowed()}, not {_shown(value)}")
        if isinstance(ok, int | float) and not isinstance(ok, bool):
            low, high = self.minimum, self.maximum
            if (low is not None and ok < low) or (high is not None and ok > high):
                raise ValueError(f"{self.name} must be {self.allowed()}, not {_shown(value)}")
        return ok

    def _plain(self, value: object) -> OptionValue | None:
        if isinstance(value, str) and value in self.words:
            return value
        # YAML reads a bare on/off as a boolean: where those words are meant, take it as the word.
        if isinstance(value, bool) and {"on", "off"} <= set(self.words):
            return "on" if value else "off"
        match self.kind:
            case OptionKind.BOOL:
                return value if isinstance(value, bool) else None
            case OptionKind.INT:
                return value if isinstance(value, int) and not isinstance(value, bool) else None
            case OptionKind.FLOAT:
                if isinstance(value, int | float) and not isinstance(value, bool) and value == value:
                    return float(value)
                return None
            case OptionKind.STR | OptionKind.PATH:
                return value if isinstance(value, str) and "\0" not in value else None
            case OptionKind.COMMAND:
                return _command(value)
            case OptionKind.SIZES:
                return _sizes(value)
            case OptionKind.SIZE:
                return self._size(value)
            case OptionKind.LIST | OptionKind.PATHS:
                items = value if isinstance(value, list | tuple) else (value,)
                return tuple(str(item) for item in items) if all(self._item(item) for item in items) else None
            case OptionKind.ENUM:
                return None

    def _item(self, value: object) -> bool:
        """Numbers in a list are texts for the engine: `tensor_split: [3, 1]`."""
        if isinstance(value, str):
            return "\0" not in value
        return self.kind is OptionKind.LIST and isinstance(value, int | float) and not isinstance(value, bool)

    def _size(self, value: object) -> int | None:
        if isinstance(value, bool) or not isinstance(value, int | str):
            return None
        if isinstance(value, int) or value.strip().lstrip("-").isdecimal():
            return int(value)
        try:
            return -(-parse_bytes(value) // _UNITS[self.unit])
        except ValueError:
            return None

    def allowed(self) -> str:
        """`a whole number of tokens, 0 or more, or auto`, for messages and docs."""
        words = " or ".join(self.words)
        if self.kind is OptionKind.ENUM:
            return f"one of {', '.join(self.words)}"
        text = {
            OptionKind.INT: "a whole number",
            OptionKind.FLOAT: "a number",
            OptionKind.BOOL: "true or false",
            OptionKind.STR: "a text",
            OptionKind.PATH: "a file path",
            OptionKind.LIST: "a list of texts",
            OptionKind.COMMAND: "a command: a list of texts, or one text",
            OptionKind.SIZES: "a size, or sizes by device",
            OptionKind.PATHS: "a list of file paths",
            OptionKind.SIZE: f"a size such as 512MiB, or a whole number of {self.unit}",
        }[self.kind]
        if self.unit and self.kind is not OptionKind.SIZE:
            text += f" of {self.unit}"
        if self.minimum is not None and self.maximum is not None:
            text += f" from {_number(self.minimum)} to {_number(self.maximum)}"
        elif self.minimum is not None:
            text += f", {_number(self.minimum)} or more"
        return f"{text}, or {words}" if words else text


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."


def _command(value: object) -> OptionValue | None:
    if isinstance(value, str):
        return split_words(value)
    if not isinstance(value, list | tuple) or not value:
        return None
    if not all(isinstance(item, str | int | float) and not isinstance(item, bool) for item in value):
        return None
    words = tuple(str(item) for item in value)
    return None if any("\0" in word for word in words) else words


def _sizes(value: object) -> OptionValue | None:
    if isinstance(value, str | int) and not isinstance(value, bool):
        value = {RAM: value}
    if isinstance(value, tuple):  # its plain form
        value = dict(str(item).split("=", 1) for item in value)
    if not isinstance(value, Mapping) or not all(
        isinstance(name, str) and name and "=" not in name and isinstance(size, str | int)
        for name, size in value.items()
    ):
        return None
    return tuple(f"{name}={parse_bytes(size)}" for name, size in value.items())


def _number(value: float) -> str:
    """Every digit of a whole number: 4294967295 is not about 4.29e+09."""
    return str(int(value)) if value == int(value) else f"{value:g}"


OptionTable = tuple[OptionSpec, ...]


def with_defaults(table: OptionTable, options: Mapping[str, OptionValue]) -> dict[str, OptionValue]:
    """The options with the table's defaults filled in, in the table's order. Zero and False are values."""
    return {spec.name: value for spec in table if (value := options.get(spec.name, spec.default)) is not None}
