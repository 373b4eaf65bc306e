"""help: what a binary says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from corral.engines.llamacpp.help import parse_help
from corral.engines.llamacpp.options import BY_NAME
from corral.engines.llamacpp.owned import OWNED
from corral.engines.llamacpp.probe import parse_build
from corral.engines.llamacpp.spellings import spelling

RECORDED = Path(__file__).parents[3] / "recorded" / "llama-help"
NEW = parse_help((RECORDED / "b11434.txt").read_text())
OLD = parse_help((RECORDED / "b5350.txt").read_text())


@pytest.mark.parametrize(
    ("name", "hint", "takes_list"),
    [
        ("-c", "N", False),
        ("--ctx-size", "N", False),
        ("--n-gpu-layers", "N", False),
        ("-fa", "[on|off|auto]", False),
        ("--no-kv-offload", "", False),
        ("-nkvo", "", False),
        ("--tensor-split", "N0,N1,N2,...", True),
        ("--device", "<dev1,dev2,..>", True),
        ("--rope-scaling", "{none,linear,yarn}", False),
        ("--lora", "FNAME", True),
        ("--override-kv", "KEY=TYPE:VALUE,...", True),
        ("--logit-bias", "TOKEN_ID(+/-)BIAS", False),
        ("--control-vector-layer-range", "START END", False),
        ("--jinja", "", False),
        ("-rea", "[on|off|auto]", False),
        ("--spec-default", "", False),
    ],
)
def test_each_flag_says_what_it_takes(name: str, hint: str, takes_list: bool) -> None:
    assert NEW.flags[name].hint == hint
    assert NEW.flags[name].takes_list is takes_list


def test_all_flags_of_the_build_are_found() -> None:
    # Read in another way than the parser does: every word of a header line that begins with a dash.
    headers = [line for line in NEW.text.splitlines() if line.startswith("-") and not line.startswith("---")]
    words = {word.rstrip(",") for line in headers for word in line.split() if word.startswith("-")}
    words = {word for word in words if word[1:2].isalpha() or word[1:3].strip("-").isalpha()}
    words = {word for word in words if not word.endswith(")")}
    assert words - NEW.flags.keys() - NEW.gone.keys() == set()


def test_removed_flags_are_not_known() -> None:
    assert "--draft" not in NEW.flags
    assert "--spec-draft-n-max" in NEW.gone["--draft"]
    assert "--draft-max" in OLD.flags


def test_another_layout_is_read_too() -> None:
    known = parse_help(
        "usage: x [options]\n\n  -m FNAME, --model FNAME   the model\n  -h, --help                show help\n"
    )
    assert known.flags["--model"].hint == "FNAME" and known.flags["-m"].takes_value
    assert not known.flags["--help"].takes_value


@pytest.mark.parametrize("text", ["", "no flags here\n", "error: unknown option --help"])
def test_something_else_has_no_flags(text: str) -> None:
    assert parse_help(text).flags == {}


def test_every_option_has_a_spelling_that_this_build_or_an_older_one_knows() -> None:
    for option in BY_NAME:
        assert NEW.first(spelling(option).on) or OLD.first((*spelling(option).on, *spelling(option).off)), option


def test_what_corral_owns_exists() -> None:
    forgotten = {flag for flag in ("--host", "--port", "--model", "--alias", "--api-key") if flag[2:] not in OWNED}
    assert forgotten == set()
    known = {name.lstrip("-") for name in NEW.flags}
    assert OWNED.keys() - known == {"hfv", "hfrv", "hf-repo-v", "hffv", "hf-file-v"}  # of builds before this one


@pytest.mark.parametrize(
    ("text", "build"),
    [
        ("version: 4689 (90f9b88a)\nbuilt with cc", 4689),
        ("version: 0.6.0-dev (build 11434, commit 1a2b)", 11434),
        ("version: 0.6.0-dev (build 0, commit unknown)", None),
        ("version: b8000-abcdef", 8000),
        ("something", None),
    ],
)
def test_build_numbers(text: str, build: int | None) -> None:
    assert parse_build(text) == build
