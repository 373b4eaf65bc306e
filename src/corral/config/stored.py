"""Models that are in the store and not in the config: served as if they stood there with nothing but their source."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from corral.config.compile import Base, EngineRules
from corral.config.schema import Config, Model
from corral.domain.storage import StoredModel

ENGINE: Final = "llamacpp"
_PROJECTOR: Final = "mmproj"

Stored = Callable[[str], Sequence[StoredModel]]
"""What stands in the store at this path. Blocks on the disk."""


def with_stored(config: Config, found: Sequence[StoredModel], engines: Mapping[str, EngineRules], base: Base) -> Config:
    """
    The config with them. What stands in the file goes before: its names, its aliases, and the files that it serves.
    """
    if ENGINE not in engines:
        return config
    projects = any(spec.name == _PROJECTOR for spec in engines[ENGINE].options)
    taken = set(config.models)
    for name, model in config.models.items():
        taken.update(model.aliases)
        for profile, section in model.profiles.items():
            taken.update((f"{name}:{profile}", *section.aliases))
    served = {
        os.path.realpath(base.resolve(model.source.path, ("models", name, "source")))
        for name, model in config.models.items()
        if model.source.path
    }
    models = dict(config.models)
    for each in found:
        if os.path.realpath(each.path) in served:
            continue
        free = [name for name in dict.fromkeys((each.name, *each.aliases)) if name not in taken]
        if free:
            taken.update(free)
            options: dict[str, Any] = {_PROJECTOR: each.projector} if each.projector and projects else {}
            entry = {"source": each.path, "engine": ENGINE, "aliases": free[1:], "options": options}
            models[free[0]] = Model.model_validate(entry)
    return config.model_copy(update={"models": models})
