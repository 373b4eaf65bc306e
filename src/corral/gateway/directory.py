"""
The names that clients may use: the gateway's snapshot of the Fleet.

A reload replaces the whole snapshot at once; requests in flight keep the ModelSpec that they began with.
"""

from __future__ import annotations

from collections.abc import Iterable

from corral.domain import names
from corral.domain.errors import UnknownModel
from corral.domain.fleet import ModelSpec


class ModelDirectory:
    """Names and aliases -> Models. Reading never waits."""

    def __init__(self, models: Iterable[ModelSpec] = ()) -> None:
        self.models: dict[str, ModelSpec] = {}
        self._by_name: dict[str, ModelSpec] = {}
        self.only: ModelSpec | None = None
        self.replace(models)

    def replace(self, models: Iterable[ModelSpec]) -> None:
        """Take the Models of a new Fleet."""
        fresh = {model.name: model for model in models}
        self.models = fresh
        self._by_name = {name: fresh[own] for name, own in names.directory(fresh.values()).items()}
        self.only = next(iter(fresh.values())) if len(fresh) == 1 else None

    def find(self, name: str) -> ModelSpec | None:
        """The Model of a name or alias."""
        return self._by_name.get(name)

    def get(self, name: str) -> ModelSpec:
        """The Model of a name or alias. Raises UnknownModel with near names."""
        found = self._by_name.get(name)
        if found is None:
            raise UnknownModel(name, names.near_names(name, self._visible()))
        return found

    def listed(self) -> list[ModelSpec]:
        """The Models that listings show, in the order of the Fleet."""
        return [model for model in self.models.values() if not model.unlisted]

    def _visible(self) -> list[str]:
        """Names that a hint may give away."""
        return [name for name, model in self._by_name.items() if not model.unlisted]
