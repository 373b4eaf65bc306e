"""`options`: names, types, and which of them are for the load."""

from __future__ import annotations

from typing import Any

import pytest

from corral.dialects.ollama.options import Options, options_of
from corral.domain.errors import BadRequest
from corral.engines.llamacpp.options import plain


def test_those_of_an_answer() -> None:
    found = options_of(
        {
            "temperature": 0, "top_k": 20.0, "top_p": 0.5, "min_p": 0.1, "typical_p": 1, "repeat_last_n": 0, "seed": 42,
            "repeat_penalty": 1.1, "presence_penalty": 0.2, "frequency_penalty": 0.3, "num_keep": 4, "stop": ["a", "b"],
            "num_predict": 7,
        }
    )  # fmt: skip
    assert found.extra == {
        "temperature": 0, "top_k": 20, "top_p": 0.5, "min_p": 0.1, "typical_p": 1, "repeat_last_n": 0, "seed": 42,
        "repeat_penalty": 1.1, "presence_penalty": 0.2, "frequency_penalty": 0.3, "n_keep": 4,
    }  # fmt: skip
    assert (found.max_tokens, found.stop, found.load) == (7, ("a", "b"), {})


def test_zero_is_a_value_and_negative_numbers_are_no_bound() -> None:
    assert options_of({"num_predict": 0}).max_tokens == 0
    assert options_of({"num_predict": -1}).max_tokens is None
    assert options_of({"num_predict": -2}).max_tokens is None
    assert options_of({"seed": 2**63 - 1}).extra == {"seed": (2**63 - 1) % (2**32 - 1)}
    assert "seed" not in options_of({"seed": -1}).extra and options_of({"seed": 0}).extra == {"seed": 0}


def test_to_look_back_without_end_is_to_look_at_the_whole_context() -> None:
    """llama.cpp has no number for it, Ollama's is -1."""

    def looks_back(given: dict[str, Any], context: int | None) -> Any:
        return options_of(given, context_tokens=context).extra["repeat_last_n"]

    assert looks_back({"repeat_last_n": -1}, 4096) == 4096
    assert looks_back({"repeat_last_n": -1, "num_ctx": 512}, 4096) == 512
    assert looks_back({"repeat_last_n": -1}, None) == -1, "its engine may know what that is"
    assert looks_back({"repeat_last_n": 0}, 4096) == 0


@pytest.mark.parametrize(
    ("given", "load"),
    [
        ({"num_ctx": 8192}, {"ctx_size": 8192}),
        ({"num_ctx": 0}, {"ctx_size": 4}),
        ({"num_batch": 256}, {"batch_size": 256}),
        ({"num_gpu": 0}, {"n_gpu_layers": 0}),
        ({"num_gpu": 99}, {"n_gpu_layers": 99}),
        ({"num_gpu": -1}, {"n_gpu_layers": "auto"}),
        ({"main_gpu": 1}, {"main_gpu": 1}),
        ({"use_mmap": True}, {"load_mode": "mmap"}),
        ({"use_mmap": False}, {"load_mode": "none"}),
        ({"num_thread": 4}, {"threads": 4}),
        ({"num_thread": 0}, {"threads": -1}),
        ({"draft_num_predict": 3}, {"draft_max": 3}),
    ],
)
def test_those_of_a_load_are_options_of_llama_cpp(given: dict[str, Any], load: dict[str, Any]) -> None:
    found = options_of(given).load
    assert found == load
    assert {name: plain(name, value) for name, value in found.items()} == load


def test_null_says_nothing_and_a_name_that_is_not_known_is_passed_over() -> None:
    assert options_of({"temperature": None, "num_ctx": None}) == options_of({}) == options_of(None) == Options()
    assert options_of({"mirostat": 2, "low_vram": True, "x" * 90: 1}).unknown == ("mirostat", "low_vram", "x" * 50)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"temperature": "hot"}, 'option "temperature" must be of type float32'),
        ({"temperature": True}, 'option "temperature" must be of type float32'),
        ({"num_ctx": "8k"}, 'option "num_ctx" must be of type integer'),
        ({"num_predict": [1]}, 'option "num_predict" must be of type integer'),
        ({"seed": False}, 'option "seed" must be of type integer'),
        ({"use_mmap": 1}, 'option "use_mmap" must be of type boolean'),
        ({"stop": 3}, 'option "stop" must be of type array'),
        ({"stop": ["a", 3]}, 'option "stop" must be of an array of strings'),
        ({"top_k": 10**40}, 'option "top_k" is out of range'),
        ({"temperature": 1e300}, 'option "temperature" is out of range'),
    ],
)
def test_a_wrong_type_is_an_error(given: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequest) as error:
        options_of(given)
    assert error.value.message == words
