"""What pydantic and the schema find wrong, as sentences with the right key and near names."""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel, ValidationError

from corral.config.fields import hidden, shown
from corral.config.problems import Keys, Problems, dotted
from corral.config.schema import Config, Model
from corral.contracts.options import OptionTable
from corral.domain.names import near_names

_MUST_BE: Final[dict[str, str]] = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a text",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping with keys of its own",
    "model_type": "a mapping with keys of its own",
    "model_attributes_type": "a mapping with keys of its own",
}


def section_at(keys: Keys) -> type[BaseModel] | None:
    """The schema's section at this place; None for a single value or a free mapping such as `options`."""
    current: Any = Config
    for key in keys:
        if isinstance(current, type) and issubclass(current, BaseModel):
            field = current.model_fields.get(str(key))
            current = field.annotation if field else None
        elif get_origin(current) in (dict, tuple):
            arguments = get_args(current)
            current = arguments[1] if get_origin(current) is dict else arguments[0]
        else:
            return None
    return current if isinstance(current, type) and issubclass(current, BaseModel) else None


def field_help(keys: Keys) -> str:
    """The documentation of a key; "" where the schema has none."""
    section = section_at(keys[:-1]) if keys else None
    if section is not None and keys[-1] in section.model_fields:
        return section.model_fields[str(keys[-1])].description or ""
    found = section_at(keys)
    return (found.__doc__ or "").strip() if found is not None else ""


def unknown_key(keys: Keys, tables: Mapping[str, OptionTable]) -> tuple[str, str]:
    """The sentence and the hint for a key that its section does not have."""
    section, name = section_at(keys[:-1]), str(keys[-1])
    known = list(section.model_fields) if section is not None else []
    message = f"unknown key {name!r} in {dotted(keys[:-1])}." if keys[:-1] else f"unknown key {name!r}."
    near = near_names(name, known, most=1)
    if section is Model and not near:
        for engine, table in tables.items():
            if any(spec.name == name for spec in table):
                return message, f"It is an option of {engine}: write it under `options:`."
        if name in ("model", "path", "file", "gguf"):
            near = ("source",)
        elif name in ("cmd", "command"):
            return message, "Corral writes the command line itself, from `source`, `options` and `args`."
    return message, f"Did you mean {near[0]!r}?" if near else f"Known here: {', '.join(known)}."


def near_option(name: object, known: Iterable[str]) -> str:
    """The hint for an option that an engine does not have."""
    near = near_names(str(name), known, most=1)
    return f"Did you mean {near[0]!r}?" if near else "A flag that is no option goes under `args:`."


def add_errors(error: ValidationError, problems: Problems, tables: Mapping[str, OptionTable]) -> None:
    """Every error of pydantic as a problem."""
    errors = error.errors(include_url=False)
    places = [keys_of(found) for found in errors]
    for found, keys in zip(errors, places, strict=True):
        kind = found["type"]
        if problems.has(keys):
            continue
        if kind == "too_short" and any(place[: len(keys)] == keys != place for place in places):
            continue  # pydantic counts only the items that are right, and these are told one by one
        if kind == "extra_forbidden":
            message, hint = unknown_key(keys, tables)
            problems.add(message, keys=keys, hint=hint)
        elif kind == "missing":
            problems.add(f"{dotted(keys)} is missing", keys=keys)
        else:
            problems.add(f"{dotted(keys)} {_sentence(found)}", keys=keys)


def keys_of(found: Any) -> Keys:
    """Where one of pydantic's errors stands in the document."""
    return tuple(key for key in found["loc"] if key != "[key]")


def _sentence(found: Any) -> str:
    kind, value, context = found["type"], found["input"], found.get("ctx", {})
    if kind in _MUST_BE:
        return f"must be {_MUST_BE[kind]}, not {shown(value)}"
    match kind:
        case "value_error":
            text = _without_secret(str(context["error"]), value)
            return text if text.startswith(("must", "cannot", "has", "would")) else f"is wrong: {text}"
        case "literal_error":
            return f"must be {context['expected']}, not {shown(value)}"
        case "greater_than_equal" | "greater_than":
            return f"must be {context.get('ge', context.get('gt'))} or more, not {shown(value)}"
        case "less_than_equal" | "less_than":
            return f"must be {context.get('le', context.get('lt'))} or less, not {shown(value)}"
        case "too_short" | "string_too_short":
            return "must not be empty"
        case "string_too_long" | "too_long":
            return f"must be shorter: at most {context['max_length']}"
        case _:
            return f"is wrong: {found['msg']}"


def _without_secret(text: str, value: object) -> str:
    """The sentence with what came from the environment taken out."""
    if not hidden(value) or not value:
        return text
    for quoted in (repr(str(value)), repr(str(value)[:60]), str(value)):
        text = text.replace(quoted, shown(value))
    return text


def is_section(annotation: Any) -> bool:
    """True for a schema section, and for a mapping or list of them."""
    if isinstance(annotation, types.GenericAlias):
        return any(is_section(argument) for argument in get_args(annotation))
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
