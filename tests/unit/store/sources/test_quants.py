"""Quantisations: every spelling that is in use, in names, in folders and typed by hand."""

from __future__ import annotations

import pytest

from corral.store.sources.quants import PREFERRED, normal, quant_of, rank, same


@pytest.mark.parametrize(
    ("path", "quant"),
    [
        ("Qwen3-30B-A3B-Instruct-2507-Q4_K_M.gguf", "Q4_K_M"),
        ("tinyllama-1.1b-chat-v1.0.Q4_K_M.gguf", "Q4_K_M"),
        ("qwen2.5-7b-instruct-q5_k_m-00001-of-00002.gguf", "Q5_K_M"),
        ("Qwen3-Coder-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("UD-IQ1_M/DeepSeek-R1-UD-IQ1_M-00001-of-00004.gguf", "UD-IQ1_M"),
        ("BF16/model-00001-of-00003.gguf", "BF16"),
        ("Q8_0/model.gguf", "Q8_0"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("gpt-oss-20b-MXFP4_MOE.gguf", "MXFP4"),
        ("model-iq4_xs.gguf", "IQ4_XS"),
        ("model.i1-IQ2_XXS.gguf", "IQ2_XXS"),
        ("model-IQ4_NL.gguf", "IQ4_NL"),
        ("model-fp16.gguf", "F16"),
        ("ggml-model-f16.gguf", "F16"),
        ("model-Q4_0_4_4.gguf", "Q4_0_4_4"),
        ("model-Q6_K_L.gguf", "Q6_K_L"),
        ("model-Q4-K-M.gguf", "Q4_K_M"),
        ("bitnet-TQ1_0.gguf", "TQ1_0"),
        ("f16-experiments/model-Q3_K_S.gguf", "Q3_K_S"),
        ("Qwen3-4B.gguf", ""),
        ("phi-4.gguf", ""),
        ("SQ8_0lver.gguf", ""),
    ],
)
def test_what_a_path_says(path: str, quant: str) -> None:
    assert quant_of(path) == quant


@pytest.mark.parametrize(
    ("typed", "quant"),
    [
        ("q4_k_m", "Q4_K_M"),
        ("Q4-K-M", "Q4_K_M"),
        ("q4km", "Q4_K_M"),
        ("ud-q4_k_xl", "UD-Q4_K_XL"),
        ("fp16", "F16"),
        ("mxfp4_moe", "MXFP4"),
        ("iq4xs", "IQ4_XS"),
        ("XYZ", "XYZ"),
    ],
)
def test_what_somebody_types(typed: str, quant: str) -> None:
    assert normal(typed) == quant
    assert same(normal(typed), quant)


def test_each_preferred_one_is_read_from_a_name_and_stands_once() -> None:
    assert [quant_of(f"model-{each}.gguf") for each in PREFERRED] == list(PREFERRED)
    assert len(set(PREFERRED)) == len(PREFERRED)


def test_the_usual_one_goes_before_its_neighbours() -> None:
    wanted = ["Q4_K_M", "UD-Q4_K_XL", "Q4_K_S", "UD-Q4_K_S", "Q5_K_M", "Q8_0", "Q3_K_M", "F16", "Q1_X"]
    assert sorted(sorted(wanted, key=len), key=rank) == wanted
