"""`config explain` and `config show`."""

from __future__ import annotations

import json

import pytest

from corral.config.explain import HIDDEN, explain, shown_config
from corral.contracts.options import OptionTable
from corral.domain.errors import ConfigError
from tests.unit.config.conftest import Loader

TEXT = """\
server:
  port: 2
  keys:
    - {name: me, key: 0123456789abcdef}
defaults:
  ttl: 1h
  options: {llamacpp: {ctx_size: 8}}
models:
  qwen2.5:
    source: x
    options: {parallel: 2}
    env: {HF_TOKEN: abc, PLAIN: "1"}
"""


@pytest.mark.parametrize(
    ("key", "value", "origin"),
    [
        ("server.port", 2, "FILE:2"),
        ("server.host", "127.0.0.1", "default"),
        ("log.level", "debug", "CORRAL_LOG__LEVEL"),
        ("memory.reserve", "2GiB", "the command line"),
        ("server.keys[0].name", "me", "FILE:4"),
        ("server.keys.0.key", HIDDEN, "FILE:4"),
        ("models.qwen2.5.source", "x", "FILE:10"),
        ("models.qwen2.5.ttl", "1h", "defaults.ttl, FILE:6"),
        ("models.qwen2.5.timeouts.load", "10m", "defaults.timeouts.load, default"),
        ("models.qwen2.5.keep_alive.max", "never", "defaults.keep_alive.max, default"),
        ("models.qwen2.5.options.parallel", 2, "FILE:11"),
        ("models.qwen2.5.options.ctx_size", 8, "defaults.options.llamacpp.ctx_size, FILE:7"),
        ("models.qwen2.5.options.n_gpu_layers", "auto", "default of the engine's options"),
        ("models.qwen2.5.options.mlock", None, "defaults.options.llamacpp.mlock, default"),
        ("models.qwen2.5.pin", False, "default"),
        ("models.qwen2.5.env.HF_TOKEN", HIDDEN, "FILE:12"),
        ("models.qwen2.5.env.PLAIN", "1", "FILE:12"),
        ('models."qwen2.5".pin', False, "default"),
        ("models['qwen2.5'].pin", False, "default"),
        ("defaults.options.llamacpp.ctx_size", 8, "FILE:7"),
        ("defaults.options.llamacpp.parallel", 1, "default of the engine's options"),
        ("defaults.options.other.ctx_size", None, "default"),
    ],
)
def test_value_and_origin(config: Loader, tables: dict[str, OptionTable], key: str, value: object, origin: str) -> None:
    loaded = config(TEXT, {"CORRAL_LOG__LEVEL": "debug"}, {"memory.reserve": "2GiB"})
    found = explain(loaded, key, tables=tables)
    assert (found.value, found.origin.replace(config.file, "FILE")) == (value, origin)
    assert found.help or "keys" in key or ".env." in key


@pytest.mark.parametrize(
    ("key", "part"),
    [
        ("server.prot", "there is no key 'prot' in server. Did you mean 'port'?"),
        ("sever", "there is no key 'sever'. Did you mean 'server'?"),
        ("models.qwen", "there is no key 'qwen' in models."),
        ("server.port.x", "server.port is one value; there is nothing in it."),
        ("server.keys.7", "there is no item '7' in server.keys. It has items 0 to 0."),
        ("server.keys[x]", "'server.keys[x]' is no key."),
        ("", "'' is no key."),
        ("models.qwen2.5.options.paralel", "llamacpp has no option 'paralel'. Did you mean 'parallel'?"),
        ("defaults.options.llamacpp.zzz", "llamacpp has no option 'zzz'. A flag that is no option goes under `args:`."),
    ],
)
def test_a_key_that_is_not_there(config: Loader, tables: dict[str, OptionTable], key: str, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        explain(config(TEXT), key, tables=tables)
    assert part in caught.value.sentence()


def test_the_whole_config_is_shown_without_secrets(config: Loader) -> None:
    text = json.dumps(shown_config(config(TEXT).config))
    assert "0123456789abcdef" not in text and "abc" not in text
    assert json.loads(text)["models"]["qwen2.5"]["source"] == "x"
    assert json.loads(text)["defaults"]["timeouts"]["load"] == "10m"


def test_what_is_shown_can_be_read_again(config: Loader) -> None:
    text = "defaults: {ttl: 90s}\nmemory: {ram: 3GiB}\nmodels: {a: {source: /x, ttl: never}}\n"
    shown = shown_config(config(text).config)
    assert config(json.dumps(shown)).settings.fleet == config(text).settings.fleet


def test_a_macro_that_holds_a_secret_is_not_shown(config: Loader) -> None:
    text = (
        "macros: {k: 0123456789abcdef, half: fedcba98, n: 1, api_key: zzzzzzzz, all: {inner: [0123456789abcdef]}}\n"
        "server: {keys: [{name: a, key: '${k}'}, {name: b, key: '${half}76543210'}]}\n"
        "models: {m: {source: x, macros: {t: tokentoken}, env: {HF_TOKEN: '${t}', A: b}}}\n"
    )
    shown = shown_config(config(text).config)
    assert shown["macros"] == {
        "k": HIDDEN, "half": HIDDEN, "n": 1, "api_key": HIDDEN, "all": {"inner": [HIDDEN]},
    }  # fmt: skip
    assert shown["models"]["m"]["macros"] == {"t": HIDDEN} and shown["models"]["m"]["env"]["A"] == "b"


def test_null_that_takes_a_default_away_is_told_as_such(config: Loader, tables: dict[str, OptionTable]) -> None:
    text = "defaults: {options: {llamacpp: {parallel: 4}}}\nmodels:\n  a: {source: x,\n    options: {parallel: null}}\n"
    found = explain(config(text), "models.a.options.parallel", tables=tables)
    assert found.value == 1 and found.origin == f"{config.file}:4 says null: the engine's own default counts"
