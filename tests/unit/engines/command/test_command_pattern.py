"""Which patterns are fit to be searched for in every line."""

from __future__ import annotations

import re
import time

import pytest

from corral.engines.command.pattern import pattern_problem


@pytest.mark.parametrize(
    "pattern",
    [
        "listening", "Application startup complete", r"server is listening on http://.*:\d{1,5}", "(?i)READY",
        r"^\[\d+\] (ready|up)$", r"Uvicorn running on https?://\S+ \(Press CTRL\+C", "a|b.*|c.*|d.*",
        r"x{3}", "(ab){2}",
    ],
)  # fmt: skip
def test_telling_words_are_fine(pattern: str) -> None:
    assert pattern_problem(pattern) == ""


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("", "is empty"),
        ("(", "not a regular expression"),
        ("x" * 501, "longer than 500"),
        ("(a+)+b", "repeats a repetition"),
        ("(a|b*)*c", "repeats a repetition"),
        ("(?:x{1,50}){1,50}y", "repeats a repetition"),
        ("((a*))*", "repeats a repetition"),
        (r"(a)\1", "looks back"),
        ("(?=a)b", "looks back"),
        ("a.*b.*c.*d", "more than 2"),
        ("a*", "matches an empty line"),
    ],
)
def test_others_are_refused_with_a_reason(pattern: str, says: str) -> None:
    assert says in pattern_problem(pattern)


@pytest.mark.parametrize(
    ("pattern", "line"), [(r"a.*a.*b", "a" * 500), (r"\S+ *x", "1" * 500), ("[^b]*a.*b", "a" * 500)]
)
def test_the_worst_that_is_let_through_is_quick(pattern: str, line: str) -> None:
    assert pattern_problem(pattern) == ""
    began = time.process_time()
    assert not re.search(pattern, line)
    assert time.process_time() - began < 0.5
