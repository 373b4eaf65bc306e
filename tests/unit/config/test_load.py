"""Whole configs: what good ones mean, and that every problem of a bad one is told with its file and line."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from corral.config.load import load
from corral.config.problems import ConfigErrors
from corral.config.schema import Config, LimitsSection, Server, TimeoutsSection
from corral.config.settings import LogSpec
from corral.domain.devices import MemorySpec
from corral.domain.fleet import GroupSpec, Limits, Timeouts
from corral.domain.serving import KeySpec, Scope, ServerSpec
from corral.domain.units import FOREVER
from tests.unit.config.conftest import Loader

KEY = "0123456789abcdef"


def test_no_file_gives_the_defaults(config: Loader, tmp_path: Path) -> None:
    settings = load("", engines=config.engines, env={"HOME": "/home/user"}, cwd=str(tmp_path))
    assert (settings.server, settings.fleet.limits, settings.log) == (ServerSpec(), Limits(), LogSpec())
    assert (settings.memory, settings.keep_engines_s) == (MemorySpec(), None)
    assert settings.state_dir == "/home/user/.local/state/corral"


def test_the_schema_has_the_defaults_of_the_domain() -> None:
    timeouts = TimeoutsSection()
    assert Timeouts(**{f"{name}_s": getattr(timeouts, name) for name in TimeoutsSection.model_fields}) == Timeouts()
    assert LimitsSection().max_wait == Limits().max_wait_hot_s
    assert Server().body_limit == ServerSpec().body_limit_bytes
    assert Config().keep_for == 3600.0


def test_a_whole_config(config: Loader) -> None:
    settings = config(
        f"""
version: 1
server: {{host: 0.0.0.0, port: 8000, keys: [{{name: me, key: {KEY}, scopes: [admin]}},
                                             {{name: you, sha256: {"AB" * 32},
                                               priority: -7, max_concurrent: 2, max_waiting: 9}}],
         body_limit: 1MiB, drain: 5s, cors_origins: https://a.example, allowed_hosts: [a.example, b.example]}}
log: {{level: debug, format: json, file: logs/corral.log}}
memory: {{ram: 8GiB, reserve: 0}}
limits: {{queue_per_model: 5, queue_total: 6, max_wait: 3s, min_loaded: 2s, backoff_first: 500ms, backoff_max: 10s}}
defaults:
  ttl: never
  timeouts: {{load: 1m, idle: 5s}}
  keep_alive: {{min: 10s, max: 1h}}
  binary: {{llamacpp: ./llama-server}}
  env: {{llamacpp: {{A: "1", B: "2"}}, other: {{C: "3"}}}}
  options: {{llamacpp: {{ctx_size: 4096, mlock: yes, flash_attn: on, mmproj: p.gguf}}}}
models:
  a: {{source: a.gguf, aliases: [x, y], options: {{ctx_size: 0, mlock: null, parallel: 3, cache_ram: 1GiB,
      lora: [x.gguf, ~/y.gguf]}}, env: {{B: -1}}, ttl: 0, keep_alive: {{max: 20s}},
      args: {{z_last: true, a_first: [1, two], off: false, t: 0.5}},
      timeouts: {{load: 2m}}, title: A, metadata: {{k: [1]}}}}
  b: {{source: {{path: ~/b.gguf}}, pin: yes, preload: true, priority: 3, queue_limit: 7, unlisted: on, binary: prog}}
groups: {{g: {{members: [a, b], swap: false, exclusive: true, persistent: true}}}}
state_dir: state
on_exit: keep
keep_for: 2m
"""
    ).settings
    folder = str(config.folder)
    a, b = settings.fleet.models["a"], settings.fleet.models["b"]
    assert a.source.path == f"{folder}/a.gguf" and b.source.path == "/home/user/b.gguf"
    assert a.options == {
        "ctx_size": 0, "flash_attn": "on", "mmproj": f"{folder}/p.gguf", "parallel": 3, "cache_ram": 1024,
        "lora": (f"{folder}/x.gguf", "/home/user/y.gguf"),
    }  # fmt: skip
    assert b.options == {"ctx_size": 4096, "mlock": True, "flash_attn": "on", "mmproj": f"{folder}/p.gguf"}
    assert a.args == (("z_last", True), ("a_first", (1, "two")), ("off", False), ("t", 0.5)), "in the order of the file"
    assert dict(a.env) == {"A": "1", "B": "-1"}
    assert (a.slots, b.slots, a.aliases, a.ttl_s, b.ttl_s) == (3, 1, ("x", "y"), 0.0, FOREVER)
    assert (a.binary, b.binary) == (f"{folder}/llama-server", "prog")
    assert (a.timeouts.load_s, a.timeouts.idle_s, b.timeouts.load_s, b.timeouts.queue_s) == (120.0, 5.0, 60.0, 600.0)
    assert (a.keep_min_s, a.keep_max_s, b.keep_min_s, b.keep_max_s) == (10.0, 20.0, 10.0, 3600.0)
    assert (a.title, a.metadata) == ("A", {"k": [1]})
    assert (b.pin, b.preload, b.priority, b.queue_limit, b.unlisted) == (True, True, 3, 7, True)
    assert settings.fleet.groups == {"g": GroupSpec("g", ("a", "b"), swap=False, exclusive=True, persistent=True)}
    assert settings.fleet.limits == Limits(5, 6, 3.0, 2.0, 0.5, 10.0)
    assert (settings.memory.ram, settings.memory.reserved("ram")) == (8 * 1024**3, 0)
    server = settings.server
    assert (server.host, server.port, server.body_limit_bytes, server.drain_s) == ("0.0.0.0", 8000, 1024**2, 5.0)
    assert (server.cors_origins, server.allowed_hosts) == (("https://a.example",), ("a.example", "b.example"))
    assert server.keys == (
        KeySpec("me", hashlib.sha256(KEY.encode()).hexdigest(), frozenset({Scope.ADMIN})),
        KeySpec("you", "ab" * 32, frozenset({Scope.INFERENCE}), -7, 2, 9),
    )
    assert settings.log == LogSpec("debug", "json", f"{folder}/logs/corral.log")
    assert (settings.state_dir, settings.keep_engines_s) == (f"{folder}/state", 120.0)


def test_null_and_empty_sections_are_unset(config: Loader) -> None:
    settings = config("server:\nmodels:\ngroups:\ndefaults: {ttl: null}\n").settings
    assert (settings.server, settings.fleet.models) == (ServerSpec(), {})


def test_keys_beginning_with_x_are_free(config: Loader) -> None:
    text = 'x-models: {dir: /m}\nmodels: {a: {source: "{{ x-models.dir }}/a.gguf"}}\n'
    assert config(text).settings.fleet.models["a"].source.path == "/m/a.gguf"


def test_types_of_the_environment_follow_the_place(config: Loader) -> None:
    text = """
server: {port: "${env.P}", open: "${env.YES}", allowed_hosts: "${env.HOSTS}"}
models: {a: {source: a, options: {parallel: "${env.P}", temperature: "${env.ONE}", mlock: "${env.ON}",
  chat_template: "${env.P}", n_gpu_layers: "${env.AUTO}", stop: "${env.ONE}"}, env: {X: "${env.P}"}}}
"""
    env = {"P": "99", "YES": "1", "HOSTS": "a, b", "ONE": "1", "ON": "on", "AUTO": "auto"}
    settings = config(text, env).settings
    assert (settings.server.port, settings.server.open, settings.server.allowed_hosts) == (99, True, ("a", "b"))
    assert settings.fleet.models["a"].options == {
        "parallel": 99, "temperature": 1.0, "mlock": True, "chat_template": "99", "n_gpu_layers": "auto", "stop": ("1",),  # noqa: E501
    }  # fmt: skip
    assert settings.fleet.models["a"].env == (("X", "99"),)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("sever: {}", "corral.yaml:1: unknown key 'sever'. Did you mean 'server'?"),
        ("server:\n  prot: 1", "corral.yaml:2: unknown key 'prot' in server. Did you mean 'port'?"),
        ("server:\n  port: true", "corral.yaml:2: server.port must be a whole number, not true"),
        ("server:\n  port: abc", "corral.yaml:2: server.port must be a whole number, not 'abc'"),
        ("server:\n  port: 70000", "corral.yaml:2: server.port must be 65535 or less, not 70000"),
        (
            "server: {port: 11434, ollama_port: 11434}",
            "corral.yaml:1: server.ollama_port is 11434, as server.port is; that one answers Ollama's clients too. "
            "Leave it out, or choose another.",
        ),
        ("server: {ollama_port: -1}", "corral.yaml:1: server.ollama_port must be 0 or more, not -1"),
        ("server:\n  port: 1.5", "corral.yaml:2: server.port must be a whole number, not 1.5"),
        ("server: [1]", "corral.yaml:1: server must be a mapping with keys of its own, not a list"),
        ("server:\n  open: maybe", "corral.yaml:2: server.open must be true or false, not 'maybe'"),
        ("server:\n  host: 1", "corral.yaml:2: server.host must be a text, not 1"),
        ("server:\n  drain: never", "corral.yaml:2: server.drain must end some time"),
        ("server:\n  keepalive: 0", "corral.yaml:2: server.keepalive must be longer than 0"),
        ("server:\n  body_limit: 4xx", "corral.yaml:2: server.body_limit is wrong: '4xx' is not a size"),
        ("server:\n  cors_origins:\n    - a.example", "corral.yaml:3: 'a.example' is not an origin"),
        ("server:\n  keys: [{key: 0123456789abcdef}]", "corral.yaml:2: server.keys[0].name is missing"),
        ("server:\n  keys: [{name: a}]", "corral.yaml:2: the key 'a' needs either `key` or `sha256`"),
        ("server:\n  keys: [{name: a, key: short}]", "corral.yaml:2: the key 'a' is shorter than 16 characters."),
        ("server:\n  keys: [{name: a, sha256: ab}]", "corral.yaml:2: sha256 must be 64 hex digits"),
        ("server:\n  keys: [{name: a, key: 'a b c d e f g h i j k'}]", "corral.yaml:2: the key 'a' must be printable"),
        (f"server:\n  keys:\n  - {{name: a, key: {KEY}}}\n  - {{name: a, key: x{KEY}}}", "corral.yaml:4: two keys are named"),  # noqa: E501
        (f"server:\n  keys:\n  - {{name: a, key: {KEY}}}\n  - {{name: b, key: {KEY}}}", "corral.yaml:4: 'b' is the same key"),  # noqa: E501
        (f"server:\n  keys: [{{name: a, key: {KEY}, scopes: [root]}}]", "must be 'inference' or 'admin', not 'root'"),
        ("server:\n  host: 0.0.0.0", "corral.yaml:2: server.host 0.0.0.0 is not loopback and there are no keys."),
        ("log: {level: loud}", "corral.yaml:1: log.level must be 'debug', 'info', 'warning' or 'error', not 'loud'"),
        ("memory: {ram: lots}", "corral.yaml:1: memory.ram must be auto, unlimited or a size"),
        ("version: 2", "corral.yaml:1: version must be 1, not 2"),
        ("on_exit: explode", "corral.yaml:1: on_exit must be 'stop' or 'keep', not 'explode'"),
        ("models:\n  a b: {source: x}", "corral.yaml:2: models.a b is wrong: 'a b' cannot be a name"),
        ("models:\n  a:\n", "corral.yaml:2: models.a: A Model needs a source."),
        ("models:\n  a: x.gguf", "corral.yaml:2: models.a must be a mapping with keys of its own, not 'x.gguf'"),
        ("models:\n  a: {source: https://x/}", "corral.yaml:2: models.a.source is wrong: 'https://x/' names no file"),
        ("models:\n  a: {source: hf.co/x}", "models.a.source is wrong: 'hf.co/x' is no repository of the hub"),
        ("models:\n  a: {source: {url: x}}", "models.a.source is wrong: 'x' is no reference to a model: write hf.co/"),
        ("models:\n  a: {source: {url: 'file:/x'}}", "models.a.source is wrong: 'file:/x' is no address"),
        ("models:\n  a: {source: {urk: x}}", "unknown key 'urk' in models.a.source. Did you mean 'url'?"),
        ("models:\n  a: {source: {ref: 'hf:a/b', url: 'https://a/b.gguf'}}", "models.a.source has `ref` and `url`"),
        ("models:\n  a: {source: {path: x, quant: Q8_0}}", "models.a.source has `quant`, which means something only"),
        ("models:\n  a: {source: {ref: 'ollama:a', quant: Q8_0}}", "ollama:a:latest is one model: it has no quantis"),
        ("models:\n  a: {source: {ref: 'hf:a/b:Q8_0', quant: Q4_0}}", "hf.co/a/b:Q8_0 says Q8_0 already"),
        ("models:\n  a: {source: {ref: 'hf:a/b:Q8_0', file: x.gguf}}", "hf.co/a/b:Q8_0 says which file already"),
        ("models:\n  a: {source: {ref: 'hf:a/b', file: ../x.gguf}}", "'../x.gguf' cannot be the path of a file"),
        ("models:\n  a: {source: {ref: 'hf:a/b', sha256: 12}}", "models.a.source.sha256 must be a text"),
        ("models:\n  a: {source: {ref: 'hf:a/b', sha256: '12'}}", "`sha256` must have 64 hexadecimal digits"),
        ("models:\n  a: {source: {ref: 'hf:a/b', mmproj: x.gguf}, options: {mmproj: y}}", "name a projector: keep one"),
        ("models:\n  a: {source: 7}", "corral.yaml:2: models.a.source must be a path, a reference such as hf.co/"),
        ("models:\n  a:\n    sauce: x", "corral.yaml:3: unknown key 'sauce' in models.a. Did you mean 'source'?"),
        ("models:\n  a: {model: x}", "Did you mean 'source'?"),
        ("models:\n  a: {cmd: x}", "Corral writes the command line itself"),
        ("models:\n  a:\n    ctx_size: 1", "corral.yaml:3: unknown key 'ctx_size' in models.a. It is an option of llamacpp"),  # noqa: E501
        ("models:\n  a: {source: x, ttl: 5 minutes}", "models.a.ttl is wrong: '5 minutes' is not a duration"),
        ("models:\n  a: {source: x, ttl: -1}", "models.a.ttl is wrong: a duration cannot be negative"),
        ("defaults: {keep_alive: {min: 1h}}\nmodels:\n  a: {source: x, keep_alive: {max: 60}}", "corral.yaml:3: models.a.keep_alive: `min` (1h) is more than `max` (1m)"),  # noqa: E501
        ("models:\n  a: {source: x, keep_alive: 10m}", "corral.yaml:2: models.a.keep_alive must be a mapping with keys"),  # noqa: E501
        ("models:\n  a: {source: x, timeouts: {load: never}}", "models.a.timeouts.load must end some time"),
        ("models:\n  a: {source: x, env: {A: true}}", "models.a.env.A must be a text; write it in quotes"),
        ("models:\n  a: {source: x, env: {A: 1.10}}", "models.a.env.A must be a text; write it in quotes"),
        ("models:\n  a: {source: x, env: {A-B: x}}", "cannot be the name of an environment variable"),
        ("models:\n  a: {source: x, args: {f: {}}}", "models.a.args.f must be a text, a number, true, false or a list"),
        ("models:\n  a: {source: x, args: {f: [true]}}", "models.a.args.f must be a list of texts and numbers"),
        ("models:\n  a: {source: x, runtime: docker}", "models.a.runtime must be 'process', not 'docker'"),
        ("models:\n  a: {source: x, engine: lamacpp}", "there is no engine 'lamacpp'. Did you mean 'llamacpp'?"),
        ("defaults: {engine: zzz}", "corral.yaml:1: there is no engine 'zzz'. There are: llamacpp, other."),
        ("defaults: {options: {lamacpp: {}}}", "there is no engine 'lamacpp'. Did you mean 'llamacpp'?"),
        ("defaults:\n  options:\n    llamacpp:\n      ctx: 1", "corral.yaml:4: llamacpp has no option 'ctx'."),
        ("models:\n  a:\n    source: x\n    options:\n      ctx_sise: 1", "corral.yaml:5: llamacpp has no option 'ctx_sise'. Did"),  # noqa: E501
        ("models:\n  a: {source: x, options: {zzz: 1}}", "A flag that is no option goes under `args:`."),
        ("models:\n  a: {source: x, options: {parallel: 0}}", "parallel must be a whole number from 1 to 256, not 0"),
        ("models:\n  a: {source: x, options: [1]}", "models.a.options must be a mapping with keys of its own"),
        ("models:\n  a:\n    source: x\n    options:\n      ctx_size: 0\n      mlock: true", "corral.yaml:6: models.a: mlock cannot be"),  # noqa: E501
        ("models:\n  a: {source: x}\n  b: {source: x, aliases: [a]}", "corral.yaml:3: the alias 'a' is the name of a Model"),  # noqa: E501
        ("models:\n  a: {source: x, aliases: [a]}", "the alias 'a' is this Model's own name"),
        ("models:\n  a: {source: x, aliases: [c, c]}", "the alias 'c' is here twice"),
        ("models:\n  a: {source: x, aliases: c}\n  b: {source: x, aliases: c}", "corral.yaml:3: the alias 'c' is an alias of 'a'"),  # noqa: E501
        ("models:\n  a: {source: x, aliases: ['a b']}", "'a b' cannot be a name"),
        ("models:\n  coder: {source: x}\ngroups:\n  g: {members: [codr]}", "corral.yaml:4: there is no Model 'codr'. Did you mean 'coder'?"),  # noqa: E501
        ("models:\n  a: {source: x, aliases: [q]}\ngroups: {g: {members: [q]}}", "'q' is an alias; write the Model's name, 'a'"),  # noqa: E501
        ("models: {a: {source: x}}\ngroups:\n  g: {members: [a]}\n  h: {members: [a]}", "corral.yaml:4: the Model 'a' is in the group 'g'"),  # noqa: E501
        ("models: {a: {source: x}}\ngroups: {g: {members: [a, a]}}", "is twice in this group"),
        ("groups: {g: {}}", "corral.yaml:1: groups.g.members is missing"),
        ("groups: {g: {members: []}}", "corral.yaml:1: groups.g.members must not be empty"),
        ('server: {port: "${env.NOPE}"}', "corral.yaml:1: the environment variable NOPE is not set."),
        ("a: 1\na: 2", "corral.yaml:2:1: the key 'a' is here twice"),
        ("server: {port: 1\n", "corral.yaml:2:1: this is not valid YAML"),
    ],
)  # fmt: skip
def test_a_bad_config_is_told_with_file_and_line(config: Loader, text: str, sentence: str) -> None:
    found = config.problems(text)
    assert any(sentence in problem for problem in found), found
    assert all(problem.startswith("corral.yaml:") for problem in found)


def test_all_problems_are_told_at_once_in_the_order_of_the_file(config: Loader) -> None:
    found = config.problems(
        "server: {port: x}\nlog: {level: x}\nmodels:\n  a: {sauce: x}\n  b: {source: '{{ no }}'}\ngroups: {g: {members: 1}}\n"  # noqa: E501
    )
    assert [problem.split(" ")[0] for problem in found] == [f"corral.yaml:{line}:" for line in (1, 2, 4, 5, 6)]


def test_the_wrong_value_of_a_failed_template_is_not_told_again(config: Loader) -> None:
    assert len(config.problems('server: {port: "${env.NOPE}"}\nlog: {level: "{{ server.port }}"}')) == 1


def test_a_key_is_never_shown(config: Loader) -> None:
    secret = "hunter2 hunter2 hunter2"
    texts = [
        f"server: {{keys: [{{name: a, key: '{secret}'}}]}}",
        "server: {keys: [{name: a, key: '${env.K}'}]}",
        "server: {keys: [{name: [1], key: '${env.K}'}]}",
        "server: {port: '${env.K}'}",
        "server: {host: 0.0.0.0, open: '${env.K}'}",
        "memory: {ram: '${env.K}'}",
        "defaults: {ttl: '${env.K}'}",
        "models: {a: {source: x, options: {ctx_size: '${env.K}'}}}",
        "models: {a: {source: x, aliases: ['${env.K}']}}",
        f"server: {{keys: [{{name: a, key: [{secret}]}}]}}",
    ]
    for text in texts:
        assert not any("hunter2" in problem for problem in config.problems(text, {"K": secret})), text


def test_a_pinned_model_in_a_swap_group_is_warned_of(config: Loader) -> None:
    text = "models: {a: {source: x, pin: true}, b: {source: y}}\ngroups: {g: {members: [a, b]}}"
    assert "can never start" in config(text).settings.warnings[0]


def test_many_problems_are_cut(config: Loader) -> None:
    found = config.problems("\n".join(f"k{i}: 1" for i in range(100)))
    assert len(found) == 51 and "50 more problems" in found[-1]


def test_errors_carry_file_line_and_key(config: Loader) -> None:
    with pytest.raises(ConfigErrors) as caught:
        config("server:\n  port: x\n")
    problem = caught.value.problems[0]
    assert (problem.file, problem.line, problem.key) == (config.file, 2, "server.port")


def test_a_wrong_key_hides_no_wrong_option(config: Loader) -> None:
    text = "server: {prot: 1}\nmodels:\n  a: {source: x, options: {ctx_sizes: 4, parallel: 0}}\n  b: {pni: 1}\n"
    told = config.problems(text)
    for part in ("unknown key 'prot'", "has no option 'ctx_sizes'", "parallel must be", "unknown key 'pni'"):
        assert any(part in sentence for sentence in told), told
    assert len(told) == 4, "b may lack its source only because of the key that is misspelled"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("server: {host: 0.0.0.0, keys: [{nam: x}]}", 2),  # unknown and missing; not: there are no keys
        ("models: {a: {engine: 3, options: {x: 1}}, b: {source: x}}\ngroups: {g: {members: [a, b]}}", 1),
        ("models: {'a b': {source: x}}\ngroups: {g: {members: ['a b']}}", 1),
        ("defaults: {options: 3}\nmodels: {a: {source: x, options: {mlock: true}}}", 1),
        ("models: 3\nserver: 4\nlog: {level: [1, 2]}", 3),
        ("groups: {g: {}}\nmodels: {a: {source: x, options: {nope: 1}}}", 2),
    ],
)
def test_no_problem_follows_from_another(config: Loader, text: str, count: int) -> None:
    told = config.problems(text)
    assert len(told) == count, told


def test_an_item_that_is_wrong_does_not_make_its_list_empty(config: Loader) -> None:
    (told,) = config.problems(f"server: {{keys: [{{name: a, key: {KEY}, scopes: [root]}}]}}")
    assert "must be 'inference' or 'admin'" in told
    (told,) = config.problems(f"server: {{keys: [{{name: a, key: {KEY}, scopes: []}}]}}")
    assert "must not be empty" in told


def test_how_waits_are_told(config: Loader) -> None:
    """A bare `off` is false to YAML."""
    models = config(
        """
defaults: {loading_state: reasoning, timeouts: {heartbeat: 3s}}
models:
  a: {source: a.gguf}
  b: {source: b.gguf, loading_state: off, timeouts: {idle: 9s}}
  c: {source: c.gguf, loading_state: comment}
"""
    ).settings.fleet.models
    assert [models[name].loading_state for name in "abc"] == ["reasoning", "off", "comment"]
    assert (models["b"].timeouts.heartbeat_s, models["b"].timeouts.sign_s) == (3.0, 3.0)
    assert config("models: {a: {source: a.gguf}}").settings.fleet.models["a"].loading_state == "comment"
