"""What is said beside the numbers: `tests/real/test_odd_loads.py` has what llama-server does with such contexts."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from corral.store.fit.report import Load, fit
from corral.store.fit.subject import Subject
from tests.unit.store.fit.kit import host, llama, subject

CAPPED = (
    "One request gets at most {} tokens, whatever the context: the model was trained for 4096. More takes RoPE "
    "scaling, if its maker says that it can: rope_scaling: yarn, rope_scale: {}."
)
STRETCHED = "{} tokens are more than the 4096 that the model was trained for: its maker says how far RoPE scaling goes."


def asked(model: Subject) -> Load:
    return fit(model, host(64), lambda device: None).asked


@pytest.mark.parametrize(
    ("chosen", "notes"),
    [
        ({"ctx_size": 4096}, ()),
        ({"ctx_size": 0}, ()),
        ({"ctx_size": 4097}, (CAPPED.format(4096, 2),)),
        ({"ctx_size": 16384}, (CAPPED.format(4096, 4),)),
        ({"ctx_size": 16384, "kv_unified": False}, ()),  # four slots of their own
        ({"ctx_size": 16384, "kv_unified": False, "parallel": 2}, (CAPPED.format(4096, 2),)),
        ({"ctx_size": 16384, "rope_scaling": "none"}, (CAPPED.format(4096, 4),)),
        ({"ctx_size": 16384, "rope_scaling": "yarn", "rope_scale": 4.0}, (STRETCHED.format(16384),)),
        ({"ctx_size": 16384, "rope_scaling": "yarn", "rope_freq_scale": 0.25}, (STRETCHED.format(16384),)),
        ({"ctx_size": 16384, "rope_scaling": "yarn", "rope_scale": 2.0}, (CAPPED.format(8192, 4),)),
        ({"ctx_size": 16384, "rope_scaling": "yarn"}, (CAPPED.format(4096, 4),)),
        ({"ctx_size": 16384, "rope_scaling": "linear", "rope_scale": 4.0}, (CAPPED.format(4096, 4),)),
        ({"ctx_size": 16384, "rope_scale": 4.0}, (CAPPED.format(4096, 4),)),
    ],
)
def test_more_context_than_the_model_was_trained_for(chosen: dict[str, Any], notes: tuple[str, ...]) -> None:
    assert asked(subject(llama(context_length=4096), **chosen)).notes == notes


def test_whose_context_it_is() -> None:
    shared, apart = (asked(subject(ctx_size=1000, parallel=3, kv_unified=unified)) for unified in (True, False))
    assert (shared.context_tokens, shared.context_shared, shared.slots) == (1024, True, 3)
    assert (apart.context_tokens, apart.context_shared, apart.slots) == (512, False, 3)


TASKS = [
    ("embeddings", "embeddings: that takes options.embeddings"),
    ("rerank", "reranking: that takes options.rerank"),
]


@pytest.mark.parametrize(("task", "words"), TASKS)
def test_models_that_do_not_answer(task: str, words: str) -> None:
    model = dataclasses.replace(subject(), task=task)
    assert asked(model).notes == (f"It is a model for {words}: true.",)
    told: dict[str, Any] = {task: True}
    assert asked(dataclasses.replace(subject(**told), task=task)).notes == ()


def test_what_a_header_says_that_it_is_for() -> None:
    assert [subject(llama(pooling_type=kind)).task for kind in (0, 1, 4)] == ["", "embeddings", "rerank"]
    assert subject(llama("bert")).task == "embeddings"
