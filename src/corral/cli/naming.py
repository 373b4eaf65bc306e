"""
What a NAME on a command line means: the same in every command.

The first of these that there is: a Model, for commands about Models; a name in the store; a place below it; a
reference; a file; the name of a file of the store, as it is written; and last what another program has here, by the
name that `corral models list --all` gives it. What begins as only paths do is a file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from corral.cli import reading
from corral.cli.models import asking, shelves
from corral.domain.errors import ConfigError, CorralError, FileMissing, StoreFailed, UnknownModel
from corral.domain.references import FileReference, Reference, is_reference
from corral.kit.homes import expanded

if TYPE_CHECKING:
    from corral.config.settings import Settings
    from corral.domain.fleet import ModelSpec
    from corral.store.shelf.items import Item

_PATH: Final = re.compile(r"/|~|\.{1,2}(/|$)")
STORED: Final = typer.Argument(
    metavar="NAME", help="As `corral models list` shows it, its place in the store, a reference, or its path."
)
FIRST: Final = "A Model, a name or place in the store, a reference, or a file: the first that there is."
NAMED: Final = typer.Argument(metavar="NAME", help=FIRST)


def is_path(word: str) -> bool:
    """Whether it can only be the path of a file or folder."""
    return _PATH.match(word) is not None


def is_file(word: str) -> bool:
    """Whether there is such a file of a model: it needs no config and no store to be one."""
    return word.lower().endswith(".gguf") and os.path.isfile(word)


class Names:
    """The names of the store of the config that counts. `options` are checked when it is read."""

    def __init__(self, config: str, options: tuple[str, ...] = ()) -> None:
        self._config, self._options = config, options

    @cached_property
    def settings(self) -> Settings:
        """All that the config says. Raises ConfigErrors."""
        return reading.read(self._config, options=self._options).settings

    def models(self, word: str) -> Mapping[str, ModelSpec]:
        """The Models of the config; none for the name of a file where the config cannot be read."""
        try:
            return self.settings.fleet.models
        except ConfigError:
            if is_file(word):
                return {}
            raise

    @cached_property
    def root(self) -> Path:
        """The store's folder. Raises StoreFailed."""
        return shelves.root_of(self.settings)

    @cached_property
    def items(self) -> list[Item]:
        """All that stands there."""
        return shelves.items_of(self.root)

    @cached_property
    def elsewhere(self) -> list[Item]:
        """What other programs have."""
        return shelves.elsewhere()

    def looked_again(self) -> None:
        """Something may have come into the store."""
        self.__dict__.pop("items", None)

    def here(self, word: str) -> Item:
        """
        For commands about files that are here. Raises Conflict where several may be meant, FileMissing for none.

        A reference means what is here of it.
        """
        from corral.store.shelf.naming import meant, only

        found = meant(word, self.items) or meant(word, self.elsewhere)
        if not found:
            hint = self.advice(word)
            if word in self.settings.fleet.models:
                hint = "It is a Model: USED BY in `corral models list --all` shows which file is its own."
            raise FileMissing(f"There is no {word!r} in the store.", hint=hint)
        return only(word, found)

    def called(self, name: str) -> Item | None:
        """What has this very name or place, in the store or else with another program."""
        from corral.store.shelf.naming import called

        return next(iter(called(name, self.items) or called(name, self.elsewhere)), None)

    def of(self, word: str, why: CorralError | None = None) -> Item | Reference | Path:
        """
        What is meant where it is no Model; `why` not. References are read, and nobody is asked what they stand for.

        Raises UsageError for a reference that is none, FileMissing or `why` for what is nowhere.
        """
        from corral.store.shelf.naming import by_file, called, only

        if is_path(word):
            return _there(expanded(word))
        try:
            found = called(word, self.items)
        except (ConfigError, StoreFailed):
            if not is_file(word):
                raise
            return Path(word)
        if found:
            return found[0]
        if is_reference(word):
            reference = asking.reference_of(word)
            return _there(expanded(reference.path)) if isinstance(reference, FileReference) else reference
        if "\0" not in word and os.path.exists(word):
            return Path(word)
        found = by_file(word, self.items) or called(word, self.elsewhere) or by_file(word, self.elsewhere)
        if found:
            return only(word, found)
        raise self.nowhere(word, why)

    def nowhere(self, word: str, why: CorralError | None = None) -> CorralError:
        """What is said of a word that means nothing; `why` it is no Model."""
        from corral.store.files import missing
        from corral.store.shelf.naming import advice, near

        if word.lower().endswith(".gguf"):
            found: CorralError = missing(Path(word).absolute())
            found.hint = f"{found.hint} {near(word, self.items)}".strip()
            return found
        hint = advice(word, self.items)
        if why is None:
            return FileMissing(f"{word!r} is no file, and nothing in the store has that name.", hint=hint)
        if isinstance(why, UnknownModel) and not why.near:
            why.hint = ""  # a list of all, where one may be near
        why.hint = f"{why.hint} {hint}".strip()
        return why

    def advice(self, word: str) -> str:
        """What else could be meant."""
        from corral.store.shelf.naming import advice

        return advice(word, self.items)


def _there(path: Path) -> Path:
    """Raises FileMissing with near names of its folder."""
    from corral.store.files import missing

    if not os.path.exists(path):
        raise missing(path)
    return path
