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

from corral.cli.models import asking
from corral.cli.naming import Names
from corral.cli.usage import UsageError
from corral.domain.errors import StoreFailed
from corral.domain.fleet import Source
from corral.domain.names import MODEL_NAME
from corral.domain.references import (
    BadReference,
    FileReference,
    Reference,
    WebReference,
    address,
    is_reference,
    narrowed,
    suggested_name,
)
from corral.domain.storage import StoredModel

if TYPE_CHECKING:
    from corral.store.shelf.items import Item


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
    def names(self) -> Names:
        """What words mean."""
        return Names(self.config, self.options)

    def find(self, name: str) -> StoredModel:
        """The model of this very name or place. Raises FileMissing with near names, and as `given` does."""
        item = self.names.called(name)
        if item is None:
            raise self.names.nowhere(name)
        return self._stored(item)

    def given(self, words: Iterable[str]) -> Given:
        """
        All of it, on this machine; what is not yet is fetched first, with its progress on standard error.

        A name that is nowhere is told before anything is fetched. Raises UsageError, FileMissing, StoreFailed.
        """
        words = list(words)
        self.fetching.check(words)
        meant = [self._meant(word) for word in words]
        files = [str(each) for each in meant if isinstance(each, Path)]
        stored = [
            each if isinstance(each, StoredModel) else self._brought(each)
            for each in meant
            if not isinstance(each, Path)
        ]
        return Given(tuple(files), _once(stored), str(self.names.root) if stored else "")

    def reference(self, word: str) -> Reference | None:
        """Which one is meant by a word that is one and may be served otherwise: not with options of its own."""
        if self.options or not is_reference(word):
            return None
        found = asking.reference_of(word)
        return None if isinstance(found, FileReference) else self._narrowed(found)

    def here(self, reference: Reference) -> str:
        """The file of what it means, "" where that is not here."""
        return self.file_of(Source(reference=address(reference), pictures=False))

    def file_of(self, source: Source) -> str:
        """The file of a source that has no path yet, "" where it is not here."""
        from corral.store.supply import store_supply

        found = store_supply(self.names.settings.store, os.environ).here(source) if source.reference else None
        return found.path if found is not None else ""

    def _meant(self, word: str) -> StoredModel | Reference | Path:
        found = self.names.of(word)
        if isinstance(found, Path):
            return found
        return self._narrowed(found) if isinstance(found, Reference) else self._stored(found)

    def _stored(self, item: Item) -> StoredModel:
        from corral.contracts.fetching import Role
        from corral.store.shelf.serving import as_stored

        if item.problem:
            raise StoreFailed(f"{item.name} cannot be served: {item.problem}")
        if item.role is not Role.MODEL:
            raise UsageError(f"{item.name} is no model but its {item.role}: that is not served alone.")
        return as_stored(item, self.names.items)

    def _narrowed(self, reference: Reference) -> Reference:
        try:
            return narrowed(reference, quant=self.fetching.quant)
        except BadReference as error:
            raise UsageError(str(error)) from None

    def _brought(self, reference: Reference) -> StoredModel:
        from corral.store.supply import store_supply

        supply = store_supply(self.names.settings.store, os.environ)
        here = supply.here(Source(reference=address(reference)))
        path = here.path if here is not None else str(self._fetched(reference))
        self.names.looked_again()
        item = next((each for each in self.names.items if os.path.realpath(each.path) == os.path.realpath(path)), None)
        if item is None:
            raise StoreFailed(f"{path} cannot be served: it is no model.")
        found, also = self._stored(item), str(reference)
        if isinstance(reference, WebReference) or not MODEL_NAME.match(also):
            return found
        return replace(found, aliases=tuple(dict.fromkeys((*found.aliases, also))))

    def _fetched(self, reference: Reference) -> Path:
        from corral.cli.models.pulling import download, fetch, planned
        from corral.contracts.fetching import Role
        from corral.store.sources.planning import exact

        fetches = asking.fetches_of(self.names.settings, insecure=self.fetching.insecure, private=self.fetching.private)
        with download(reference):
            plan = planned(fetches, reference)
            if plan.files[0].role is not Role.MODEL:
                raise UsageError(f"{reference} is no model but its {plan.files[0].role}: that is not served alone.")
            return fetch(fetches, plan, suggested_name(exact(plan))).model


def _once(stored: Sequence[StoredModel]) -> tuple[StoredModel, ...]:
    """Each model once, with all the names that it was given by."""
    found: dict[str, StoredModel] = {}
    for each in stored:
        known = found.get(each.path)
        aliases = each.aliases if known is None else tuple(dict.fromkeys((*known.aliases, *each.aliases)))
        found[each.path] = replace(each, aliases=aliases)
    return tuple(found.values())
