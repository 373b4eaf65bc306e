"""Models that are in the store and not in the config: served as if they stood there with nothing but their source."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from corral.config.base import EngineRules
from corral.config.schema import Config, Model
from corral.domain.fleet import ModelSpec
from corral.domain.storage import StoredModel, StoreSpec

ENGINE: Final = "llamacpp"
_PROJECTOR: Final = "mmproj"

Stored = Callable[[StoreSpec, Collection[ModelSpec]], Sequence[StoredModel]]
"""What stands in this store of which none of these Models uses a file. Blocks on the disk."""


def with_stored(
    config: Config, found: Sequence[StoredModel], engines: Mapping[str, EngineRules]
) -> tuple[Config, tuple[str, ...]]:
    """
    The config with them, and what is to be said of it: names and aliases of the file go before theirs.
    """
    if ENGINE not in engines:
        return config, ()
    projects = any(spec.name == _PROJECTOR for spec in engines[ENGINE].options)
    taken = set(config.models)
    for name, model in config.models.items():
        taken.update(model.aliases)
        for profile, section in model.profiles.items():
            taken.update((f"{name}:{profile}", *section.aliases))
    models, notes = dict(config.models), list[str]()
    for each in found:
        free = [name for name in dict.fromkeys((each.name, *each.aliases)) if name not in taken]
        if each.name in taken:
            other = f"it is served as {free[0]!r}" if free else "it is not served"
            notes.append(f"{each.path} is not {each.name!r}, which is a Model of the config: {other}.")
        if free:
            taken.update(free)
            options: dict[str, Any] = {_PROJECTOR: each.projector} if each.projector and projects else {}
            entry = {"source": each.path, "engine": ENGINE, "aliases": free[1:], "options": options}
            models[free[0]] = Model.model_validate(entry)
    return config.model_copy(update={"models": models}), tuple(notes)
