"""`${env.NAME}` and `{{ path }}`: what they give, and what is told when they cannot."""

from __future__ import annotations

from typing import Any

import pytest

from corral.config.document import EnvText
from corral.config.problems import ConfigErrors, Problems
from corral.config.templates import expand
from corral.config.yaml_text import parse


def filled(text: str, env: dict[str, str] | None = None) -> dict[str, Any]:
    document = parse(text, file="c.yaml")
    problems = Problems("c.yaml", document.lines)
    data = expand(document, env or {}, problems, fixed=frozenset()).data
    problems.raise_any()
    return data


def wrong(text: str, env: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        filled(text, env)
    return [problem.sentence() for problem in caught.value.problems]


def test_a_variable_alone_can_take_a_type_and_in_a_text_it_is_text() -> None:
    found = filled('a: "${env.N}"\nb: "x-${env.N}-y"\nc: ${env.N}', {"N": "7"})
    assert found == {"a": "7", "b": "x-7-y", "c": "7"}
    assert isinstance(found["a"], EnvText) and isinstance(found["c"], EnvText)
    assert not isinstance(found["b"], EnvText)


def test_a_default_counts_for_an_unset_variable_and_not_for_an_empty_one() -> None:
    assert filled('a: "${env.N:-7}"\nb: "${env.E:-7}"\nc: "${env.N:-}"', {"E": ""}) == {"a": "7", "b": "", "c": ""}


def test_an_unset_variable_is_told_with_its_line_and_a_way_out() -> None:
    assert wrong("a: 1\nb: ${env.NOPE}") == [
        "c.yaml:2: the environment variable NOPE is not set. Set it, or write ${env.NOPE:-default}."
    ]


def test_text_from_the_environment_is_not_looked_through_again() -> None:
    assert filled("a: ${env.X}\nb: 1", {"X": "{{ b }} ${env.Y}"})["a"] == "{{ b }} ${env.Y}"


def test_a_reference_alone_keeps_the_type() -> None:
    text = 'a: 7\nb: [x, y]\nc: true\nd: "{{ a }}"\ne: "{{ b }}"\nf: "{{c}}"\ng: "{{ b.1 }}"\nh: "n={{ a }}, {{ c }}"'
    found = filled(text)
    assert (found["d"], found["e"], found["f"], found["g"], found["h"]) == (7, ["x", "y"], True, "y", "n=7, true")


def test_references_go_through_other_templates_and_names_with_dots() -> None:
    text = 'm: {qwen2.5: {s: "{{ root }}/q.gguf"}}\nroot: ${env.R}\na: "{{ m.qwen2.5.s }}"'
    assert filled(text, {"R": "/data"})["a"] == "/data/q.gguf"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('a: "{{ b }}"\nb: "{{ a }}"', "in a circle: a -> b -> a"),
        ('a: "{{ a }}"', "in a circle: a -> a"),
        ('m: {x: "{{ m }}"}', "in a circle: m.x -> m.x"),
        ('alpha: 1\nb: "{{ alpa }}"', "c.yaml:2: {{ alpa }} names nothing in this file. Did you mean alpha?"),
        ('a: "{{ }}"', "must name a value"),
        ('a: "${HOME}"', "there is no macro 'HOME'. An environment variable is ${env.HOME}."),
        ('a: "${env.}"', "write ${env.NAME}"),
        ('a: "${env.X"', "write ${env.NAME}"),
        ('a: [1]\nb: "x{{ a }}"', "not a simple value"),
        ('a: [1]\nb: ["{{ a }}"]', "a list cannot stand inside a list"),
        ('a: {b: 1}\nc: "x{{ a }}"', "not a simple value"),
        ('"{{ a }}": 1', "only values can"),
        ('"${env.A}": 1', "only values can"),
    ],
)
def test_what_cannot_be_filled_in_is_told(text: str, part: str) -> None:
    assert any(part in sentence for sentence in wrong(text, {"X": "1"})), wrong(text, {"X": "1"})


def test_doublings_are_bounded() -> None:
    lines = ['a0: "' + "x" * 1000 + '"'] + [f'a{i}: "{{{{ a{i - 1} }}}}{{{{ a{i - 1} }}}}"' for i in range(1, 25)]
    assert any("too long" in sentence for sentence in wrong("\n".join(lines)))


def test_long_chains_are_bounded() -> None:
    lines = [f'a{i}: "{{{{ a{i + 1} }}}}"' for i in range(500)] + ["a500: 1"]
    assert any("in a row" in sentence for sentence in wrong("\n".join(lines)))


def test_a_failing_reference_is_told_once_where_it_fails() -> None:
    assert len(wrong('a: "{{ b }}"\nb: ${env.NOPE}\nc: "{{ a }}"')) == 1


def test_a_literal_stays_as_it_is() -> None:
    text = "a: !literal |\n  {% for m in messages %}{{ m.content }}{% endfor %}${x}\n"
    assert filled(text)["a"] == "{% for m in messages %}{{ m.content }}{% endfor %}${x}\n"


def test_jinja_statements_alone_are_no_templates() -> None:
    assert filled("a: '{% if x %}y{% endif %}'")["a"] == "{% if x %}y{% endif %}"
