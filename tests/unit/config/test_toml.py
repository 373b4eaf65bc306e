"""TOML: the same schema, the same messages, and the line of everything."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.config.files import parse
from corral.config.load import Loaded, load_all
from corral.config.problems import ConfigErrors
from corral.config.toml_text import parse as parse_toml
from tests.unit.config.conftest import Rules

EVERY_KIND = '''\
# a comment with "quotes and [brackets
title = "x" # another
[server]
port = 8080
keys = [
  {name = "a", key = "0123456789abcdef"},  # ]
  {name = "b"},
]
a.b."c.d" = 'lit # no comment'

[models."qwen2.5"]
options.ctx_size = 5
text = """
[not.a.table]
x = "1" \\" """
literal = \'\'\'
lit {{ x }}\'\'\'\'
last = {q = [1, [2, {r = 3}]]}
[[list]]
a = 1
[[list]]
a = 2
[list.sub]
b = 3
[[list.deep]]
c = 1
'''


def load(folder: Path, text: str, env: dict[str, str] | None = None) -> Loaded:
    file = folder / "corral.toml"
    file.write_bytes(text.encode())
    engines = {"llamacpp": Rules(), "other": Rules()}
    return load_all(str(file), engines=engines, env={"HOME": "/h", **(env or {})}, cwd=str(folder))


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        load(folder, text)
    return [error.sentence().replace(f"{folder}/", "") for error in caught.value.problems]


def test_every_key_and_item_has_its_line() -> None:
    found = parse_toml(EVERY_KIND)
    assert found.lines == {
        ("title",): 2, ("server",): 3, ("server", "port"): 4, ("server", "keys"): 5, ("server", "keys", 0): 6,
        ("server", "keys", 0, "name"): 6, ("server", "keys", 0, "key"): 6, ("server", "keys", 1): 7,
        ("server", "keys", 1, "name"): 7, ("server", "a"): 9, ("server", "a", "b"): 9, ("server", "a", "b", "c.d"): 9,
        ("models",): 11, ("models", "qwen2.5"): 11, ("models", "qwen2.5", "options"): 12,
        ("models", "qwen2.5", "options", "ctx_size"): 12, ("models", "qwen2.5", "text"): 13,
        ("models", "qwen2.5", "literal"): 16, ("models", "qwen2.5", "last"): 18,
        ("models", "qwen2.5", "last", "q"): 18, ("models", "qwen2.5", "last", "q", 0): 18,
        ("models", "qwen2.5", "last", "q", 1): 18, ("models", "qwen2.5", "last", "q", 1, 0): 18,
        ("models", "qwen2.5", "last", "q", 1, 1): 18, ("models", "qwen2.5", "last", "q", 1, 1, "r"): 18,
        ("list",): 19, ("list", 0): 19, ("list", 0, "a"): 20, ("list", 1): 21, ("list", 1, "a"): 22,
        ("list", 1, "sub"): 23, ("list", 1, "sub", "b"): 24, ("list", 1, "deep"): 25, ("list", 1, "deep", 0): 25,
        ("list", 1, "deep", 0, "c"): 26,
    }  # fmt: skip
    assert found.literal == {("models", "qwen2.5", "literal")}, "a text in three single quotes has no templates"


def test_it_means_what_the_same_yaml_means(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        "version = 1\n"
        'macros = {ctx = 4096, dir = "models"}\n'
        "[server]\nport = 8080\n"
        'keys = [{name = "me", key = "${env.K}"}]\n'
        "[defaults.options.llamacpp]\nmlock = true\nn_gpu_layers = 3\n"
        '[models."org/a"]\nsource = "${dir}/{model}.gguf"\nttl = "30m"\n'
        'options = {ctx_size = "${ctx}", n_gpu_layers = "${null}"}\n'
        "chat = 1\n".replace("chat = 1\n", "args = {x = [1, 2], y = true}\n")
        + "[groups.g]\nmembers = [\"org/a\"]\n",
        {"K": "0123456789abcdef"},
    )  # fmt: skip
    model = loaded.settings.fleet.models["org/a"]
    assert model.source.path == f"{tmp_path}/models/org/a.gguf"
    assert (dict(model.options), model.ttl_s) == ({"mlock": True, "ctx_size": 4096}, 1800.0)
    assert model.args == (("x", (1, 2)), ("y", True))
    assert loaded.settings.server.port == 8080 and loaded.settings.server.keys[0].name == "me"


def test_chat_templates_in_three_single_quotes_stay_as_they_are(tmp_path: Path) -> None:
    text = "models.a = {source = \"x\", options = {chat_template = '''{% for m in ms %}{{ m }}${x}{% endfor %}'''}}"
    model = load(tmp_path, text).settings.fleet.models["a"]
    assert model.options["chat_template"] == "{% for m in ms %}{{ m }}${x}{% endfor %}"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[server]\nprot = 1\n", "corral.toml:2: unknown key 'prot' in server. Did you mean 'port'?"),
        ("[server]\nport = 'x'\n", "corral.toml:2: server.port must be a whole number, not 'x'"),
        ("a = \n", "corral.toml:1:5: this is not valid TOML: invalid value."),
        ("[server]\nport = on\n", "corral.toml:2:8: this is not valid TOML: invalid value. A text needs quotes; there "
         "are only true and false, and `\"${null}\"` for nothing."),
        ("server:\n  port: 1\n", "corral.toml:1:7: this is not valid TOML: expected '=' after a key in a key/value "
         "pair. TOML writes `key = value`; a file in YAML must be named .yaml."),
        ("a = 1\nb = 2\na = 3\n", "corral.toml:3:6: the key 'a' is here twice"),
        ("[server]\nport = 1\n[server]\n", "corral.toml:3:8: the table 'server' is here twice"),
        ("[models]\na.b = 1\na = {b = 2}\n", "corral.toml:3:12: the key 'a' is here twice"),
        ("x-a = [1, 2\n", "corral.toml:1: this is not valid TOML: unclosed array."),
        ('x-a = """\nb\n', "corral.toml:2: this is not valid TOML: unterminated string."),
        ("log.file = 2026-01-02\n", "corral.toml:1: log.file is a date or a time, which no key takes. Put it in "
         "quotes if a text is meant."),
        ("x-a = [1,\n 07:32:00]\n", "corral.toml:2: x-a[1] is a date or a time, which no key takes. Put it in quotes "
         "if a text is meant."),
        ("keep_for = inf\n", "corral.toml:1: keep_for is no number that can be used"),
        ("keep_for = nan\n", "corral.toml:1: keep_for is no number that can be used"),
        ("keep_for = 1e999\n", "corral.toml:1: keep_for is no number that can be used"),
        (f"keep_for = {'9' * 40}\n", "corral.toml:1: keep_for is a number of too many digits"),
        (f"keep_for = {'9' * 9000}\n", "corral.toml:1:12: a number of too many digits"),
        ('"" = 1\n', "corral.toml:1: a key is empty"),
        ("a = \"\0\"\n", "corral.toml:1:6: this is not valid TOML: illegal character '\\x00'."),
        ("x-a = " + "[" * 100_000, "corral.toml:1:57: values are nested more than 50 deep"),
        ("x-a = " + "[" * 60 + "]" * 60, "corral.toml:1: values are nested more than 50 deep"),
        ("a" + ".a" * 100_000 + " = 1", "corral.toml:1:1: values are nested more than 50 deep"),
        ("[" + ".".join("a" * 100_000) + "]", "corral.toml:1:2: values are nested more than 50 deep"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    assert problems(tmp_path, text)[0].startswith(told)


def test_windows_line_ends_and_a_byte_order_mark(tmp_path: Path) -> None:
    assert load(tmp_path, "\ufeff[server]\r\nport = 7\r\n").lines["server", "port"] == 2


KEYS = st.sampled_from(["a", "b", '"c.d"', "'e'", '"\\u0041"', "server", "models"])
VALUES = st.recursive(
    st.sampled_from(["1", "-2.5", '"x"', "'y # z'", '"""a\n"b" \\""""', "'''q\n'r'''", "true", "1979-05-27",
                     '"\\\\"', '"#"', "''", '""', "0xff", "1e5"]),
    lambda below: st.one_of(
        st.lists(below, max_size=3).map(lambda items: "[" + ", # c ]\n".join(items) + "]"),
        st.dictionaries(KEYS, below, max_size=3).map(
            lambda items: "{" + ", ".join(f"{key} = {value}" for key, value in items.items()) + "}"
        ),
    ),
    max_leaves=8,
)  # fmt: skip
LINES = st.one_of(
    st.tuples(KEYS, VALUES).map(lambda pair: f"{pair[0]} = {pair[1]}"),
    st.lists(KEYS, min_size=1, max_size=3).map(lambda keys: f"[{' . '.join(keys)}]"),
    st.lists(KEYS, min_size=1, max_size=3).map(lambda keys: f"[[{'.'.join(keys)}]] # t"),
    st.sampled_from(["", "# [x]", "  "]),
)


def places(value: object, keys: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    """Every key and item below."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found: set[tuple[str | int, ...]] = set()
    for key, item in items:
        found |= {(*keys, key)} | places(item, (*keys, key))
    return found


@settings(max_examples=300, deadline=None)
@given(st.lists(LINES, max_size=8))
def test_whatever_is_toml_has_a_line_for_everything(lines: list[str]) -> None:
    text = "\n".join(lines)
    try:
        found = parse("x-ok = 1\n" + text, file="c.toml")
    except ConfigErrors:
        return
    assert set(found.lines) == places(found.data)
    assert max(found.lines.values()) <= text.count("\n") + 2


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab.=[]{}\"'#\n ,1\\t-_\r\0é"), max_size=50))
def test_any_text(text: str) -> None:
    try:
        parse(text, file="c.toml")
    except ConfigErrors as error:
        problems = error.problems
    else:
        problems = ()
    assert all(problem.file == "c.toml" for problem in problems)
