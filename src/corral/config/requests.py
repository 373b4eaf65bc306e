"""`request`, `profiles` and `server.default_model` of the config -> what the gateway does to requests."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from corral.config.document import EnvText, plain_value
from corral.config.problems import Keys, Problems
from corral.config.schema import Config, Profile, RequestSection, Server
from corral.domain.names import MODEL_NAME, near_names
from corral.domain.requests import ROUTING_FIELDS, DefaultModels, ProfileSpec, RequestRules, fits


def request_rules(section: RequestSection, keys: Keys, problems: Problems) -> RequestRules | None:
    """The rules, None where there are none. What is wrong is added to `problems`."""
    for part in ("defaults", "strip", "set"):
        for at, name in enumerate(getattr(section, part)):
            if name in ROUTING_FIELDS:
                here: Keys = (*keys, part, at if part == "strip" else name)
                problems.add(
                    f"{name!r} is what a request is about, or how it is answered: it cannot be in `{part}`", keys=here
                )
    for name in section.defaults:
        if name in section.strip or name in section.set:
            problems.add(
                f"a default for {name!r} would never count: it is {'set' if name in section.set else 'stripped'} too",
                keys=(*keys, "defaults", name),
            )
    rules = RequestRules(
        defaults=_plain(section.defaults, (*keys, "defaults"), problems),
        strip=section.strip,
        set=_plain(section.set, (*keys, "set"), problems),
    )
    return rules if rules != RequestRules() else None


def profiles(model: str, given: Mapping[str, Profile], problems: Problems) -> tuple[ProfileSpec, ...]:
    """The profiles of a Model."""
    found = []
    for name, section in given.items():
        keys: Keys = ("models", model, "profiles", name)
        rules = request_rules(section, keys, problems)
        spec = ProfileSpec(name, rules or RequestRules(), section.aliases)
        if rules is None:
            problems.add(
                f"the profile {name!r} changes nothing", keys=keys, hint="Give it `defaults`, `strip` or `set`."
            )
        elif ":" in name or not MODEL_NAME.match(f"{model}:{name}"):
            problems.add(f"{name[:60]!r} cannot be the name of a profile: letters, digits and . _ / @ + -", keys=keys)
        found.append(spec)
    return tuple(found)


def _plain(values: Mapping[str, Any], keys: Keys, problems: Problems) -> dict[str, object]:
    """The values as JSON has them."""
    return {name: _json(value, (*keys, name), problems) for name, value in values.items()}


def _json(value: Any, keys: Keys, problems: Problems) -> object:
    if isinstance(value, EnvText):
        return plain_value(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _json(item, (*keys, key), problems) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item, (*keys, index), problems) for index, item in enumerate(value)]
    if value is not None and not isinstance(value, bool | int | float):
        problems.add(f"a request cannot hold {value!r}: write it in quotes", keys=keys)
    elif isinstance(value, float) and not math.isfinite(value):
        problems.add(f"a request cannot hold {value!r}", keys=keys)
    return value


def default_models(config: Config, problems: Problems) -> DefaultModels:
    """Who answers requests that name no Model; every name must be one of a Model that can be meant."""
    server: Server = config.server
    tasks = {name: model.task or "" for name, model in config.models.items()}
    for name, model in config.models.items():
        further = [*model.aliases]
        for profile, section in model.profiles.items():
            further += [f"{name}:{profile}", *section.aliases]
        tasks.update({each: model.task or "" for each in further if each not in tasks})
    for task, name in server.default_model.items():
        keys: Keys = ("server", "default_model", task)
        if name not in tasks:
            near = near_names(name, tasks, most=1)
            problems.add(f"there is no Model {name!r}.", keys=keys, hint=f"Did you mean {near[0]!r}?" if near else "")
        elif not fits(task, tasks[name]):
            problems.add(f"{name!r} is for {tasks[name]}: it cannot be the default for {task}", keys=keys)
    return DefaultModels(
        {str(task): name for task, name in server.default_model.items()}, server.unknown_model == "default"
    )
