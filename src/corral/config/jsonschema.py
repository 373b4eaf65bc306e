"""
The JSON Schema of corral.yaml, for editors and other programs: from the pydantic models and the engines' option tables.

Where a number or a word is wanted a template may stand too, so each such place also takes a text with one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from corral.config.schema import Config
from corral.contracts.options import OptionKind, OptionSpec, OptionTable

_TEMPLATE: Final = {"$ref": "#/$defs/template"}
_COMMAND: Final = {"type": "array", "items": {"type": ["string", "number"]}, "minItems": 1}
_SIZE: Final = {"type": ["string", "integer"]}
_SIMPLE: Final = {"integer", "number", "boolean"}


def json_schema(tables: Mapping[str, OptionTable]) -> dict[str, Any]:
    """The schema (draft 2020-12) with the options of these engines."""
    schema = Config.model_json_schema(mode="validation")
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "corral.yaml"}
    definitions = schema["$defs"]
    definitions["template"] = {
        "description": "A text with ${env.NAME}, ${macro}, {{ path.to.value }} or {model} in it.",
        "type": "string",
        "pattern": r"\$\{|\{\{|\{model\}",
    }
    schema["patternProperties"] = {"^x-": {"description": "Ignored: a place for anchors and for values of your own."}}
    for name in list(definitions):
        if name != "template":
            definitions[name] = _open_to_templates(definitions[name])
    schema["properties"] = {key: _nullable(_open_to_templates(value)) for key, value in schema["properties"].items()}
    schema["properties"]["version"] = {"const": 1, "default": 1, "description": "The version of this schema."}
    for engine, table in tables.items():
        definitions[f"options_{engine}"] = {
            "type": ["object", "null"],
            "additionalProperties": False,
            "properties": {spec.name: _option(spec) for spec in table},
        }
    _add_options(definitions, list(tables))
    return schema


def _add_options(definitions: dict[str, Any], engines: list[str]) -> None:
    shared = definitions["Defaults"]["properties"]["options"]
    shared.pop("additionalProperties", None)
    shared["properties"] = {engine: {"$ref": f"#/$defs/options_{engine}"} for engine in engines}
    shared["additionalProperties"] = False
    model = definitions["Model"]
    model["properties"]["engine"] = {**model["properties"]["engine"], "enum": ["", *engines]}
    definitions["Defaults"]["properties"]["engine"]["enum"] = engines
    if not engines:
        return
    model["allOf"] = [
        {
            "if": {"properties": {"engine": {"const": engine}}, "required": ["engine"]},
            "then": {"properties": {"options": {"$ref": f"#/$defs/options_{engine}"}}},
        }
        for engine in engines
    ]
    any_engine = [{"$ref": f"#/$defs/options_{engine}"} for engine in engines]
    model["allOf"].append({"if": {"required": ["engine"]}, "else": {"properties": {"options": {"anyOf": any_engine}}}})


def _option(spec: OptionSpec) -> dict[str, Any]:
    word = {"enum": list(spec.words)}
    kinds: dict[OptionKind, dict[str, Any]] = {
        OptionKind.INT: {"type": "integer"},
        OptionKind.FLOAT: {"type": "number"},
        OptionKind.BOOL: {"anyOf": [{"type": "boolean"}, {"enum": ["on", "off", "yes", "no"]}]},
        OptionKind.STR: {"type": "string"},
        OptionKind.PATH: {"type": "string"},
        OptionKind.COMMAND: {"anyOf": [_COMMAND, {"type": "string"}]},
        OptionKind.SIZES: {"anyOf": [_SIZE, {"type": "object", "additionalProperties": _SIZE}]},
        OptionKind.LIST: {
            "anyOf": [{"type": "array", "items": {"type": ["string", "number"]}}, {"type": ["string", "number"]}]
        },
        OptionKind.PATHS: {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]},
        OptionKind.SIZE: {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": r"^ *\d+(\.\d+)? *[a-zA-Z]*$"}]},
    }
    if spec.kind is OptionKind.ENUM:
        value: dict[str, Any] = word
    else:
        value = kinds[spec.kind]
        if spec.minimum is not None:
            value["minimum"] = spec.minimum
        if spec.maximum is not None:
            value["maximum"] = spec.maximum
        value = {"anyOf": [value, word]} if spec.words else value
    choices = [*value["anyOf"]] if "anyOf" in value else [value]
    if {"on", "off"} <= set(spec.words):
        choices.append({"type": "boolean"})
    shown: dict[str, Any] = {"description": spec.help, "anyOf": [*choices, {"type": "null"}, _TEMPLATE]}
    if spec.default is not None:
        shown["default"] = list(spec.default) if isinstance(spec.default, tuple) else spec.default
    return shown


def _open_to_templates(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema in which every number, boolean, word and sized text may be a template, and every key null."""
    # pydantic leaves the bounds of a field with a validator of its own under its own names
    result = {{"ge": "minimum", "le": "maximum"}.get(key, key): value for key, value in schema.items()}
    if "properties" in result:
        result["properties"] = {name: _nullable(_open_to_templates(sub)) for name, sub in result["properties"].items()}
        required = set(result.get("required", ()))
        for name in required:
            result["properties"][name] = _open_to_templates(schema["properties"][name])
    for key in ("items", "additionalProperties"):
        if isinstance(result.get(key), dict):
            result[key] = _open_to_templates(result[key])
    return result


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """`null` is unset, and a template may stand for any value that is not a section."""
    about: dict[str, Any] = {key: schema[key] for key in ("description", "default") if key in schema}
    value = {key: item for key, item in schema.items() if key not in ("description", "default", "title")}
    if not value:
        return about
    choices = value["anyOf"] if set(value) == {"anyOf"} else [value]
    section = any("$ref" in choice or choice.get("type") == "object" for choice in choices)
    if section:
        about.pop("default", None)  # every key in it has its own
    extra = [] if section or {"type": "string"} in choices else [_TEMPLATE]
    null = [] if {"type": "null"} in choices else [{"type": "null"}]
    return {**about, "anyOf": [*choices, *null, *extra]}


def dumps(tables: Mapping[str, OptionTable]) -> str:
    """The schema as the published file has it."""
    return json.dumps(json_schema(tables), indent=2, ensure_ascii=False) + "\n"
