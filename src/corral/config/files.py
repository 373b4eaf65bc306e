"""
From a path to a Document: one file of YAML or TOML, or a folder with several of them, merged.

A folder is for configs that several hands or programs write. Its files are read by name; no value may be written twice
with two meanings, so their order decides nothing but the order of what they list:

- mappings are merged; a Model, group or macro that two files describe is an error
- lists under `server` (keys, host names, origins) are joined; any other list is one value
- a value that two files give differently is an error; null yields to the other
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import Any, Final

from corral.config import document as documents
from corral.config import toml_text, yaml_text
from corral.config.document import Document
from corral.config.problems import ConfigErrors, Keys, Problems, dotted
from corral.domain.errors import ConfigError

SUFFIXES: Final = (".yaml", ".yml", ".toml")
_IDENTITIES: Final = frozenset({("models",), ("groups",), ("macros",)})
"""Mappings whose entries are things with a name: half of one in each file is more likely a mistake than a wish."""


def read_file(path: str) -> Document:
    """The document in a file or a folder. Raises ConfigErrors for everything that can be wrong with it."""
    if not _is_folder(path):
        return parse(text_of(path), file=path)
    parts: list[Document] = []
    errors: list[ConfigError] = []
    left = documents.MAX_BYTES
    for part in parts_of(path):
        try:
            text = text_of(part, limit=left)
            left -= len(text.encode())
            parts.append(parse(text, file=part))
        except ConfigErrors as error:
            errors += error.problems
    if errors:
        raise ConfigErrors(errors)
    return merge(path, parts)


def parse(text: str, *, file: str = "") -> Document:
    """The document in a text; its format is that of the file's name. Raises ConfigErrors."""
    return toml_text.parse(text, file=file) if file.lower().endswith(".toml") else yaml_text.parse(text, file=file)


def folder_of(path: str) -> str:
    """Where relative paths of this config count from: the folder of the file, or the folder that is the config."""
    return path if _is_folder(path) else os.path.dirname(path)


def _is_folder(path: str) -> bool:
    try:
        return os.path.isdir(path)
    except ValueError:  # a NUL in the path
        return False


def parts_of(folder: str) -> list[str]:
    """The config files of a folder, by name; hidden ones and folders in it are none. Raises ConfigErrors."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise ConfigErrors([ConfigError(f"the folder cannot be read: {error.strerror}", file=folder)]) from None
    found = [
        os.path.join(folder, name) for name in names if name.lower().endswith(SUFFIXES) and not name.startswith(".")
    ]
    found = [path for path in found if not os.path.isdir(path)]
    if not found:
        problem = ConfigError(
            "this is a folder without a config file.", file=folder, hint=f"Its files must end in {', '.join(SUFFIXES)}."
        )
        raise ConfigErrors([problem])
    return found


def text_of(path: str, *, limit: int | None = None) -> str:
    """What is in the file. Raises ConfigErrors."""
    limit = documents.MAX_BYTES if limit is None else limit
    try:
        if stat.S_ISFIFO(os.stat(path).st_mode) and path not in ("/dev/stdin", "/dev/fd/0"):  # it could wait for ever
            raise ConfigErrors([ConfigError("this is a pipe, not a config file", file=path)])
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        raise ConfigErrors(
            [ConfigError("there is no such file.", file=path, hint="`corral config init` writes a starter file.")]
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigErrors([ConfigError(f"the file cannot be read: {reason}", file=path)]) from None
    if len(data) > limit:
        most = documents.MAX_BYTES // 1024**2
        what = "the file is" if limit == documents.MAX_BYTES else "the files of this folder are together"
        raise ConfigErrors([ConfigError(f"{what} larger than {most} MiB", file=path)])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problem = ConfigError("the file is not UTF-8 text.", file=path, line=line, hint="Save it as UTF-8.")
        raise ConfigErrors([problem]) from None


def merge(folder: str, parts: list[Document]) -> Document:
    """One document of several. Raises ConfigErrors with every conflict, both places named."""
    whole = Document(file=folder, parts=tuple(part.file for part in parts))
    conflicts = Problems()
    for part in parts:
        _Merger(whole, part, conflicts).run()
    conflicts.raise_any()
    return whole


class _Merger:
    """Lays one part into the whole."""

    def __init__(self, whole: Document, part: Document, conflicts: Problems) -> None:
        self._whole, self._part = whole, part
        self._conflicts = conflicts
        self._offsets: dict[Keys, int] = {}  # joined list -> how many items stood before those of this part

    def run(self) -> None:
        self._mapping(self._whole.data, self._part.data, ())
        for keys, line in self._part.lines.items():
            moved = self._moved(keys)
            if moved not in self._whole.lines:
                self._whole.lines[moved] = line
                self._whole.owners[moved] = self._part.file
        self._whole.literal |= {self._moved(keys) for keys in self._part.literal}

    def _moved(self, keys: Keys) -> Keys:
        for place, offset in self._offsets.items():
            if keys[: len(place)] == place and len(keys) > len(place):
                index = keys[len(place)]
                assert isinstance(index, int)
                return (*place, index + offset, *keys[len(place) + 1 :])
        return keys

    def _mapping(self, into: dict[str, Any], other: Mapping[str, Any], keys: Keys) -> None:
        for name, value in other.items():
            here = (*keys, name)
            if name not in into or into[name] is None:
                if name in into:  # a null yields, and so does its line
                    self._whole.lines.pop(here, None)
                into[name] = _own(value)
            elif value is None:
                continue
            elif keys in _IDENTITIES:
                self._conflict(here, f"{dotted(here)} is described here and in", "Write it in one file.")
            else:
                self._value(into, name, value, here)

    def _value(self, into: dict[str, Any], name: str, value: Any, keys: Keys) -> None:
        old = into[name]
        if isinstance(old, dict) and isinstance(value, dict):
            self._mapping(old, value, keys)
        elif isinstance(old, list) and isinstance(value, list) and keys[0] == "server":
            self._offsets[keys] = len(old)
            old.extend(value)
        elif type(old) is not type(value) or old != value:
            self._conflict(keys, f"{dotted(keys)} has another value here than in", "Write it in one file.")

    def _conflict(self, keys: Keys, message: str, hint: str) -> None:
        first = f"{self._whole.owners.get(keys, self._whole.file)}:{self._whole.lines.get(keys, 1)}"
        self._conflicts.file = self._part.file
        self._conflicts.add(f"{message} {first}.", keys=keys, line=self._part.lines.get(keys), hint=hint)


def _own(value: Any) -> Any:
    """A copy of the containers, so that merging into it changes no part (an alias makes two keys share one)."""
    if isinstance(value, dict):
        return {key: _own(item) for key, item in value.items()}
    return [_own(item) for item in value] if isinstance(value, list) else value
