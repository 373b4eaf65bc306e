"""The Corral that a command works with: the one that runs, or one of its own for as long as the command lasts."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from corral.cli import connect, private, reading
from corral.cli.given import Fetching, Given, Shelf
from corral.cli.naming import is_file, is_path
from corral.cli.usage import UsageError
from corral.domain import names as naming
from corral.domain.errors import ConfigError, CorralError, UnknownModel
from corral.domain.fleet import ModelSpec
from corral.domain.references import BadReference, Reference, is_reference, parse
from corral.domain.storage import StoredModel


@dataclass(frozen=True, slots=True)
class Serving:
    """
    A Corral that answers, and what the Models that were asked for are called there.

    Of a Corral that ran already the names are as they were given, and `models` is None: only it knows what it serves.
    """

    corral: connect.Corral
    names: list[str]
    models: Mapping[str, ModelSpec] | None = None


@contextlib.contextmanager
def serving(
    wanted: Sequence[str],
    engine_options: Sequence[str],
    *,
    server: str,
    key: str,
    state_dir: str,
    config: str,
    fetching: Fetching | None = None,
) -> Iterator[Serving]:
    """
    Model files, references and models of the store get a Corral of their own, with these options; Models that of
    --server, the one that runs, or one for the config. A Model goes before what the store or a reference calls so. All
    of it is checked, and fetched, before one is started: to be told of a mistake nobody needs a server.
    """
    fetching = fetching or Fetching()
    fetching.check(wanted)
    if server:
        _refuse_options(engine_options)
        yield Serving(connect.find(server=server, key=key), list(wanted))
        return
    shelf = Shelf(config, fetching, tuple(engine_options))
    place = _place(state_dir, config, wanted)
    models: dict[str, str] = {}
    nowhere: dict[str, CorralError] = {}
    for word in (word for word in wanted if not is_path(word)):
        name = place.find(word, shelf)
        if isinstance(name, CorralError):
            nowhere[word] = name
        else:
            models[word] = name
    for word, why in nowhere.items():
        try:
            shelf.names.of(word, why)
        except type(why):
            _refuse_options(engine_options)
            raise
    if models and len(models) == len(set(wanted)):
        _refuse_options(engine_options)
        with place.serving([models[word] for word in wanted]) as found:
            yield found
    elif models:
        raise UsageError(
            "Give Models of a Corral, or files, references and names of the store, not both: these are served by a "
            "Corral of their own."
        )
    else:
        with _own(shelf.given(wanted), engine_options) as found:
            yield found


def _refuse_options(engine_options: Sequence[str]) -> None:
    if engine_options:
        raise UsageError("-o is for model files; a Model's options are in the config.")


@contextlib.contextmanager
def _own(given: Given, engine_options: Sequence[str]) -> Iterator[Serving]:
    """One for these alone."""
    models = reading.read(files=given.files, stored=given.stored, options=engine_options).settings.fleet.models
    words = [word for option in engine_options for word in ("-o", option)]
    words += [word for each in given.stored for word in ("--stored", _told(each, given.root))]
    variables = {"CORRAL_STORE__PATH": given.root} if given.root else {}
    with private.started([*words, "--", *map(os.path.abspath, given.files)], variables=variables) as corral:
        yield Serving(corral, [*models], models)


def _told(stored: StoredModel, root: str) -> str:
    """A name is one of the store's first: what another program keeps is told by its path."""
    return stored.name if Path(stored.path).is_relative_to(root) else stored.path


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a Model comes from: what it is called by or fetched from, and its file as far as that is known."""

    model: str
    words: tuple[str, ...]
    path: str


def _serving(reference: Reference, shelf: Shelf, sources: Sequence[_Source]) -> str:
    """The Model that has this reference for its source, or serves the file that it means; "" where none does."""
    for each in sources:
        if any(_parsed(word) == reference for word in each.words):
            return each.model
    path = shelf.here(reference)
    same = (each.model for each in sources if each.path and os.path.realpath(each.path) == os.path.realpath(path))
    return next(same, "") if path else ""


def _parsed(word: str) -> Reference | None:
    try:
        return parse(word) if is_reference(word) else None
    except BadReference:
        return None


class _Place(Protocol):
    """Who knows Models by their names."""

    def find(self, word: str, shelf: Shelf) -> str | CorralError:
        """The name of the Model that is meant, or what is to be said where it knows none."""
        ...

    def serving(self, names: Sequence[str]) -> contextlib.AbstractContextManager[Serving]:
        """A Corral that serves them."""
        ...


def _place(state_dir: str, config: str, wanted: Sequence[str]) -> _Place:
    """Paths are no Models; and files of models need no config that can be read."""
    if all(map(is_path, wanted)):
        return _Nobody()
    corral = connect.find(state_dir=state_dir, config=config)
    if corral.running():
        return _Running(corral)
    file = reading.find_file(config)
    try:
        return _Configured(file, reading.read(config, with_store=True).settings.fleet.models) if file else _Nobody()
    except ConfigError:
        if all(is_path(word) or is_file(word) for word in wanted):
            return _Nobody()
        raise


@dataclass(frozen=True, slots=True)
class _Running:
    corral: connect.Corral

    def find(self, word: str, shelf: Shelf) -> str | CorralError:
        try:
            self.corral.ask("GET", f"/v1/models/{quote(word, safe='')}")
        except connect.Answered as error:
            if error.answer_status != HTTPStatus.NOT_FOUND:
                raise
            reference = shelf.reference(word)
            return (_serving(reference, shelf, self._sources()) if reference is not None else "") or error
        return word

    def _sources(self) -> list[_Source]:
        status = self.corral.ask("GET", "/api/corral/status")
        rows = status.get("models") if isinstance(status, dict) else None
        return [
            _Source(str(row["model"]), (*row.get("aliases", ()), row.get("reference") or ""), row.get("path") or "")
            for row in rows or ()
        ]

    @contextlib.contextmanager
    def serving(self, names: Sequence[str]) -> Iterator[Serving]:
        yield Serving(self.corral, list(names))


@dataclass(frozen=True, slots=True)
class _Configured:
    file: str
    models: Mapping[str, ModelSpec]

    def find(self, word: str, shelf: Shelf) -> str | CorralError:
        try:
            return naming.resolve(word, naming.directory(self.models.values()))
        except UnknownModel as error:
            reference = shelf.reference(word)
            return (_serving(reference, shelf, self._sources(shelf)) if reference is not None else "") or error

    def _sources(self, shelf: Shelf) -> list[_Source]:
        models = self.models.values()
        return [
            _Source(each.name, (*each.aliases, each.source.reference), each.source.path or shelf.file_of(each.source))
            for each in models
        ]

    @contextlib.contextmanager
    def serving(self, names: Sequence[str]) -> Iterator[Serving]:
        with private.started(["--config", self.file]) as corral:
            yield Serving(corral, list(names), self.models)


class _Nobody:
    def find(self, word: str, shelf: Shelf) -> str | CorralError:
        return connect.NotRunning(
            f"No Corral runs here, and there is no config that could say what {word!r} is.",
            hint="Give a .gguf file or a reference, or start one: corral serve.",
        )

    def serving(self, names: Sequence[str]) -> contextlib.AbstractContextManager[Serving]:
        raise AssertionError("it knows none")
