"""The words of `corral bench`: what is no subcommand is a Model, and mistakes are named before anything is started."""

from __future__ import annotations

import pytest

from tests.unit.cli.conftest import Command


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("gateway", "--only", "corral,apache"), "there is no program 'apache'"),
        (("gateway", "--peer", "apache=/bin/x"), "must be NAME=PATH"),
        (("gateway", "--peer", "nginx"), "must be NAME=PATH"),
        (("gateway", "--peer", "corral=/bin/corral"), "must be NAME=PATH"),
        (("coder", "--concurrency", "1,x"), "must be numbers from 1 to 1024"),
        (("--concurrency", "0", "coder"), "must be numbers from 1 to 1024"),
        (("coder", "-o", "ctx_size=1"), "-o is for model files"),
    ],
)
def test_mistakes_are_wrong_usage(corral: Command, words: tuple[str, ...], said: str) -> None:
    ran = corral("bench", *words)
    assert ran.code == 2 and said in ran.err, ran


def test_what_is_no_subcommand_is_a_model(corral: Command) -> None:
    for words in (("coder",), ("models", "coder"), ("models", "gateway"), ("--requests", "1", "coder")):
        ran = corral("bench", *words)
        assert ran.code == 1 and "No Corral runs here" in ran.err, ran


def test_alone_it_shows_its_help(corral: Command) -> None:
    ran = corral("bench", "--help")
    assert ran.code == 0 and "gateway" in ran.out and "models" in ran.out
