"""What llama.cpp tells a router of its load: one share over all stages, and nothing from any other line."""

from __future__ import annotations

import json

import pytest

from corral.engines.llamacpp.progress import MARK, progress_of


def line(state: str, **payload: object) -> str:
    return MARK + json.dumps({"state": state, "payload": payload})


@pytest.mark.parametrize(
    ("said", "share"),
    [
        (line("loading", stages=["text_model"], current="text_model", value=0.37), 0.37),
        (line("loading", stages=["text_model", "spec_model"], current="text_model", value=0.5), 0.25),
        (line("loading", stages=["text_model", "mmproj_model"], current="mmproj_model", value=0.5), 0.75),
        (line("loading", stages=["text_model"], current="another", value=0.5), 0.5),
        (line("loading", stages=["text_model"], current="text_model", value=7), 1.0),
        (line("loading", stages=[], current="", value=-1), 0.0),
        (line("ready", id="m", aliases=["m"], meta={"n_ctx": 1}), 1.0),
        (line("sleeping"), None),
        (line("loading", value="much"), None),
        (MARK + "{", None),
        (MARK + "[]", None),
        ("load_tensors: loading model tensors", None),
        ("said: " + line("ready"), None),
        ("", None),
    ],
)
def test_progress(said: str, share: float | None) -> None:
    assert progress_of(said) == share
