"""`config explain` and `config show`: the value of a key, and where it came from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from corral.config.fields import is_secret
from corral.config.load import Loaded
from corral.config.problems import Keys, dotted
from corral.config.schema import Config
from corral.config.sentences import field_help, section_at
from corral.contracts.options import OptionTable
from corral.domain.errors import ConfigError
from corral.domain.names import near_names

HIDDEN: Final = "(secret)"
_INHERITED: Final = ("engine", "ttl", "timeouts", "options", "env", "binary")


@dataclass(frozen=True, slots=True)
class Explained:
    """`value` is None for what is not set; `origin` is `default`, `FILE:LINE`, a variable or `the command line`."""

    key: str
    value: Any
    origin: str
    help: str


def shown_config(config: Config) -> dict[str, Any]:
    """The whole effective config as plain data, secrets hidden. Models and groups show what was set for them."""
    data = config.model_dump()
    data["models"] = {name: model.model_dump(exclude_unset=True) for name, model in config.models.items()}
    data["groups"] = {name: group.model_dump(exclude_unset=True) for name, group in config.groups.items()}
    result: dict[str, Any] = _plain(data, ())
    return result


def _plain(value: Any, keys: Keys) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item, (*keys, str(key))) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, (*keys, index)) for index, item in enumerate(value)]
    return HIDDEN if value and is_secret(keys) else str(value) if isinstance(value, str) else value


def explain(loaded: Loaded, key: str, *, tables: Mapping[str, OptionTable]) -> Explained:
    """What this dotted key is now. Raises ConfigError, with near names, for a key that does not exist."""
    keys = _parse(key, loaded.config)
    value = _at(shown_config(loaded.config), keys)
    origin = _origin(loaded, keys)
    if origin is None and len(keys) > 2 and keys[0] == "models" and keys[2] in _INHERITED:
        shared = _shared_keys(loaded.config, keys)
        value, origin = _at(shown_config(loaded.config), shared), _origin(loaded, shared)
        origin = f"{dotted(shared)}, {origin or 'default'}"
    elif origin is None and value is None:
        value = _at(_plain(loaded.config.model_dump(), ()), keys)
    text = field_help(keys)
    option = _option(keys, loaded.config, tables)
    if option is not None:
        text = f"{option.help} ({option.allowed()})"
        if value is None and option.default is not None:
            value, origin = option.default, "default of the engine's options"
    return Explained(dotted(keys), value, origin or "default", text)


def _shared_keys(config: Config, keys: Keys) -> Keys:
    """The key under `defaults` that stands behind a Model's key."""
    model = config.models[str(keys[1])]
    if keys[2] in ("options", "binary", "env"):
        return ("defaults", keys[2], model.engine or config.defaults.engine, *keys[3:])
    return ("defaults", *keys[2:])


def _option(keys: Keys, config: Config, tables: Mapping[str, OptionTable]) -> Any:
    engine = ""
    if len(keys) == 4 and keys[0] == "models" and keys[2] == "options":
        engine = config.models[str(keys[1])].engine or config.defaults.engine
    elif len(keys) == 4 and keys[:2] == ("defaults", "options"):
        engine = str(keys[2])
    return next((spec for spec in tables.get(engine, ()) if spec.name == keys[-1]), None)


def _origin(loaded: Loaded, keys: Keys) -> str | None:
    if keys in loaded.places:
        return loaded.places[keys]
    if keys in loaded.lines:
        return f"{loaded.owners.get(keys, loaded.file)}:{loaded.lines[keys]}"
    if keys and isinstance(keys[-1], int):
        return _origin(loaded, keys[:-1])
    return None


def _at(data: Any, keys: Keys) -> Any:
    for key in keys:
        try:
            data = data[key]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _parse(key: str, config: Config) -> Keys:
    """Dotted text -> keys. Names of Models may have dots; `keys[0]` and `keys.0` are the same."""
    names = [name for name in re.sub(r"\[(\d+)\]", r".\1", key).split(".") if name]
    keys: Keys = ()
    data: Any = config.model_dump()
    while names:
        known = _known(keys, data)
        used = next((n for n in range(len(names), 0, -1) if ".".join(names[:n]) in known), 0)
        if not used:
            if known or not isinstance(data, dict) or section_at(keys) is not None:
                near = near_names(names[0], known, most=1)
                here = f" in {dotted(keys)}" if keys else ""
                listed = ", ".join(sorted(known)[:30])
                hint = f"Did you mean {near[0]!r}?" if near else f"There is: {listed}." if listed else ""
                raise ConfigError(f"there is no key {names[0]!r}{here}.", key=key, hint=hint)
            used = 1  # a free mapping such as options: whatever is asked for is simply not set
        step = ".".join(names[:used])
        keys = (*keys, int(step) if isinstance(data, list | tuple) else step)
        names, data = names[used:], _at(data, (keys[-1],))
    return keys


def _known(keys: Keys, data: Any) -> list[str]:
    section = section_at(keys)
    if section is not None and keys not in (("models",), ("groups",)):
        return list(section.model_fields)
    if isinstance(data, list | tuple):
        return [str(index) for index in range(len(data))]
    if isinstance(data, dict) and (keys in (("models",), ("groups",))):
        return list(data)
    return []
