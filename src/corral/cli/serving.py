"""The Corral that a command works with: the one that runs, or one of its own for as long as the command lasts."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote

from corral.cli import connect, private, reading
from corral.cli.given import Fetching, Given, Shelf, is_file
from corral.cli.usage import UsageError
from corral.domain import names as naming
from corral.domain.errors import CorralError, UnknownModel
from corral.domain.fleet import ModelSpec
from corral.domain.references import is_reference


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
    words = [word for word in wanted if not is_file(word)]
    place = _place(state_dir, config) if words else None
    unknown = {word: why for word in words if place is not None and (why := place.why_not(word))}
    shelf = Shelf(config, fetching, tuple(engine_options))
    if place is not None and not unknown and len(words) == len(wanted):
        _refuse_options(engine_options)
        with place.serving(wanted) as found:
            yield found
        return
    for word, why in unknown.items():
        if not is_reference(word) and word not in shelf.models and len(words) == len(wanted):
            _refuse_options(engine_options)
            raise _nowhere(word, why, shelf)
    if any(word not in unknown or not (is_reference(word) or word in shelf.models) for word in words):
        raise UsageError(
            "Give Models of a Corral, or files, references and names of the store, not both: these are served by a "
            "Corral of their own."
        )
    with _own(shelf.given(wanted), engine_options) as found:
        yield found


def _refuse_options(engine_options: Sequence[str]) -> None:
    if engine_options:
        raise UsageError("-o is for model files; a Model's options are in the config.")


def _nowhere(word: str, why: CorralError, shelf: Shelf) -> CorralError:
    """Why there is no such Model, and what else could be meant."""
    why.hint = f"{why.hint} {shelf.advice(word)}".strip()
    return why


@contextlib.contextmanager
def _own(given: Given, engine_options: Sequence[str]) -> Iterator[Serving]:
    """One for these alone."""
    models = reading.read(files=given.files, stored=given.stored, options=engine_options).settings.fleet.models
    words = [word for option in engine_options for word in ("-o", option)]
    words += [word for each in given.stored for word in ("--stored", each.name)]
    variables = {"CORRAL_STORE__PATH": given.root} if given.root else {}
    with private.started([*words, "--", *map(os.path.abspath, given.files)], variables=variables) as corral:
        yield Serving(corral, [*models], models)


class _Place(Protocol):
    """Who knows Models by their names."""

    def why_not(self, name: str) -> CorralError | None:
        """What is to be said where it does not know this one."""
        ...

    def serving(self, wanted: Sequence[str]) -> contextlib.AbstractContextManager[Serving]:
        """A Corral that serves them."""
        ...


def _place(state_dir: str, config: str) -> _Place:
    corral = connect.find(state_dir=state_dir, config=config)
    if corral.running():
        return _Running(corral)
    file = reading.find_file(config)
    return _Configured(file, reading.read(config, with_store=True).settings.fleet.models) if file else _Nobody()


@dataclass(frozen=True, slots=True)
class _Running:
    corral: connect.Corral

    def why_not(self, name: str) -> CorralError | None:
        try:
            self.corral.ask("GET", f"/v1/models/{quote(name, safe='')}")
        except connect.Answered as error:
            if error.answer_status == 404:
                return error
            raise
        return None

    @contextlib.contextmanager
    def serving(self, wanted: Sequence[str]) -> Iterator[Serving]:
        yield Serving(self.corral, list(wanted))


@dataclass(frozen=True, slots=True)
class _Configured:
    file: str
    models: Mapping[str, ModelSpec]

    def why_not(self, name: str) -> CorralError | None:
        try:
            naming.resolve(name, naming.directory(self.models.values()))
        except UnknownModel as error:
            return error
        return None

    @contextlib.contextmanager
    def serving(self, wanted: Sequence[str]) -> Iterator[Serving]:
        names = naming.directory(self.models.values())
        with private.started(["--config", self.file]) as corral:
            yield Serving(corral, [naming.resolve(name, names) for name in wanted], self.models)


class _Nobody:
    def why_not(self, name: str) -> CorralError | None:
        return connect.NotRunning(
            f"No Corral runs here, and there is no config that could say what {name!r} is.",
            hint="Give a .gguf file or a reference, or start one: corral serve.",
        )

    def serving(self, wanted: Sequence[str]) -> contextlib.AbstractContextManager[Serving]:
        raise AssertionError("it knows none")
