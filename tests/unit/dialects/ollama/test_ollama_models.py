"""Models as Ollama's clients see them."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import Any

import pytest

from corral.dialects.ollama import models
from corral.domain.facts import NOTHING, FileDetails, ModelFacts

FACTS = ModelFacts(
    architecture="qwen3moe",
    name="Qwen3 Coder",
    task="chat",
    capabilities=("chat", "completion", "tools"),
    context_tokens=8192,
    trained_context_tokens=262144,
    parameters=30_532_122_624,
    quantisation="Q4_K_M",
    size_bytes=18_556_686_912,
    embedding_length=2048,
    license="apache-2.0",
    modified_at=1_700_000_000.25,
    file_digest="ab" * 32,
)
FILE = FileDetails(
    {
        "general.architecture": "qwen3moe",
        "general.name": "Qwen3 Coder",
        "qwen3moe.context_length": 262144,
        "qwen3moe.some_list": [1, 2, 3, 4, 5, 6],
        "qwen3moe.short_list": [1, 2, 3, 4, 5],
        "tokenizer.chat_template": "{{ messages }}",
    },
    (("token_embd.weight", "Q4_K", (2048, 151936)),),
    {"clip.has_vision_encoder": True},
)


def shown(file: FileDetails | None = FILE, *, facts: ModelFacts = FACTS, **more: Any) -> dict[str, Any]:
    options: dict[str, Any] = {"options": {}, "verbose": False, **more}
    return models.show(
        "m", facts, facts.capabilities, options["options"], file, created=0.0, verbose=options["verbose"]
    )


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (7_615_616_512, "7.6B"),
        (7_000_000_000, "7B"),
        (999_999_999, "1000.00M"),
        (22_713_216, "22.71M"),
        (3_000_000, "3M"),
        (125_400, "125K"),
        (1000, "1K"),
        (999, "999"),
    ],
)
def test_counts_of_parameters(number: int, text: str) -> None:
    assert models.human_count(number) == text


@pytest.mark.parametrize("wall", [0.0, 1_700_000_000.25, -1.0, -1e18, 1e18, 4e9])
def test_a_moment_is_one_that_clients_can_read(wall: float) -> None:
    assert datetime.fromisoformat(models.moment(wall)).tzinfo is not None


def test_a_model_that_stays_expires_in_a_year_that_clients_can_read() -> None:
    assert datetime.fromisoformat(models.moment(4e9 + models.FOREVER_S)).year < 2400


def test_capabilities_are_in_ollamas_words() -> None:
    assert models.capabilities(("chat", "completion", "tools", "reasoning", "infill", "vision", "audio")) == [
        "completion", "tools", "thinking", "insert", "vision", "audio",
    ]  # fmt: skip
    assert models.capabilities(("embeddings",)) == ["embedding"]
    assert models.capabilities(("rerank",)) == []


def test_a_tag() -> None:
    assert models.tag("alias", "m", FACTS, FACTS.capabilities, created=5.0) == {
        "name": "alias",
        "model": "alias",
        "modified_at": "2023-11-14T22:13:20.250000Z",
        "size": 18_556_686_912,
        "digest": "ab" * 32,
        "details": {
            "parent_model": "",
            "format": "gguf",
            "family": "qwen3moe",
            "families": ["qwen3moe"],
            "parameter_size": "30.5B",
            "quantization_level": "Q4_K_M",
            "context_length": 8192,
            "embedding_length": 2048,
        },
        "capabilities": ["completion", "tools"],
    }


def test_a_model_without_a_file_has_every_field_too() -> None:
    found = models.tag("m", "m", NOTHING, (), created=5.0)
    assert (found["size"], found["modified_at"]) == (0, "1970-01-01T00:00:05Z")
    assert len(found["digest"]) == 64 and found["digest"] != models.tag("n", "n", NOTHING, (), created=5.0)["digest"]
    assert found["digest"] == models.tag("alias", "m", NOTHING, (), created=9.0)["digest"], "an alias is the same Model"
    assert found["details"]["families"] == [] and found["details"]["format"] == ""
    assert shown(None, facts=NOTHING)["model_info"] == {}, "the official client wants the field"


def test_show_has_the_keys_of_the_real_architecture() -> None:
    info = shown()["model_info"]
    assert info["qwen3moe.context_length"] == 262144 and "llama.context_length" not in info
    assert info["general.parameter_count"] == 30_532_122_624
    assert "general.name" not in info and "tokenizer.chat_template" not in info


def test_long_arrays_and_tensors_are_shown_on_demand() -> None:
    found = shown()
    assert found["model_info"]["qwen3moe.some_list"] == [] and "tensors" not in found
    assert found["model_info"]["qwen3moe.short_list"] == [1, 2, 3, 4, 5]
    found = shown(verbose=True)
    assert found["model_info"]["qwen3moe.some_list"] == [1, 2, 3, 4, 5, 6]
    assert found["tensors"] == [{"name": "token_embd.weight", "type": "Q4_K", "shape": [2048, 151936]}]


def test_show_says_what_is_known_where_the_file_does_not_answer() -> None:
    found = shown(None)
    assert found["model_info"]["qwen3moe.context_length"] == 262144
    assert found["model_info"]["general.architecture"] == "qwen3moe"
    assert found["template"] == "" and "projector_info" not in found


def test_parameters_template_and_projector() -> None:
    found = shown(options={"temperature": 0.0, "ctx_size": 8192, "n_gpu_layers": "all"})
    assert found["parameters"].split() == ["num_ctx", "8192", "temperature", "0.0"]
    assert found["modelfile"].splitlines()[0] == "FROM m"
    assert found["template"] == "{{ messages }}" and found["projector_info"] == {"clip.has_vision_encoder": True}
    assert shown(options={"chat_template": "{{ mine }}"})["template"] == "{{ mine }}"
    assert found["license"] == "apache-2.0"


def test_what_runs() -> None:
    found = models.running("m", "m", FACTS, size=10, size_vram=4, expires_at=60.0, context=4096)
    assert (found["size"], found["size_vram"], found["context_length"]) == (10, 4, 4096)
    assert found["expires_at"] == "1970-01-01T00:01:00Z" and found["digest"] == "ab" * 32
    unknown = dataclasses.replace(NOTHING)
    assert models.running("m", "m", unknown, size=0, size_vram=0, expires_at=0.0, context=None)["context_length"] == 0
