"""Every flag of the newest recorded build is an option, Corral's own, or left to `args` with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from corral.domain.fleet import ModelSpec
from corral.engines.llamacpp.help import parse_help
from corral.engines.llamacpp.options import BY_NAME
from corral.engines.llamacpp.owned import LEFT_TO_ARGS, OWNED
from corral.engines.llamacpp.settings import settings_of
from corral.engines.llamacpp.spellings import recognised, spelling

RECORDED = Path(__file__).parents[3] / "recorded" / "llama-help"
NEWEST = parse_help((RECORDED / "b11434.txt").read_text())
EVERY = {path.stem: parse_help(path.read_text()) for path in RECORDED.glob("*.txt")}
OPTION_FLAGS = {flag for option in BY_NAME for names in (spelling(option).on, spelling(option).off) for flag in names}


def names(flag: str) -> set[str]:
    """All spellings of one flag, without dashes."""
    return {name.lstrip("-") for name in NEWEST.flags[flag].names}


@pytest.mark.parametrize("flag", sorted(NEWEST.flags))
def test_every_flag_has_a_place(flag: str) -> None:
    option = bool(
        {f"-{name}" for name in names(flag)} & OPTION_FLAGS or {f"--{name}" for name in names(flag)} & OPTION_FLAGS
    )
    places = [option, bool(names(flag) & OWNED.keys()), bool(names(flag) & LEFT_TO_ARGS.keys())]
    assert sum(places) == 1, f"{flag}: make it an option, or say in owned.py why it is none"


def test_every_spelling_of_an_option_is_recognised_under_args() -> None:
    known = recognised(tuple(BY_NAME))
    for flag in NEWEST.flags:
        if {f"{dashes}{name}" for name in names(flag) for dashes in ("-", "--")} & OPTION_FLAGS:
            assert names(flag) <= known.keys(), f"{flag}: {names(flag) - known.keys()} would go past the option"


def test_what_is_owned_is_refused_with_its_sentence() -> None:
    for name, sentence in OWNED.items():
        (problem,) = settings_of(ModelSpec("m", args=((name, True),))).problems
        assert sentence in problem and problem.endswith(".")


def test_nothing_is_listed_that_no_build_ever_had() -> None:
    ever = {name.lstrip("-") for known in EVERY.values() for name in (*known.flags, *known.gone)}
    assert LEFT_TO_ARGS.keys() - ever == set()
    assert OWNED.keys() - ever == set()
    for option in BY_NAME:
        assert {flag.lstrip("-") for flag in spelling(option).on} & ever, option


def test_the_options_are_flags_in_snake_case() -> None:
    """Who knows llama-server finds the option by its flag."""
    unlike = {
        name for name in BY_NAME
        if f"--{name.replace('_', '-')}" not in OPTION_FLAGS and f"--no-{name.replace('_', '-')}" not in OPTION_FLAGS
    }  # fmt: skip
    assert unlike <= {"model_draft", "draft_max", "draft_min", "draft_p_min", "draft_p_split", "mmap", "rerank"}
