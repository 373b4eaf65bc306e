"""`config explain` and `config show`: the value of a key, and where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from corral.config.fields import is_secret
from corral.config.keypath import at, resolve, shown
from corral.config.kinds import kind_of
from corral.config.load import Loaded
from corral.config.problems import Keys, dotted
from corral.config.schema import Config
from corral.config.sentences import field_help, near_option
from corral.contracts.options import OptionSpec, OptionTable
from corral.domain.errors import ConfigError

HIDDEN: Final = "(secret)"
ENGINE_DEFAULT: Final = "default of the engine's options"
_INHERITED: Final = (
    "engine", "ttl", "keep_alive", "timeouts", "loading_state", "options", "load_options", "args", "env", "binary",
    "listed_aliases",
)  # fmt: skip


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
    secrets = _secrets(data, ())
    result["macros"] = _without(secrets, result["macros"])
    for model in result["models"].values():
        if "macros" in model:
            model["macros"] = _without(secrets, model["macros"])
    return result


def _secrets(value: Any, keys: Keys) -> frozenset[str]:
    """The values that are not shown: a macro that one of them came from is not shown either."""
    if isinstance(value, Mapping):
        return frozenset[str]().union(*(_secrets(item, (*keys, str(key))) for key, item in value.items()))
    if isinstance(value, list | tuple):
        return frozenset[str]().union(*(_secrets(item, (*keys, index)) for index, item in enumerate(value)))
    return frozenset({value}) if isinstance(value, str) and value and is_secret(keys) else frozenset()


def _without(secrets: frozenset[str], value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without(secrets, item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without(secrets, item) for item in value]
    shown_there = isinstance(value, str) and any(value in secret for secret in secrets) and len(value) > 3
    return HIDDEN if shown_there else value


def _plain(value: Any, keys: Keys) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item, (*keys, str(key))) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, (*keys, index)) for index, item in enumerate(value)]
    return HIDDEN if value and is_secret(keys) else str(value) if isinstance(value, str) else value


def explain(loaded: Loaded, key: str, *, tables: Mapping[str, OptionTable]) -> Explained:
    """What this dotted key is now. Raises ConfigError, with near names, for a key that does not exist."""
    keys = resolve(key, loaded.config.model_dump())
    effective = shown_config(loaded.config)
    value, origin = at(effective, keys), _origin(loaded, keys)
    taken_away = origin is not None and value is None
    if origin is None and len(keys) > 2 and keys[0] == "models" and keys[2] in _INHERITED:
        shared = _shared_keys(loaded.config, keys)
        value, origin = at(effective, shared), _origin(loaded, shared)
        origin = f"{dotted(shared)}, {origin or 'default'}"
    elif origin is None and value is None:
        value = at(_plain(loaded.config.model_dump(), ()), keys)
    text, kind = field_help(keys), kind_of(keys)
    if text and kind:
        text = f"{text} ({kind})"
    option = _option(keys, loaded.config, tables)
    if option is not None:
        text = f"{option.help} ({option.allowed()})"
        if value is None and option.default is not None:
            value = option.default
            origin = f"{origin} says null: the engine's own default counts" if taken_away else ENGINE_DEFAULT
    return Explained(shown(keys), value, origin or "default", text)


def _shared_keys(config: Config, keys: Keys) -> Keys:
    """The key under `defaults` that stands behind a Model's key."""
    model = config.models[str(keys[1])]
    if keys[2] in ("options", "load_options", "binary", "args", "env"):
        return ("defaults", keys[2], model.engine or config.defaults.engine, *keys[3:])
    return ("defaults", *keys[2:])


def _option(keys: Keys, config: Config, tables: Mapping[str, OptionTable]) -> OptionSpec | None:
    engine = ""
    if len(keys) == 4 and keys[0] == "models" and keys[2] == "options":
        engine = config.models[str(keys[1])].engine or config.defaults.engine
    elif len(keys) == 4 and keys[:2] == ("defaults", "options"):
        engine = str(keys[2])
    if engine not in tables:
        return None
    table = {spec.name: spec for spec in tables[engine]}
    if keys[-1] not in table:
        raise ConfigError(f"{engine} has no option {keys[-1]!r}.", key=dotted(keys), hint=near_option(keys[-1], table))
    return table[keys[-1]]


def _origin(loaded: Loaded, keys: Keys) -> str | None:
    if keys in loaded.places:
        return loaded.places[keys]
    if keys in loaded.lines:
        return f"{loaded.owners.get(keys, loaded.file)}:{loaded.lines[keys]}"
    if keys and isinstance(keys[-1], int):
        return _origin(loaded, keys[:-1])
    return None
