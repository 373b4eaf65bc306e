"""Types of the KV cache that a model cannot have. `tests/real/test_cache_types.py` asks llama.cpp the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from corral.domain.errors import BadGguf
from corral.domain.fleet import ModelSpec, Source
from corral.engines.llamacpp import LlamaCppEngine
from corral.engines.llamacpp.caches import wrong_types
from corral.store.gguf.header import Header
from tests.unit.store.shapes import header

K80 = (
    "options.cache_type_k cannot be q4_0 for this model: its heads of 80 values do not divide into blocks of 32. "
    "Take f16, bf16 or f32."
)
V80 = K80.replace("type_k", "type_v").replace("q4_0", "q8_0")
ONE = (
    "options.cache_type_k cannot be q4_0 for this model: its 1 head of 80 values do not make whole blocks of 32. "
    "Take f16, bf16 or f32."
)
MLA = (
    "options.cache_type_k q8_0 and cache_type_v f16 have to be the same for this model: its attention is compressed, "
    "and keys and values are one. Set both, or neither."
)


def heads(length: int, count: int = 2, **more: Any) -> Header:
    given = {
        "embedding_length": 512, "attention__head_count": 8, "attention__head_count_kv": count,
        "attention__key_length": length, "attention__value_length": length, **more,
    }  # fmt: skip
    return header("llama", **given)


@pytest.mark.parametrize(
    ("model", "options", "sentences"),
    [
        (heads(80), {"cache_type_k": "q4_0"}, [K80]),
        (heads(80), {"cache_type_k": "q4_0", "cache_type_v": "q8_0", "flash_attn": "on"}, [K80, V80]),
        (heads(80), {"cache_type_k": "bf16", "cache_type_v": "f32"}, []),
        (heads(80), {"cache_type_k": "q4_0", "flash_attn": "off"}, []),  # two heads of 80 are five blocks
        (heads(80, 1), {"cache_type_k": "q4_0", "flash_attn": "off"}, [ONE]),
        (heads(64), {"cache_type_k": "q5_1", "cache_type_v": "iq4_nl"}, []),
        (header("llama", embedding_length=640, attention__head_count=8), {"cache_type_k": "q4_0"}, [K80]),
        (header("mamba2", embedding_length=640, attention__head_count=0), {"cache_type_k": "q4_0"}, []),
        (header("mamba2", embedding_length=640), {"cache_type_k": "q4_0"}, []),
        (heads(64, attention__key_length_mla=128, attention__value_length_mla=64), {"cache_type_k": "q8_0"}, [MLA]),
        (heads(64, attention__key_length_mla=128, attention__value_length_mla=64),
         {"cache_type_k": "q8_0", "cache_type_v": "q8_0"}, []),
        (header("deepseek4"), {"cache_type_k": "q8_0"}, [MLA]),
    ],
)  # fmt: skip
def test_types_by_the_length_of_heads(model: Header, options: dict[str, Any], sentences: list[str]) -> None:
    assert wrong_types(options, model) == sentences


def test_a_draft_model_has_types_and_heads_of_its_own() -> None:
    options = {"cache_type_k": "q4_0", "cache_type_k_draft": "q8_0"}
    (found,) = wrong_types(options, heads(80), draft=True)
    assert found.startswith("options.cache_type_k_draft cannot be q8_0 for the draft model: its heads of 80 values")
    assert wrong_types(options, heads(64)) == []


def test_the_engine_asks_the_files_that_are_here() -> None:
    read = {"/m.gguf": heads(64), "/d.gguf": heads(80), "/p.gguf": header("clip")}

    def headers(path: str) -> Header:
        if path not in read:
            raise BadGguf(f"{path} is damaged.")
        return read[path]

    engine = LlamaCppEngine(headers=headers)

    def misfits(path: str, header: Header | None = None, **options: Any) -> list[str]:
        return engine.misfits(
            ModelSpec("m", Source(path, reference="" if path else "hf.co/o/r"), options=options), header
        )

    assert misfits("/m.gguf", cache_type_k="q4_0", model_draft="/d.gguf") == []
    (found,) = misfits("/m.gguf", cache_type_k_draft="q4_0", model_draft="/d.gguf")
    assert "cache_type_k_draft cannot be q4_0" in found
    assert misfits("/m.gguf", cache_type_k_draft="q4_0", model_draft="/gone.gguf") == []
    assert misfits("/p.gguf") == ["/p.gguf is a multimodal projector: name it as options.mmproj of its model."]
    assert misfits("", heads(80), cache_type_k="q4_0") == [K80]
    assert misfits("", header("clip"))[0].startswith("hf.co/o/r is a multimodal projector")
    assert misfits("", cache_type_k="q4_0") == [], "nobody knows it"
    with pytest.raises(BadGguf):
        misfits("/gone.gguf")
    assert LlamaCppEngine().misfits(ModelSpec("m", Source(str(Path("/gone.gguf"))))) == []
