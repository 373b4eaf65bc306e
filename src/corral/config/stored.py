"""Models that are in the store and not in the config: served as if they stood there with nothing but their source."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from corral.config.base import EngineRules
from corral.config.schema import Config, Model
from corral.domain.fleet import ModelSpec
from corral.domain.storage import StoredModel, StoreSpec

ENGINE: Final = "llamacpp"
_PROJECTOR: Final = "mmproj"
_ADAPTERS: Final = "lora"

Stored = Callable[[StoreSpec, Collection[ModelSpec]], Sequence[StoredModel]]
"""What stands in this store of which none of these Models uses a file, and which names they get. Blocks on the disk."""


@dataclass(frozen=True, slots=True)
class WithStored:
    """A config with what is in the store, what is to be said of it, and by Model what Ollama's clients call them."""

    config: Config
    notes: tuple[str, ...] = ()
    pulled: Mapping[str, str] = field(default_factory=dict)
    further: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # aliases of Models that serve such a file

    def named(self, model: ModelSpec) -> ModelSpec:
        """The Model with these names."""
        name = model.name
        if name not in self.pulled and name not in self.further:
            return model
        aliases = (*model.aliases, *self.further.get(name, ()))
        return dataclasses.replace(model, aliases=aliases, pulled=self.pulled.get(name, ""))


def with_stored(config: Config, found: Sequence[StoredModel], engines: Mapping[str, EngineRules]) -> WithStored:
    """Names and aliases of the file go before those of the store."""
    if ENGINE not in engines:
        return WithStored(config)
    known = {spec.name for spec in engines[ENGINE].options}
    taken = set(config.models)
    for name, model in config.models.items():
        taken.update(model.aliases)
        for profile, section in model.profiles.items():
            taken.update((f"{name}:{profile}", *section.aliases))
    models, notes = dict(config.models), list[str]()
    pulled: dict[str, str] = {}
    further: dict[str, tuple[str, ...]] = {}
    for each in found:
        if each.model:
            names = tuple(name for name in each.aliases if name not in taken)
            taken.update(names)
            further[each.model] = (*further.get(each.model, ()), *names)
            continue
        free = [name for name in dict.fromkeys((each.name, *each.aliases)) if name not in taken]
        if each.name in taken:
            other = f"it is served as {free[0]!r}" if free else "it is not served"
            notes.append(f"{each.path} is not {each.name!r}, which is a Model of the config: {other}.")
        if free:
            taken.update(free)
            beside = {_PROJECTOR: each.projector, _ADAPTERS: list(each.adapters)}
            options: dict[str, Any] = {name: value for name, value in beside.items() if value and name in known}
            entry = {"source": each.path, "engine": ENGINE, "aliases": free[1:], "options": options}
            models[free[0]] = Model.model_validate(entry)
            if each.pulled in free:
                pulled[free[0]] = each.pulled
    return WithStored(config.model_copy(update={"models": models}), tuple(notes), pulled, further)
