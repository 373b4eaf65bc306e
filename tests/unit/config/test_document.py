"""Reading YAML: types, lines, and every kind of broken file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from corral.config import document
from corral.config.files import parse, read_file
from corral.config.problems import ConfigErrors
from corral.domain.errors import ConfigError


def wrong(text: str) -> ConfigError:
    with pytest.raises(ConfigErrors) as caught:
        parse(text, file="c.yaml")
    return caught.value.problems[0]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1", 1), ("-1", -1), ("0", 0), ("1.5", 1.5), ("-.5", -0.5), ("1e3", 1000.0), ("true", True), ("False", False),
        ("null", None), ("~", None), ("", None),
        ("on", "on"), ("off", "off"), ("yes", "yes"), ("No", "No"), ("12:30", "12:30"), ("2026-01-02", "2026-01-02"),
        ("0777", "0777"), ("007", "007"), ("1_000", "1_000"), ("0x10", "0x10"), (".", "."), ("e5", "e5"),
        ("1.2.3", "1.2.3"),
        ("'1'", "1"), ('"true"', "true"), ("!!str 1", "1"), ("7b", "7b"), ("1e99999", "1e99999"), ("9" * 40, "9" * 40),
        (".inf", ".inf"), (".nan", ".nan"), ("[1, a]", [1, "a"]), ("{a: {b: 1}}", {"a": {"b": 1}}),
    ],
)  # fmt: skip
def test_scalars_follow_yaml_1_2(written: str, meant: object) -> None:
    found = parse(f"key: {written}").data["key"]
    assert (found, type(found)) == (meant, type(meant))


def test_keys_are_texts_whatever_they_look_like() -> None:
    assert list(parse("models: {7: a, 1.5: b, true: c, null: d, on: e}").data["models"]) == [
        "7",
        "1.5",
        "true",
        "null",
        "on",
    ]


def test_every_key_and_item_has_its_line() -> None:
    found = parse("a: 1\n\nb:\n  c: 2\n  d:\n    - x\n    - y\n")
    assert found.lines == {("a",): 1, ("b",): 3, ("b", "c"): 4, ("b", "d"): 5, ("b", "d", 0): 6, ("b", "d", 1): 7}


def test_anchors_merge_and_the_nearer_value_wins() -> None:
    text = "x-base: &base {a: 1, b: 2}\nx-more: &more {b: 3, c: 4}\nm:\n  <<: [*base, *more]\n  a: 9\nn: *base\n"
    found = parse(text)
    assert found.data["m"] == {"a": 9, "b": 2, "c": 4}
    assert found.data["n"] == {"a": 1, "b": 2}
    assert found.lines["m", "a"] == 5
    assert found.lines["m", "c"] == 2, "a merged key has the line where it is written"


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("a: 1\n\tb: 2\n", 2, "tab"),
        ("a:\n\tb: 2\n", 2, "tab"),
        ("a: 1\na: 2\n", 2, "'a' is here twice; the first is in line 1"),
        ("m:\n  x: {b: 1, b: 2}\n", 2, "'b' is here twice"),
        ("a: [1,\n", 2, "not valid YAML"),
        ("a: {b: 1\n", 2, "not valid YAML"),
        ("a: b: c\n", 1, "needs quotes"),
        ("a:b\nc: 1\n", 2, "`key:value` needs a space"),
        ("a: 'x\n", 2, "begins in line 1"),
        ("a: @x\n", 1, "needs quotes"),
        ("a: &x\n  b: *x\n", 2, "contains it"),
        ("a: *x\n", 1, "has no anchor above it"),
        ("a: !!python/object:os.system x\n", 1, "means nothing here"),
        ("a: !include x\n", 1, "means nothing here"),
        ("a: !foo [1]\n", 1, "means nothing here"),
        ("? [a]\n: b\n", 1, "simple text"),
        ("a: {{ b }}\n", 1, "needs quotes"),
        ("a: {b: ${env.X}}\n", 1, "needs quotes"),
        ("'': 1\n", 1, "a key is empty"),
        ("a: 1\n---\nb: 2\n", 2, "second one begins here"),
        ("- a\n- b\n", 1, "must be a mapping"),
        ("just text\n", 1, "must be a mapping"),
        ("m:\n  <<: 1\n", 2, "must name a mapping"),
        ("a: 1\nb: \x07\n", 2, "control characters"),
        ("a: 1\nb: \x00\n", 2, "control characters"),
        ("%YAML 3\n---\na: 1\n", 1, "not valid YAML"),
    ],
)
def test_a_bad_file_is_told_with_its_line(text: str, line: int, part: str) -> None:
    problem = wrong(text)
    assert part in problem.message
    assert (problem.file, problem.line) == ("c.yaml", line)


def test_all_duplicate_keys_are_told_together() -> None:
    with pytest.raises(ConfigErrors) as caught:
        parse("a: 1\na: 2\nb: 1\nb: 2\n", file="c.yaml")
    assert [problem.line for problem in caught.value.problems] == [2, 4]


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n", "---\n...\n"])
def test_an_empty_file_is_an_empty_config(text: str) -> None:
    assert parse(text).data == {}


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "a: " + "{b: " * 100_000, "\n".join(" " * i + "a:" for i in range(200))]
)
def test_deep_nesting_ends_in_an_error_not_in_a_crash(text: str) -> None:
    assert "nested more than 50 deep" in wrong(text).message


def test_aliases_that_multiply_are_bounded() -> None:
    levels = "\n".join(f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 10)}]" for i in range(1, 12))
    assert "more than 500000 values" in wrong(f"x0: &x0 [a]\n{levels}\n").message


def test_merges_that_multiply_are_bounded() -> None:
    levels = "\n".join(f"x{i}: &x{i} {{<<: [{', '.join([f'*x{i - 1}'] * 10)}]}}" for i in range(1, 40))
    with pytest.raises(ConfigErrors) as caught:
        parse(f"x0: &x0 {{a: 1}}\n{levels}\n")
    assert caught.value.problems


def test_a_file_that_is_missing_a_folder_unreadable_or_not_utf8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(path: Path) -> ConfigError:
        with pytest.raises(ConfigErrors) as caught:
            read_file(str(path))
        return caught.value.problems[0]

    assert "no such file" in told(tmp_path / "none.yaml").message
    assert "config init" in told(tmp_path / "none.yaml").hint
    assert "folder" in told(tmp_path).message
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("a: 1\nb: ü\n".encode("latin-1"))
    assert (told(latin).line, "UTF-8" in told(latin).message) == (2, True)
    wide = tmp_path / "wide.yaml"
    wide.write_bytes("a: 1\n".encode("utf-16"))
    assert "UTF-8" in told(wide).message
    locked = tmp_path / "locked.yaml"
    locked.write_text("a: 1\n")
    locked.chmod(0)
    if os.geteuid() != 0:
        assert "cannot be read" in told(locked).message
    assert "cannot be read" in told(tmp_path / "a\0b").message
    monkeypatch.setattr(document, "MAX_BYTES", 3)
    big = tmp_path / "big.yaml"
    big.write_text("a: 1\n")
    assert "larger than" in told(big).message


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    file = tmp_path / "bom.yaml"
    file.write_bytes("server: {}\n".encode("utf-8-sig"))
    assert read_file(str(file)).data == {"server": {}}


def test_a_literal_is_marked() -> None:
    found = parse("a: !literal '${x} {{ y }}'\n")
    assert (found.data, found.literal) == ({"a": "${x} {{ y }}"}, {("a",)})


def test_a_thousand_models_are_read_in_no_time() -> None:
    import time

    text = "models:\n" + "".join(f"  m{i}: {{source: /x/{i}.gguf, options: {{ctx_size: 1}}}}\n" for i in range(1000))
    began = time.process_time()
    assert len(parse(text).data["models"]) == 1000
    assert time.process_time() - began < 2.0


def test_what_is_no_yaml_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigErrors, match="this is a pipe"):
        read_file(str(tmp_path / "pipe"))
