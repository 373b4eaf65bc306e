"""Names as Ollama's clients write them."""

from __future__ import annotations

import pytest

from corral.dialects.ollama.names import reference_of, shortest, spellings
from corral.domain.errors import BadRequest


@pytest.mark.parametrize(
    ("given", "short"),
    [
        ("llama3", "llama3"),
        ("llama3:latest", "llama3"),
        ("LLAMA3:Latest", "LLAMA3"),
        ("library/llama3", "llama3"),
        ("registry.ollama.ai/library/llama3:latest", "llama3"),
        ("Registry.Ollama.AI/someone/llama3:8b", "someone/llama3:8b"),
        ("hf.co/org/repo-GGUF:Q4_K_M", "hf.co/org/repo-GGUF:Q4_K_M"),
        ("hf.co/org/repo-GGUF:latest", "hf.co/org/repo-GGUF"),
        ("latest", "latest"),
        (":latest", ""),
        ("", ""),
    ],
)
def test_what_goes_without_saying_is_left_out(given: str, short: str) -> None:
    assert shortest(given) == short


def test_a_name_is_tried_as_it_is_first_and_each_once() -> None:
    assert spellings("m") == ("m", "m:latest")
    assert spellings("m:latest") == ("m:latest", "m")
    assert spellings("library/m") == ("library/m", "m", "m:latest")
    assert spellings(":latest") == (":latest",) and spellings("") == ("",)


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("tinyllama:latest", "ollama:tinyllama:latest"),
        ("llama3.2", "ollama:llama3.2:latest"),
        ("library/llama3.2:3b", "ollama:llama3.2:3b"),
        ("https://ollama.com/library/llama3.2:3b", "ollama:llama3.2:3b"),
        ("registry.ollama.ai/me/mine", "ollama:me/mine:latest"),
        ("files.example:5000/me/mine:v1", "ollama:files.example:5000/me/mine:v1"),
        ("http://files.example/me/mine", "ollama:files.example/me/mine:latest"),
        ("ollama:3b", "ollama:ollama:3b"),
        ("hf.co/org/repo", "hf.co/org/repo"),
        ("HF.co/org/repo:latest", "hf.co/org/repo"),
        ("huggingface.co/org/repo:q4_k_m", "hf.co/org/repo:Q4_K_M"),
        ("https://huggingface.co/org/repo-GGUF:IQ3_M", "hf.co/org/repo-GGUF:IQ3_M"),
        ("hf.co/org/repo:repo-IQ3_M.gguf", "hf.co/org/repo/repo-IQ3_M.gguf"),
    ],
)
def test_where_a_name_is_to_be_had(name: str, reference: str) -> None:
    assert str(reference_of(name)) == reference


@pytest.mark.parametrize(
    "name",
    ["", ":", "a:", "/a", "a//b", "../a", "a/../b", "a/b/c/d", " a", "a ", "é", "a\n", "hf.co/org", "hf.co/a/b/c",
     "hf.co/a/b@v2", "hf.co/a/b:../c.gguf", "file:/etc/passwd", "x" * 1000],
)  # fmt: skip
def test_a_name_that_is_nowhere_to_be_had(name: str) -> None:
    with pytest.raises(BadRequest, match="invalid model name") as caught:
        reference_of(name)
    assert len(caught.value.sentence()) < 300
