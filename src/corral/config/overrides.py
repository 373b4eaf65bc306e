"""
What lies over the file: `CORRAL_*` environment variables, then the command line.

A variable is `CORRAL_` and the key's path in capitals, with two underscores between the steps, because keys have single
ones: `CORRAL_SERVER__PORT`, `CORRAL_MEMORY__RAM`, `CORRAL_DEFAULTS__OPTIONS__LLAMACPP__CTX_SIZE`. Keys of the top have
none: `CORRAL_STATE_DIR`. A name with two underscores that fits no key is an error; any other unknown `CORRAL_` name is
left alone (Kubernetes sets `CORRAL_PORT` and the like for a Service called corral). Models and groups are not set this
way: their names do not survive it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from corral.config.document import Document, EnvText, GivenText
from corral.config.fields import is_secret
from corral.config.problems import ConfigErrors, Keys, Problems
from corral.config.schema import Config
from corral.config.sentences import is_section, section_at
from corral.config.yaml_text import parse
from corral.domain.names import near_names

PREFIX: Final = "CORRAL_"
COMMAND_LINE: Final = "the command line"
"""The label of what was typed."""
_FREE_FROM: Final[dict[Keys, int]] = {
    ("macros",): 2,
    ("defaults", "options"): 4,
    ("defaults", "binary"): 3,
    ("defaults", "args"): 4,
    ("defaults", "env"): 4,
}


@dataclass(frozen=True, slots=True)
class Override:
    """One value over the file. `label` says where it came from, for messages and `config explain`."""

    keys: Keys
    value: Any
    label: str
    command_line: bool = False


def variables(env: Mapping[str, str]) -> tuple[list[Override], list[tuple[str, str]]]:
    """The overrides in the environment, and (variable, sentence) for those that fit no key."""
    found: list[Override] = []
    wrong: list[tuple[str, str]] = []
    for name in sorted(env):
        if not name.startswith(PREFIX):
            continue
        keys = tuple(step.lower() for step in name.removeprefix(PREFIX).split("__"))
        if len(keys) == 1:
            if keys[0] in _top_values():
                found.append(Override(keys, GivenText(env[name]), name))
            continue
        why = _misfit(keys)
        if why:
            wrong.append((name, why))
            continue
        if keys[:2] == ("defaults", "env"):
            keys = (*keys[:3], name.removeprefix(PREFIX).split("__", 3)[3])  # these names keep their case
        try:
            found.append(Override(keys, _value(env[name], keys), name))
        except ConfigErrors as error:
            wrong.append((name, error.problems[0].message))
    return found, wrong


def _value(text: str, keys: Keys) -> Any:
    """Text, or what a text in [brackets] or {braces} means in YAML."""
    if text.lstrip()[:1] in ("[", "{"):
        return parse(f"value: {text}").data["value"]
    return EnvText(text) if is_secret(keys) or keys == ("server", "keys") else GivenText(text)


def _top_values() -> list[str]:
    """Keys of the top that hold one value. `version` describes the file, so it is not set from outside."""
    fields = Config.model_fields.items()
    return [name for name, field in fields if not is_section(field.annotation) and name != "version"]


def _misfit(keys: Keys) -> str:
    """Why these keys cannot be set by a variable; "" when they can."""
    if keys[0] in ("models", "groups"):
        return "Models and groups are set in the file, not by variables."
    for start, length in _FREE_FROM.items():
        if keys[: len(start)] == start:
            return "" if len(keys) >= length else "this variable names a whole section; name one value in it."
    section = section_at(keys[:-1])
    if section is not None and keys[-1] in section.model_fields:
        whole = section_at(keys) is not None
        return "this variable names a whole section; name one value in it." if whole else ""
    near = near_names(_spelled(keys), [_spelled(known) for known in _all_values()], most=1)
    return "this variable fits no key." + (f" Did you mean {near[0]}?" if near else "")


def _spelled(keys: Keys) -> str:
    return PREFIX + "__".join(str(key) for key in keys).upper()


def _all_values(keys: Keys = ()) -> list[Keys]:
    section = section_at(keys)
    if section is None:
        return [keys]
    return [found for name in section.model_fields for found in _all_values((*keys, name))]


def apply(document: Document, overrides: list[Override], problems: Problems) -> None:
    """Lay the overrides over the document's data, later ones over earlier ones."""
    for override in overrides:
        place: Any = document.data
        for key in override.keys[:-1]:
            below = place.get(key)
            if not isinstance(below, dict):
                # A section that is null or missing; where it is something else, its own error follows.
                below = place[key] = {}
            place = below
        place[override.keys[-1]] = override.value
        problems.places[override.keys] = override.label
