"""A config from nothing but model files, and models of the store: `corral serve a.gguf tiny-q4_k_m`."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from corral.config.document import Document
from corral.config.problems import ConfigErrors, Keys
from corral.domain.errors import ConfigError
from corral.domain.fleet import Fleet
from corral.domain.storage import StoredModel

_PART = re.compile(r"-(\d{5})-of-(\d{5})$")


def document_for(
    files: Sequence[str], *, cwd: str, stored: Sequence[StoredModel] = (), onto: Document | None = None
) -> Document:
    """
    A document with one Model for each file (of a split one: for its part 1; of a folder: for each .gguf file in it),
    and one for each of `stored`, with the name that it has there.

    The Models are added to those of `onto`. Raises ConfigErrors for files that are not there, or not GGUF by name.
    """
    document = onto or Document()
    models: Any = document.data.get("models")
    if not isinstance(models, dict):
        models = document.data["models"] = {}
    problems: list[ConfigError] = []
    for path in _without_later_parts(_expanded([os.path.join(cwd, file) for file in files])):
        problem = _problem(path)
        if problem:
            problems.append(ConfigError(problem, file=path))
        else:
            _add(document, model_name(path), path)
    if problems:
        raise ConfigErrors(problems)
    for each in stored:
        _add(document, each.name, each.path, each.projector, each.aliases, each.adapters)
    return document


def as_pulled(fleet: Fleet, stored: Sequence[StoredModel]) -> Fleet:
    """The Fleet in which Models of the store are shown to Ollama's clients by what they would pull them by."""
    names = {each.path: each.pulled for each in stored if each.pulled}
    models = {
        name: replace(model, pulled=names[model.source.path])
        if names.get(model.source.path) in (name, *model.aliases)
        else model
        for name, model in fleet.models.items()
    }
    return replace(fleet, models=models)


def _add(
    document: Document,
    wanted: str,
    path: str,
    projector: str = "",
    aliases: Sequence[str] = (),
    adapters: Sequence[str] = (),
) -> None:
    """A Model under this name, or the next free one; what looks like a template in a path is none."""
    models = document.data["models"]
    given = (model.get("aliases") or () for model in models.values() if isinstance(model, dict))
    taken = set(models).union(*given)
    name = _free_name(wanted, taken)
    entry: dict[str, Any] = {"source": path}
    if projector:
        entry["source"] = {"path": path, "mmproj": projector}
    if adapters:
        entry["options"] = {"lora": list(adapters)}
        document.literal.update(("models", name, "options", "lora", number) for number in range(len(adapters)))
    if free := [alias for alias in dict.fromkeys(aliases) if alias not in taken and alias != name]:
        entry["aliases"] = free
    models[name] = entry
    keys: Keys = ("models", name, "source")
    document.literal.update((keys, (*keys, "path"), (*keys, "mmproj")))


def model_name(path: str) -> str:
    """The name of a Model made from a file: its stem, without the number of a part, in characters a name may have."""
    stem = os.path.basename(path)
    stem = stem[:-5] if stem.lower().endswith(".gguf") else stem
    stem = re.sub(r"[^A-Za-z0-9._:@+-]+", "-", _PART.sub("", stem))
    return re.sub(r"^[^A-Za-z0-9]+", "", stem)[:200].rstrip("-") or "model"


def _expanded(paths: list[str]) -> list[str]:
    """Folders replaced by the model files in them; a projector (`mmproj`) is no Model."""
    found: list[str] = []
    for path in paths:
        if not os.path.isdir(path):
            found.append(path)
            continue
        names = sorted(name for name in os.listdir(path) if name.lower().endswith(".gguf"))
        names = [name for name in names if not name.lower().startswith("mmproj")]
        found += [os.path.join(path, name) for name in names] or [path]
    return list(dict.fromkeys(os.path.normpath(path) for path in found))


def _without_later_parts(paths: list[str]) -> list[str]:
    """Parts 2, 3, ... are left out where part 1 is in the list as well (a shell's `*.gguf`)."""

    def first_part(path: str) -> str:
        return _PART.sub(lambda match: f"-00001-of-{match[2]}", path.removesuffix(".gguf")) + ".gguf"

    return [
        path
        for path in paths
        if first_part(path) == path or not path.endswith(".gguf") or first_part(path) not in paths
    ]


def _problem(path: str) -> str:
    if os.path.isdir(path):
        return "there is no .gguf file in this folder"
    if not os.path.exists(path):
        return "there is no such file"
    part = _PART.search(path.removesuffix(".gguf"))
    if part and part[1] != "00001":
        return f"this is part {int(part[1])} of a split model; give part 1, the others are found beside it"
    if path.lower().endswith((".yaml", ".yml", ".toml")):
        return "this is no model file; a config is given with --config"
    return ""


def _free_name(name: str, taken: Collection[str]) -> str:
    if name not in taken:
        return name
    return next(f"{name}-{number}" for number in range(2, len(taken) + 3) if f"{name}-{number}" not in taken)
