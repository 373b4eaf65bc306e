"""
What a config names and this machine does not have, or has in a kind that cannot be loaded so: no reason to refuse the
config, in which other Models are well, but to warn of it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping

from corral.contracts.engine import Engine
from corral.domain.errors import StoreFailed
from corral.domain.fleet import Fleet, ModelSpec

_NO_PROGRAM = ("", "embedded")  # the engine finds its own


def warnings(fleet: Fleet, engines: Mapping[str, Engine]) -> list[str]:
    """One sentence for each file and program that is missing or is not what its place wants."""
    return [
        f"models.{name}: {sentence}"
        for name, model in fleet.models.items()
        for sentence in _of(model, engines[model.engine])
    ]


def _of(model: ModelSpec, engine: Engine) -> list[str]:
    from corral.store.files import resolve

    found = []
    path, binary = model.source.path, model.binary
    if path and not os.path.exists(path):
        found.append(f"the file {path} does not exist (yet).")
    elif path and engine.resolved(model).source.path:  # else a file of its own kind, which no one reads but the program
        try:
            resolve(path)
            found += engine.misfits(model)
        except StoreFailed as error:
            found.append(error.sentence() if path in error.message else f"{path}: {error.sentence()}")
    if binary not in _NO_PROGRAM and shutil.which(binary) is None:
        found.append(f"the program {binary} does not exist, or may not be executed.")
    return found
