"""
What a command line names to be served: files of this machine, models of the store, references to what is elsewhere.

A reference is brought into the store before anything is started, in front of whoever typed it: what is here already is
taken without asking anybody, everything else comes as with `corral models pull`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from corral.cli import reading
from corral.cli.models import asking, shelves
from corral.cli.usage import UsageError
from corral.domain.errors import FileMissing, StoreFailed
from corral.domain.fleet import Source
from corral.domain.names import MODEL_NAME, near_names
from corral.domain.references import (
    BadReference,
    FileReference,
    Reference,
    WebReference,
    address,
    is_reference,
    narrowed,
    parse,
    suggested_name,
)
from corral.domain.storage import StoredModel

if TYPE_CHECKING:
    from corral.config.settings import Settings


@dataclass(frozen=True, slots=True)
class Fetching:
    """How references are meant, and what leave there is for them."""

    quant: str = ""
    insecure: bool = False
    private: bool = False

    def check(self, words: Iterable[str]) -> None:
        """Raises UsageError where there is nothing that it could be about."""
        if self != Fetching() and not any(map(is_reference, words)):
            raise UsageError("--quant, --insecure and --private are for references, and there is none.")


@dataclass(frozen=True, slots=True)
class Given:
    """What shall be served. `root` is the store in which `stored` are, "" where nothing is from one."""

    files: tuple[str, ...] = ()
    stored: tuple[StoredModel, ...] = ()
    root: str = ""


def is_file(word: str) -> bool:
    """Whether it means a file or folder of this machine, there or not."""
    return os.path.exists(word) or (word.lower().endswith(".gguf") and not is_reference(word))


@dataclass
class Shelf:
    """
    The store of the config that counts, looked into when something is asked of it. Raises ConfigErrors then.

    `options` are the engine's, as they were typed: what is wrong with them is told before anything is fetched.
    """

    config: str
    fetching: Fetching = field(default_factory=Fetching)
    options: tuple[str, ...] = ()

    @cached_property
    def settings(self) -> Settings:
        """All that the config says."""
        return reading.read(self.config, options=self.options).settings

    @property
    def root(self) -> str:
        """The store's folder."""
        return self.settings.store.path

    @cached_property
    def models(self) -> dict[str, StoredModel]:
        """What stands there, by name and by place; names go before."""
        from corral.store.shelf.serving import stored_models

        found = stored_models(self.settings.store, ())
        by_place = {alias: each for each in found for alias in each.aliases}
        return {**by_place, **{each.name: each for each in found}}

    def find(self, word: str) -> StoredModel:
        """The model of this name. Raises FileMissing with near names."""
        found = self.models.get(word)
        if found is None:
            hint = self.advice(word) or "`corral models list` shows what is there; hf.co/ORG/REPO would be fetched."
            raise FileMissing(f"{word!r} is no file, and no model in the store has that name.", hint=hint)
        return found

    def advice(self, word: str) -> str:
        """What else could be meant by a name that is nowhere."""
        near = near_names(word, [each.name for each in self._all()]) or near_names(word, self.models)
        if near:
            return f"The store has {' and '.join(map(repr, near))}."
        try:
            parse(f"hf.co/{word}")
        except BadReference:
            return ""
        return f"Did you mean hf.co/{word}? That would be fetched."

    def given(self, words: Iterable[str]) -> Given:
        """
        All of it, on this machine; what is not yet is fetched first, with its progress on standard error.

        A name that is nowhere is told before anything is fetched. Raises UsageError, FileMissing, StoreFailed.
        """
        words = list(words)
        files = [word for word in words if is_file(word)]
        references = {word: self._reference(word) for word in words if word not in files and is_reference(word)}
        self.fetching.check(references)
        stored = [self.find(word) for word in words if word not in files and word not in references]
        for reference in references.values():
            if isinstance(reference, FileReference):
                files.append(os.path.expanduser(reference.path))
            else:
                stored.append(self._brought(reference))
        return Given(tuple(files), _once(stored), self.root if stored else "")

    def _reference(self, word: str) -> Reference:
        try:
            return narrowed(asking.reference_of(word), quant=self.fetching.quant)
        except BadReference as error:
            raise UsageError(str(error)) from None

    def _brought(self, reference: Reference) -> StoredModel:
        from corral.store.supply import store_supply

        here = store_supply(self.settings.store, os.environ).here(Source(reference=address(reference)))
        path = here.path if here is not None else str(self._fetched(reference))
        self.__dict__.pop("models", None)  # it may have come only now
        found = next((each for each in self._all() if os.path.realpath(each.path) == os.path.realpath(path)), None)
        if found is None:
            why = next((each.problem for each in shelves.items_of(Path(self.root)) if str(each.path) == path), "")
            raise StoreFailed(f"{path} cannot be served: {why or 'it is no model.'}")
        also = str(reference)
        if isinstance(reference, WebReference) or not MODEL_NAME.match(also):
            return found
        return replace(found, aliases=tuple(dict.fromkeys((*found.aliases, also))))

    def _fetched(self, reference: Reference) -> Path:
        from corral.cli.models.pulling import download, fetch, planned
        from corral.contracts.fetching import Role
        from corral.store.sources.planning import exact

        fetches = asking.fetches_of(self.settings, insecure=self.fetching.insecure, private=self.fetching.private)
        with download(reference):
            plan = planned(fetches, reference)
            if plan.files[0].role is not Role.MODEL:
                raise UsageError(f"{reference} is no model but its {plan.files[0].role}: that is not served alone.")
            return fetch(fetches, plan, suggested_name(exact(plan))).model

    def _all(self) -> list[StoredModel]:
        return list({each.path: each for each in self.models.values()}.values())


def _once(stored: Sequence[StoredModel]) -> tuple[StoredModel, ...]:
    """Each model once, with all the names that it was given by."""
    found: dict[str, StoredModel] = {}
    for each in stored:
        known = found.get(each.path)
        aliases = each.aliases if known is None else tuple(dict.fromkeys((*known.aliases, *each.aliases)))
        found[each.path] = replace(each, aliases=aliases)
    return tuple(found.values())
