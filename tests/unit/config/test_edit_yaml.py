"""Changing one value of a YAML text: the rest stays as it is, byte for byte."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.config.edit_yaml import set_value, unset
from corral.config.editing import UNSET, Change, _expected, _plain
from corral.config.problems import Keys
from corral.config.yaml_text import parse
from corral.domain.errors import ConfigError

TEXT = """\
# head
server: {host: 127.0.0.1, port: 8080}  # where
defaults:
  ttl: 10m       # short
  # about options
  options:
    llamacpp: {ctx_size: 1}

# The Models.
models:
  # first
  a:
    source: "a.gguf"   # quoted
    aliases:
      - x    # one
      - y

    title: |
      two
      lines

  b: {source: b.gguf, aliases: [], env: {}}
groups:
  # none yet
"""


@pytest.mark.parametrize(
    ("keys", "value", "old", "new"),
    [
        (("server", "port"), 9, "port: 8080}", "port: 9}"),
        (("server", "open"), True, "port: 8080}", "port: 8080, open: true}"),
        (("defaults", "ttl"), "never", "ttl: 10m   ", "ttl: never   "),
        (("defaults", "engine"), "other", "    llamacpp: {ctx_size: 1}\n",
         "    llamacpp: {ctx_size: 1}\n  engine: other\n"),
        (("defaults", "options", "llamacpp", "mlock"), None, "{ctx_size: 1}", "{ctx_size: 1, mlock: null}"),
        (("defaults", "options", "other"), {"a": [1, "x"]}, "    llamacpp: {ctx_size: 1}\n",
         "    llamacpp: {ctx_size: 1}\n    other: {a: [1, x]}\n"),
        (("models", "a", "source"), "b: c", '"a.gguf"   #', "'b: c'   #"),
        (("models", "a", "aliases", 1), "z", "- y\n", "- z\n"),
        (("models", "a", "aliases", 2), "z", "- y\n", "- y\n      - z\n"),
        (("models", "a", "aliases"), ["q"], "aliases:\n      - x    # one\n      - y\n", "aliases: [q]\n"),
        (("models", "a", "title"), "T", "title: |\n      two\n      lines\n", "title: T\n"),
        (("models", "a", "ttl"), "1h", "      lines\n", "      lines\n    ttl: 1h\n"),
        (("models", "c", "source"), "c.gguf", "aliases: [], env: {}}\n",
         "aliases: [], env: {}}\n  c:\n    source: c.gguf\n"),
        (("models", "b", "aliases", 0), "k", "aliases: []", "aliases: [k]"),
        (("models", "b", "env", "A"), "on", "env: {}", "env: {A: 'on'}"),
        (("groups", "g", "members"), ["a"], "groups:\n", "groups:\n  g:\n    members: [a]\n"),
        (("log", "level"), "debug", "groups:\n", "groups:\nlog:\n  level: debug\n"),
        (("models", "b", "title"), "1e5", "env: {}}", 'env: {}, title: "1e5"}'),
        (("models", "b", "title"), "é \U0001f600", "env: {}}", 'env: {}, title: "é \\U0001F600"}'),
        (("models", "b", "title"), "{{ x }}", "env: {}}", "env: {}, title: '{{ x }}'}"),
    ],
)  # fmt: skip
def test_set(keys: Keys, value: Any, old: str, new: str) -> None:
    wanted = TEXT.replace(old, new, 1)
    if keys[0] == "log":  # the last section has nothing: what is new stands after its comment
        wanted = wanted.replace(
            "groups:\n  # none yet\nlog:\n  level: debug\n", "groups:\nlog:\n  level: debug\n  # none yet\n"
        )
    assert set_value(TEXT, keys, value) == wanted


@pytest.mark.parametrize(
    ("keys", "old", "new"),
    [
        (("server", "host"), "{host: 127.0.0.1, port", "{port"),
        (("server", "port"), ", port: 8080}", "}"),
        (("defaults", "ttl"), "  ttl: 10m       # short\n", ""),
        (("defaults", "options", "llamacpp"), "    llamacpp: {ctx_size: 1}\n", ""),
        (("models", "a", "aliases", 0), "      - x    # one\n", ""),
        (("models", "a", "title"), "    title: |\n      two\n      lines\n", ""),
        (("models", "b"), "  b: {source: b.gguf, aliases: [], env: {}}\n", ""),
        (("server",), "server: {host: 127.0.0.1, port: 8080}  # where\n", ""),
        (("groups",), "groups:\n", ""),
    ],
)
def test_unset(keys: Keys, old: str, new: str) -> None:
    assert unset(TEXT, keys) == TEXT.replace(old, new, 1)


@pytest.mark.parametrize(
    ("text", "keys", "value", "after"),
    [
        ("", ("a", "b"), 1, "a:\n  b: 1\n"),
        ("# only\n", ("a",), 1, "# only\na: 1\n"),
        ("a: 1", ("b",), 2, "a: 1\nb: 2\n"),
        ("a:", ("a",), 1, "a: 1"),
        ("a:  # c\nb: 1\n", ("a",), 1, "a: 1  # c\nb: 1\n"),
        ("a: ~\n", ("a", "b"), 1, "a: {b: 1}\n"),
        ("a: {b: }\n", ("a", "b"), 1, "a: {b: 1}\n"),
        ("a: {b: }\n", ("a", "b", "c"), 1, "a: {b: {c: 1}}\n"),
        ("a: {}\n", ("a", "b", "c"), 1, "a: {b: {c: 1}}\n"),
        ("a:\r\n  b: 1\r\n", ("a", "c"), 2, "a:\r\n  b: 1\r\n  c: 2\r\n"),
        ("a:\n- 1\n- 2\nb: 1\n", ("a", 2), 3, "a:\n- 1\n- 2\n- 3\nb: 1\n"),
        ("a:\n  - n: 1\n    k: 2\n", ("a", 0, "z"), 3, "a:\n  - n: 1\n    k: 2\n    z: 3\n"),
        ("a:\n  - n: 1\n", ("a", 1), {"n": 2}, "a:\n  - n: 1\n  - {n: 2}\n"),
        ('"a": {"b.c": 1}\n', ("a", "b.c"), 2, '"a": {"b.c": 2}\n'),
        ("a: &x {b: 1}\nc: {<<: *x, d: 2}\n", ("c", "b"), 5, "a: &x {b: 1}\nc: {<<: *x, d: 2, b: 5}\n"),
        ("a: &x 1\nb: *x\n", ("b",), 2, "a: &x 1\nb: 2\n"),
        ("a: >\n  x\n\n\nb: 1\n", ("a",), "y", "a: y\n\n\nb: 1\n"),
        ("a:\n  b: |\n    x\n", ("a", "c"), 1, "a:\n  b: |\n    x\n  c: 1\n"),
        ("a:\n  b: 1\n  # tail\n\n# next\nc: 2\n", ("a", "z"), 1, "a:\n  b: 1\n  z: 1\n  # tail\n\n# next\nc: 2\n"),
        ("a: |  # head\n  x\nb: 1\n", ("a",), "y", "a: y  # head\nb: 1\n"),
        ("a:  # mine\n  # all\n  - x # x\n  - y\nb: 1\n", ("a",), ["q"], "a: [q]  # mine\n  # all\nb: 1\n"),
        ("a: [\n  x,  # one\n  y   # two\n]\n", ("a", 2), "z", "a: [\n  x,  # one\n  y,   # two\n  z\n]\n"),
        ("a: [\n  x,\n  y,  # two\n]\n", ("a", 2), "z", "a: [\n  x,\n  y,  # two\n  z,\n]\n"),
        ("a: {\n  x: 1  # one\n}\n", ("a", "z"), 3, "a: {\n  x: 1,  # one\n  z: 3\n}\n"),
        ("a: [x,\n  y]\n", ("a", 2), "z", "a: [x,\n  y, z]\n"),
        ("a: &l\n  - 1\nb: *l\n", ("a", 1), 2, "a: &l\n  - 1\n  - 2\nb: *l\n"),
    ],
)
def test_set_in_all_kinds_of_texts(text: str, keys: Keys, value: Any, after: str) -> None:
    assert set_value(text, keys, value) == after


@pytest.mark.parametrize(
    ("text", "keys", "after"),
    [
        ("a:\n  - n: 1\n    k: 2\n", ("a", 0, "n"), "a:\n  - k: 2\n"),
        ("a:\n  - n: 1\n", ("a", 0, "n"), "a:\n  - {}\n"),
        ("a:\n  - n: 1\nb: 2\n", ("a", 0), "a: []\nb: 2\n"),
        ("a: [1, 2, 3]\n", ("a", 2), "a: [1, 2]\n"),
        ("a: [1]\n", ("a", 0), "a: []\n"),
        ("a:\n  b: 1", ("a", "b"), "a:\n"),
        ("a: {b: 1, # c\n  d: 2}\n", ("a", "b"), "a: {d: 2}\n"),
        ("a: [\n  x,  # one\n  y   # two\n]\n", ("a", 1), "a: [\n  x  # one\n]\n"),
        ("a: [\n  x,  # one\n  # about y\n  y,  # two\n]\n", ("a", 1), "a: [\n  x  # one\n  # about y\n]\n"),
        ("a: [\n  x,  # one\n  # about y\n  y,  # two\n]\n", ("a", 0), "a: [\n  # about y\n  y,  # two\n]\n"),
        ("a: [x, # one\n y]\n", ("a", 1), "a: [x # one\n ]\n"),
        ("a: [x,]\n", ("a", 0), "a: []\n"),
        ("a: {b: 1 , }\n", ("a", "b"), "a: { }\n"),
        ("a:\n- - 1\n  - 2\n", ("a", 0, 0), "a:\n- - 2\n"),
        ("a:\n  - # a dash-in-comment\n    x\n  - y\n", ("a", 0), "a:\n  - y\n"),
        ("a:\n  - n: 1 # own\n    # about k\n    k: 2\n", ("a", 0, "n"), "a:\n  # about k\n  - k: 2\n"),
    ],
)
def test_unset_in_all_kinds_of_texts(text: str, keys: Keys, after: str) -> None:
    assert unset(text, keys) == after


@pytest.mark.parametrize(
    ("text", "keys", "told"),
    [
        ("a: 1\n", ("a", "b"), "a is one value, so a.b cannot be set."),
        ("a: [1]\n", ("a", "b"), "a is a list, so a.b cannot be set."),
        ("a: [1]\n", ("a", 5), "a is a list, so a[5] cannot be set."),
        ("a: &x {b: 1}\nc: *x\n", ("c", "b"), "c is an alias."),
    ],
)
def test_what_cannot_be_set(text: str, keys: Keys, told: str) -> None:
    with pytest.raises(ConfigError, match=told.replace("[", r"\[")):
        set_value(text, keys, 1)


def test_what_is_not_there_cannot_be_taken_away() -> None:
    with pytest.raises(ConfigError, match=r"a\.b is not set in this file"):
        unset("a: {c: 1}\n", ("a", "b"))


NAMES = st.sampled_from(["a", "b", "c.d", "on", "7", "x y"])
SCALARS = st.sampled_from(
    [1, 0, -2.5, True, None, "", "text", "two words", "a: b", "# no", "1e5", "line\nbreak", "é", "${x}"]
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda below: st.lists(below, max_size=3) | st.dictionaries(NAMES, below, max_size=3), max_leaves=12
)


def written(data: Any, seed: int) -> str:
    """The data in some style, with comments between the lines that may have them."""
    style = random.Random(seed)
    text = yaml.dump(
        data, Dumper=yaml.CSafeDumper, default_flow_style=style.choice([None, False, True]), allow_unicode=True,
        sort_keys=False, width=style.choice([20, 200]), indent=style.choice([2, 4]),
    )  # fmt: skip
    try:
        meant, lines = parse(text).data, text.splitlines()
    except ConfigError:
        return text
    for number, line in enumerate(lines):
        if style.random() < 0.4:
            lines[number] = line + style.choice([f"  # behind {number}.", f"\n# below {number}.", "\n"])
            try:
                same = parse("\n".join(lines)).data == meant
            except ConfigError:
                same = False
            lines[number] = lines[number] if same else line
    return "\n".join(lines) + "\n"


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=3), st.data(), st.integers(0, 10**6))
def test_any_change_of_any_text_says_just_that(data: dict[str, Any], draw: Any, seed: int) -> None:
    text = written(data, seed)
    before = parse(text).data
    keys: Keys = ()
    place: Any = before
    for _ in range(draw.draw(st.integers(1, 4))):
        if isinstance(place, list):
            key: str | int = draw.draw(st.integers(0, len(place)))
        else:
            key = draw.draw(st.sampled_from([*place]) | NAMES if isinstance(place, dict) and place else NAMES)
        keys = (*keys, key)
        try:
            place = place[key]
        except (KeyError, IndexError, TypeError):
            place = None
            break
    take_away = draw.draw(st.booleans())
    change = Change(keys, UNSET if take_away else draw.draw(VALUES))
    try:
        after = unset(text, keys) if take_away else set_value(text, keys, change.value)
    except ConfigError as error:
        problem = error.message
    else:
        problem = ""
    if problem:  # what is not there, or what cannot hold the rest of the keys
        assert (place is None) and ("is not set" in problem or "cannot be set" in problem)
        return
    assert _plain(parse(after).data) == _plain(_expected(before, change))
    if not isinstance(place, dict | list):
        lost = [each for each in re.findall(r"# \w+ \d+\.", text) if each not in after]
        own = 1 if take_away else 0  # what stands behind it in its line is its own
        assert len(lost) <= own and not any("below" in each for each in lost), "no other comment is lost"
