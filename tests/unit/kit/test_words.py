"""A command line as one text."""

from __future__ import annotations

import contextlib
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.kit.words import split_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prog --port {port} -m x.gguf", ("prog", "--port", "{port}", "-m", "x.gguf")),
        ("prog 'a b' \"c d\" e\\ f", ("prog", "a b", "c d", "e f")),
        ("prog --x '{\"a\": 1}'", ("prog", "--x", '{"a": 1}')),
        ("prog \\\n  --a 1 \\\n  --b 2", ("prog", "--a", "1", "--b", "2")),
        ("# whisper\nprog --a\n  # and its port\n  --port {port}\n", ("prog", "--a", "--port", "{port}")),
        ("prog a#b '#c'", ("prog", "a#b", "#c")),
        ("prog '|' \"a && b\" '>' '$HOME' \\;", ("prog", "|", "a && b", ">", "$HOME", ";")),
        ("prog 5$ --glob * ''", ("prog", "5$", "--glob", "*", "")),
    ],
)
def test_it_is_split_as_a_shell_splits_it(text: str, words: tuple[str, ...]) -> None:
    assert split_words(text) == words


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a | b", "a pipe"),
        ("a && b", "& or &&"),
        ("a &", "& or &&"),
        ("a; b", "a semicolon"),
        ("a > log", "a redirection"),
        ("a 2>&1", "a redirection"),
        ("a < in", "a redirection"),
        ("a `b`", "a command substitution"),
        ("a $(b)", "Write ${env.NAME}"),
        ("a $HOME/x", "Write ${env.NAME}"),
        ('a "$HOME/x"', "Write ${env.NAME}"),
        ("a 'b", "a quote in it is not closed"),
        ('a "b', "a quote in it is not closed"),
        ("", "must name a program"),
        ("  # nothing\n", "must name a program"),
        ("a\0b", "NUL"),
    ],
)
def test_what_only_a_shell_understands_is_refused_with_a_way_out(text: str, says: str) -> None:
    with pytest.raises(ValueError) as caught:
        split_words(text)
    assert says in str(caught.value)


@given(st.lists(st.text(st.characters(exclude_characters="\0\n\r"), max_size=8), min_size=1, max_size=5))
def test_what_is_quoted_comes_back_as_it_was(words: list[str]) -> None:
    assert split_words("x " + shlex.join(words)) == ("x", *words)


@given(st.text(max_size=40))
def test_any_text_is_words_or_a_sentence(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert split_words(text)
