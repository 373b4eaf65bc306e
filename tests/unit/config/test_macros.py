"""Macros: typed, nested, a Model's own before those of the top; circles, strangers and bombs are told."""

from __future__ import annotations

import pytest

from tests.unit.config.conftest import Loader

TWO = "models: {a: {source: a.gguf, %s}, b: {source: b.gguf}}\n"


def test_a_macro_alone_keeps_its_type(config: Loader) -> None:
    text = (
        "macros: {ctx: 4096, lock: true, words: [a, b], speed: 0.5, cpu: {n_gpu_layers: 0, mlock: true}}\n"
        "models:\n"
        "  a: {source: a.gguf, options: {ctx_size: '${ctx}', mlock: '${lock}', stop: '${words}', "
        "temperature: '${speed}'}}\n"
        "  b: {source: b.gguf, options: '${cpu}'}\n"
    )
    models = config(text).settings.fleet.models
    assert models["a"].options == {"ctx_size": 4096, "mlock": True, "stop": ("a", "b"), "temperature": 0.5}
    assert models["b"].options == {"n_gpu_layers": 0, "mlock": True}


def test_in_a_text_macros_are_joined_and_may_stand_in_each_other_in_any_order(config: Loader) -> None:
    text = (
        "macros: {file: '${dir}/${size}B-${lock}.gguf', dir: '/m', size: 7, lock: true}\n"
        "models: {a: {source: '${file}'}}\n"
    )
    assert config(text).settings.fleet.models["a"].source.path == "/m/7B-true.gguf"


def test_a_models_own_macro_goes_before_and_is_seen_by_those_of_the_top(config: Loader) -> None:
    text = (
        "macros: {ctx: 1024, opts: {ctx_size: '${ctx}'}}\n"
        "models:\n"
        "  a: {source: a.gguf, options: '${opts}'}\n"
        "  b: {source: b.gguf, options: '${opts}', macros: {ctx: 2048}}\n"
    )
    models = config(text).settings.fleet.models
    assert (models["a"].options["ctx_size"], models["b"].options["ctx_size"]) == (1024, 2048)


def test_the_name_of_the_model_stands_in_its_values_and_in_defaults(config: Loader) -> None:
    text = (
        "macros: {dir: '/m/{model}'}\n"
        "defaults:\n"
        "  args: {llamacpp: {alias: '{model}', tags: ['x-{model}']}}\n"
        "  env: {llamacpp: {WHO: 'is {model}', LIT: !literal '{model}'}}\n"
        "  options: {llamacpp: {mmproj: '/p/{model}.gguf'}}\n"
        "models:\n"
        "  org/a: {source: '${dir}.gguf', title: 'I am {model}', env: {WAS: !literal '{model}'}}\n"
        "  b: {source: '${dir}.gguf', args: {alias: null}, env: {WHO: null}}\n"
    )
    models = config(text).settings.fleet.models
    a = models["org/a"]
    assert (a.source.path, a.title) == ("/m/org/a.gguf", "I am org/a")
    assert a.args == (("alias", "org/a"), ("tags", ("x-org/a",)))
    assert dict(a.env) == {"WHO": "is org/a", "LIT": "{model}", "WAS": "{model}"}
    assert a.options["mmproj"] == "/p/org/a.gguf"
    assert (models["b"].args, dict(models["b"].env)) == ((("tags", ("x-b",)),), {"LIT": "{model}"})


def test_an_environment_variable_in_a_macro_takes_the_type_of_its_place(config: Loader) -> None:
    text = "macros: {p: '${env.P}'}\nserver: {port: '${p}'}\nmodels: {a: {source: '/x-${p}.gguf'}}"
    loaded = config(text, {"P": "81"})
    assert (loaded.settings.server.port, loaded.settings.fleet.models["a"].source.path) == (81, "/x-81.gguf")


def test_variables_of_the_server_are_hidden_from_engines_through_macros_too(config: Loader) -> None:
    text = (
        "macros: {k: '${env.SECRET_ONE}'}\nx-k: '${env.TWO}'\n"
        "server: {keys: [{name: a, key: '${k}'}, {name: b, key: '{{ x-k }}'}]}\n"
        "defaults: {env: {llamacpp: {A: '${env.THREE}'}}}\n"
    )
    env = {"SECRET_ONE": "0123456789abcdef", "TWO": "fedcba9876543210", "THREE": "3"}
    assert config(text, env).settings.hidden_env == {"SECRET_ONE", "TWO"}


def test_null_is_a_word_for_nothing(config: Loader) -> None:
    text = (
        "defaults: {options: {llamacpp: {ctx_size: 5}}}\n"
        "models: {a: {source: a.gguf, options: {ctx_size: '${null}'}, ttl: '${null}'}}"
    )
    assert config(text).settings.fleet.models["a"].options == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("macros:\n  a: ${b}\n  b: x${c}\n  c: ${a}\n",
         ["corral.yaml:2: these macros go in a circle: a -> b -> c -> a"]),
        ("macros:\n  a: ${a}\nlog: {file: '${a}'}", ["corral.yaml:2: these macros go in a circle: a -> a"]),
        ("macros:\n  z: {x: ['${z}']}\nx-a: '${z}'", ["corral.yaml:2: these macros go in a circle: z -> z"]),
        ("macros:\n  a: ${b}\n  b: 1\nmodels:\n  m:\n    source: x\n    macros:\n      b: ${a}\n    title: ${a}",
         ["corral.yaml:2: these macros go in a circle: a -> b -> a"]),
        ("macros: {ctx: 1}\nlog:\n  file: ${ctz}", ["corral.yaml:3: there is no macro 'ctz'. Did you mean ${ctx}?"]),
        ("models:\n  m: {source: x,\n    title: '${nn}', macros: {nnn: 1}}",
         ["corral.yaml:3: there is no macro 'nn' for the Model 'm'. Did you mean ${nnn}?"]),
        ("macros: {o: '${q}'}\nmodels:\n  a: {source: x, macros: {q: a}}\n  b: {source: x, title: '${o}'}",
         ["corral.yaml:1: there is no macro 'q' for the Model 'b'. The tag !literal in front of a value keeps it as it "
          "is."]),
        ("models:\n  m: {source: x, args: {port: '${PORT}', id: '${MODEL_ID}'}}",
         ["corral.yaml:2: there is no macro 'PORT' for the Model 'm'. Write {port}.",
          "corral.yaml:2: there is no macro 'MODEL_ID' for the Model 'm'. Write {model}."]),
        ("macros:\n  port: 1\n  2x: 1\n  ok: 1\n",
         ["corral.yaml:2: macros.port is wrong: 'port' is a name that Corral gives; choose another",
          "corral.yaml:3: macros.2x is wrong: '2x' cannot be the name of a macro: letters, digits, _ and -, 64 at "
          "most"]),
        ("macros: {k: x}\nmodels:\n  ${k}: {source: x}\n",
         ["corral.yaml:3: the key '${k}' has a template; only values can"]),
        ("macros:\n  k: {'${x}': 1}\nmodels:\n  a: {source: x, options: '${k}'}\n",
         ["corral.yaml:2: the key '${x}' has a template; only values can"]),
        ("macros: {k: [1]}\nlog: {file: 'x${k}'}",
         ["corral.yaml:2: ${k} is not a simple value, so it cannot stand inside a text"]),
        ("macros: 7\nmodels: [1]", ["corral.yaml:1: macros must be a mapping with keys of its own, not 7",
                                    "corral.yaml:2: models must be a mapping with keys of its own, not a list"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(config: Loader, text: str, told: list[str]) -> None:
    assert config.problems(text) == told


def test_bombs_are_bounded(config: Loader) -> None:
    lists = "macros:\n  m0: [a, b]\n" + "".join(
        f"  m{i}: [{{x: '${{m{i - 1}}}', y: '${{m{i - 1}}}', z: '${{m{i - 1}}}'}}]\n" for i in range(1, 25)
    )
    assert any("more than 500000 values" in told for told in config.problems(f"{lists}x-a: '${{m24}}'\n"))
    texts = "macros:\n  m0: aaaaaaaa\n" + "".join(
        f"  m{i}: '{f'${{m{i - 1}}}' * 10}'\n" for i in range(1, 25)
    )  # fmt: skip
    assert any("too long" in told for told in config.problems(f"{texts}x-a: '${{m24}}'\n"))
    deep = "macros:\n  m0: a\n" + "".join(f"  m{i}: [[[{{x: '${{m{i - 1}}}'}}]]]\n" for i in range(1, 25))
    assert any("nested more than 50" in told for told in config.problems(f"{deep}x-a: '${{m24}}'\n"))


def test_long_chains_and_many_circles_end(config: Loader) -> None:
    chain = "macros:\n" + "".join(f"  m{i}: ${{m{i + 1}}}\n" for i in range(5000))
    assert config.problems(f"{chain}  m5000: ${{m0}}\n")[0].startswith("corral.yaml:2: these macros go in a circle")
    told = config.problems(f"{chain}  m5000: 1\nlog: {{file: '${{m0}}'}}\n")
    assert ["in a row" in sentence for sentence in told] == [True]
