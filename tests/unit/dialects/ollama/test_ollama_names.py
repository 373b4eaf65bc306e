"""Names as Ollama's clients write them."""

from __future__ import annotations

import pytest

from corral.dialects.ollama.names import shortest, spellings


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
