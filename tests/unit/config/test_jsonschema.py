"""The published JSON Schema: up to date, and of one opinion with the loader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from corral import registry
from corral.config.jsonschema import dumps, json_schema
from corral.config.problems import ConfigErrors
from corral.config.profiles import STARTER
from corral.config.yaml_text import parse
from corral.contracts.options import OptionTable
from tests.unit.config.conftest import Loader

PUBLISHED = Path(__file__).parents[3] / "docs" / "corral.schema.json"


def engine_tables() -> dict[str, OptionTable]:
    return {name: engine.options for name, engine in registry.engines().items()}


def accepts(schema: dict[str, Any], text: str) -> bool:
    validator = jsonschema.Draft202012Validator(schema)
    return bool(validator.is_valid(parse(text).data))


def test_the_published_schema_is_up_to_date() -> None:
    assert PUBLISHED.read_text() == dumps(engine_tables()), "run: corral config schema > docs/corral.schema.json"


def test_it_is_a_schema_and_every_key_has_a_description(tables: dict[str, OptionTable]) -> None:
    schema = json_schema(tables)
    jsonschema.Draft202012Validator.check_schema(schema)
    sections = [schema, *schema["$defs"].values()]
    for section in sections:
        for name, field in section.get("properties", {}).items():
            refers = any("$ref" in choice for choice in field.get("anyOf", [field]))
            assert field.get("description") or refers, name


@pytest.mark.parametrize(
    "text",
    [
        STARTER,
        "{}",
        "server:\nmodels:\n",
        "x-a: [1]\nserver: {port: '${env.P:-1}', open: yes, drain: '{{ x-a.0 }}', body_limit: 1 GiB, keepalive: 1h30m}",
        "memory: {ram: auto, reserve: 512MiB}\ndefaults: {ttl: never, options: {llamacpp: {ctx_size: '${env.C:-1}'}}}",
        "models: {a: {source: {path: x}, aliases: b, options: {flash_attn: on, n_gpu_layers: 0, mlock: null}}}",
        "models: {a: {source: x, engine: other, options: {n_gpu_layers: all}, args: {a: [1, b]}, env: {A: 1}}}",
        "models: {a: {source: x}}\ngroups: {g: {members: [a], swap: off}}",
        "server: {keys: [{name: a, sha256: " + "a" * 64 + ", scopes: [inference, admin]}]}",
    ],
)
def test_what_the_loader_takes_the_schema_takes(config: Loader, tables: dict[str, OptionTable], text: str) -> None:
    config(text)
    assert accepts(json_schema(tables), text)


@pytest.mark.parametrize(
    "text",
    [
        "sever: {}",
        "server: {prot: 1}",
        "server: {port: abc}",
        "server: {port: 70000}",
        "server: {body_limit: much}",
        "log: {level: loud}",
        "defaults: {ttl: soon}",
        "defaults: {options: {nope: {}}}",
        "models: {a: {source: x, options: {ctx_sise: 1}}}",
        "models: {a: {source: x, engine: other, options: {ctx_sise: 1}}}",
        "models: {a: {source: x, options: {ctx_size: -1}}}",
        "models: {a: {source: x, engine: nope}}",
        "models: {a: {source: x, args: {a: {}}}}",
        "groups: {g: {}}",
        "version: 2",
    ],
)
def test_what_the_loader_refuses_the_schema_refuses(config: Loader, tables: dict[str, OptionTable], text: str) -> None:
    with pytest.raises(ConfigErrors):
        config(text)
    assert not accepts(json_schema(tables), text)


def test_the_schema_is_json() -> None:
    assert json.loads(dumps(engine_tables()))["title"] == "corral.yaml"
