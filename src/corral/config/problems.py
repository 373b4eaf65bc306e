"""Problems of a configuration: collected, each with its file and line, and raised together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from corral.domain.errors import ConfigError

Keys = tuple[str | int, ...]
"""Where a value stands: `("models", "coder", "aliases", 0)`."""

MOST_PROBLEMS = 50  # a broken file may have thousands; nobody reads more
_MOST_KEPT = 20 * MOST_PROBLEMS


class ConfigErrors(ConfigError):
    """The configuration is wrong; `problems` has every reason."""

    def __init__(self, problems: Iterable[ConfigError]) -> None:
        self.problems = tuple(problems)
        first = self.problems[0]
        super().__init__("\n".join(problem.sentence() for problem in self.problems))
        self.file, self.line, self.key = first.file, first.line, first.key


def dotted(keys: Keys) -> str:
    """`models.coder.aliases[0]`, as it is written in messages and asked for by `config explain`."""
    text = ""
    for key in keys:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text


class Problems:
    """
    The problems found so far. `lines` gives the line of a key; a key that is not in the file has its parent's.

    One problem a key is kept: a value whose template failed need not be told again that it is not a number.
    """

    def __init__(
        self, file: str = "", lines: Mapping[Keys, int] | None = None, owners: Mapping[Keys, str] | None = None
    ) -> None:
        self.file = file
        self.lines: Mapping[Keys, int] = lines if lines is not None else {}
        self._owners: Mapping[Keys, str] = owners if owners is not None else {}
        self.places: dict[Keys, str] = {}  # keys that did not come from the file -> where they came from
        self._found: list[tuple[tuple[str, int], ConfigError]] = []
        self._more = 0
        self._keys: set[Keys] = set()

    def add(
        self, message: str, *, keys: Keys = (), line: int | None = None, column: int | None = None, hint: str = ""
    ) -> None:
        """Add a problem, unless this key has one already."""
        if keys and keys in self._keys:
            return
        self._keys.add(keys)
        if len(self._found) >= _MOST_KEPT:  # a file of millions of mistakes
            self._more += 1
            return
        place = self._place(keys)
        if place is not None:
            error = ConfigError(message, file=place, key=dotted(keys), hint=hint)
            self._found.append((("", 0), error))
            return
        file, line = self.file_of(keys), line or self.line(keys)
        error = ConfigError(message, file=file, line=line, column=column, key=dotted(keys), hint=hint)
        self._found.append(((file, line or 0), error))

    def mute(self, keys: Keys) -> None:
        """Say nothing about this key: what is wrong with it is told at another one."""
        self._keys.add(keys)

    def has(self, keys: Keys) -> bool:
        """True when this key has a problem already."""
        return keys in self._keys

    def line(self, keys: Keys) -> int | None:
        """The line of the key, else of the nearest parent that stands in the file."""
        while keys:
            if keys in self.lines:
                return self.lines[keys]
            keys = keys[:-1]
        return None

    def file_of(self, keys: Keys) -> str:
        """The file in which the key, or its nearest parent, stands."""
        while keys and self._owners:
            if keys in self._owners:
                return self._owners[keys]
            keys = keys[:-1]
        return self.file

    def _place(self, keys: Keys) -> str | None:
        while keys:
            if keys in self.places:
                return self.places[keys]
            if keys in self.lines:
                return None
            keys = keys[:-1]
        return None

    def __len__(self) -> int:
        return len(self._found) + self._more

    def raise_any(self) -> None:
        """Raise what was found, in the order of the file."""
        if not self._found:
            return
        errors = [error for _, error in sorted(self._found, key=lambda item: item[0])]
        if len(errors) > MOST_PROBLEMS:
            more = len(self) - MOST_PROBLEMS
            errors = [*errors[:MOST_PROBLEMS], ConfigError(f"{more} more problems", file=self.file)]
        raise ConfigErrors(errors)
