"""
The names that clients may use: the gateway's snapshot of the Fleet.

A reload replaces the whole snapshot at once; requests in flight keep the ModelSpec that they began with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from corral.domain import names
from corral.domain.errors import UnknownModel
from corral.domain.facts import NOTHING, ModelFacts
from corral.domain.fleet import ModelSpec


class ModelDirectory:
    """
    Names and aliases -> Models, and what is known of them. Reading never waits.

    `context_of` gives what the loaded engine of a Model says its context is, None where none is loaded.
    """

    def __init__(
        self, models: Iterable[ModelSpec] = (), *, context_of: Callable[[str], int | None] = lambda model: None
    ) -> None:
        self.context_of = context_of
        self.facts: dict[str, ModelFacts] = {}
        self.models: dict[str, ModelSpec] = {}
        self._by_name: dict[str, ModelSpec] = {}
        self._folded: dict[str, str] | None = None  # made when it is first wanted
        self.only: ModelSpec | None = None
        self.replace(models)

    def replace(self, models: Iterable[ModelSpec], facts: Mapping[str, ModelFacts] | None = None) -> None:
        """Take the Models of a new Fleet, and what their files say."""
        self.facts = dict(facts or {})
        fresh = {model.name: model for model in models}
        self.models = fresh
        self._by_name = {name: fresh[own] for name, own in names.directory(fresh.values()).items()}
        self._folded = None
        self.only = next(iter(fresh.values())) if len(fresh) == 1 else None

    def learn(self, facts: Mapping[str, ModelFacts]) -> None:
        """What files of this Fleet say that were not read yet when it came."""
        self.facts.update(facts)

    def find(self, name: str) -> ModelSpec | None:
        """The Model of a name or alias."""
        return self._by_name.get(name)

    def get(self, name: str) -> ModelSpec:
        """The Model of a name or alias. Raises UnknownModel with near names."""
        found = self._by_name.get(name)
        if found is None:
            raise UnknownModel(name, names.near_names(name, self._visible()))
        return found

    def meant(self, spellings: Sequence[str]) -> tuple[str, ModelSpec]:
        """
        The name or alias, as it is written here, that one of these spellings is, and its Model; upper and lower case
        are the same only where no spelling fits as it is. Raises UnknownModel of the first.
        """
        for name in spellings:
            if (found := self._by_name.get(name)) is not None:
                return name, found
        if self._folded is None:
            folded: dict[str, str] = {}
            for name in self._by_name:
                folded.setdefault(name.lower(), name)
            self._folded = folded
        for name in spellings:
            if (own := self._folded.get(name.lower())) is not None:
                return own, self._by_name[own]
        return spellings[0], self.get(spellings[0])

    def facts_of(self, model: str) -> ModelFacts:
        """What is known of a Model from its files."""
        return self.facts.get(model, NOTHING)

    def listed(self) -> list[tuple[str, ModelSpec]]:
        """The names that listings show, in the order of the Fleet: aliases only of Models that list them."""
        return [
            (name, model)
            for model in self.models.values()
            if not model.unlisted
            for name in (model.name, *(model.aliases if model.listed_aliases else ()))
        ]

    def _visible(self) -> list[str]:
        """Names that a hint may give away."""
        return [name for name, model in self._by_name.items() if not model.unlisted]
