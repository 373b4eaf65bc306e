"""
The names that clients may use: the gateway's snapshot of the Fleet.

A reload replaces the whole snapshot at once; requests in flight keep the ModelSpec that they began with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from corral.domain import names
from corral.domain.errors import UnknownModel
from corral.domain.facts import NOTHING, ModelFacts
from corral.domain.fleet import ModelSpec
from corral.domain.requests import DefaultModels, RequestRules, fits


class ContextOf(Protocol):
    """What the loaded engine of a Model says its context is, or this instance's; None where none is loaded."""

    def __call__(self, model: str, instance: str = "") -> int | None:
        """In tokens of one request."""
        ...


def _nothing_loaded(model: str, instance: str = "") -> int | None:
    return None


class ModelDirectory:
    """
    Names, aliases and profiles -> Models, and what is known of them. Reading never waits.

    A profile is its Model with other `request` rules.
    """

    def __init__(self, models: Iterable[ModelSpec] = (), *, context_of: ContextOf = _nothing_loaded) -> None:
        self.context_of = context_of
        self.facts: dict[str, ModelFacts] = {}
        self.models: dict[str, ModelSpec] = {}
        self._by_name: dict[str, ModelSpec] = {}
        self._folded: dict[str, str] | None = None  # made when it is first wanted
        self.only: ModelSpec | None = None
        self._defaults = DefaultModels()
        self.replace(models)

    def replace(
        self,
        models: Iterable[ModelSpec],
        facts: Mapping[str, ModelFacts] | None = None,
        defaults: DefaultModels | None = None,
    ) -> None:
        """Take the Models of a new Fleet, what their files say, and who answers requests that name none."""
        self.facts = dict(facts or {})
        self._defaults = defaults or DefaultModels()
        fresh = {model.name: model for model in models}
        self.models = fresh
        self._by_name = {name: fresh[own] for name, own in names.directory(fresh.values()).items()}
        self._folded = None
        for model in fresh.values():
            for profile in model.profiles:
                own = _with_rules(model, replace(profile.rules, model=model.name))
                for name in profile.names(model.name):
                    if self._by_name[name] is model:
                        self._by_name[name] = own
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
        are the same only where no spelling fits as it is. Raises UnknownModel of the first; near names are not looked
        for, which takes 40 ms among ten thousand, because the dialect that spells so has no place for them.
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
        raise UnknownModel(spellings[0])

    def unnamed(self, task: str) -> ModelSpec | None:
        """Who answers a request of this task that names no Model: the default, else the only one there is."""
        return self._default(task) or self.only

    def standing_in(self, name: str, task: str) -> ModelSpec:
        """Who answers for a name that nobody has. Raises UnknownModel where names must be right."""
        found: ModelSpec | None = None
        if self._defaults.for_unknown:
            found = self._default(task) or (self.only if self.only and self._fits(task, self.only) else None)
        return self.get(name) if found is None else _with_rules(found, RequestRules(model=found.name))

    def _default(self, task: str) -> ModelSpec | None:
        """A default of the wrong task is none: chat must not land on an embedding model."""
        found = self._by_name.get(self._defaults.of(task))
        return found if found is not None and self._fits(task, found) else None

    def _fits(self, task: str, model: ModelSpec) -> bool:
        return fits(task, model.task or self.facts_of(model.name).task)

    def facts_of(self, model: str) -> ModelFacts:
        """What is known of a Model from its files."""
        return self.facts.get(model, NOTHING)

    def listed(self) -> list[tuple[str, ModelSpec]]:
        """The names that listings show, in the order of the Fleet: further names only of Models that list them."""
        return [
            (name, model)
            for model in self.models.values()
            if not model.unlisted
            for name in (model.name, *(_further_names(model) if model.listed_aliases else ()))
        ]

    def _visible(self) -> list[str]:
        """Names that a hint may give away."""
        return [name for name, model in self._by_name.items() if not model.unlisted]


def _with_rules(model: ModelSpec, rules: RequestRules) -> ModelSpec:
    return replace(model, request=model.request.under(rules) if model.request is not None else rules)


def _further_names(model: ModelSpec) -> tuple[str, ...]:
    return (*model.aliases, *(name for profile in model.profiles for name in profile.names(model.name)))
