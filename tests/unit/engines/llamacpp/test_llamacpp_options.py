"""options: values as people write them, and the plain form that the engine gets."""

from __future__ import annotations

from typing import Any

import pytest

from corral.engines.llamacpp.options import BY_NAME, OPTIONS, SECTIONS


@pytest.mark.parametrize(
    ("option", "given", "plain"),
    [
        ("cache_ram", "2GiB", 2048),
        ("cache_ram", "1.5 GiB", 1536),
        ("cache_ram", "1500kB", 2),  # rounded up
        ("cache_ram", 77, 77),
        ("cache_ram", "77", 77),
        ("cache_ram", 0, 0),
        ("cache_ram", -1, -1),
        ("tensor_split", [3, 1], ("3", "1")),
        ("tensor_split", [0.5, "1"], ("0.5", "1")),
        ("fit_target", 512, ("512",)),
        ("device", "CUDA0", ("CUDA0",)),
        ("lora", "/a.gguf", ("/a.gguf",)),
        ("lora", ["/a.gguf", "/b.gguf"], ("/a.gguf", "/b.gguf")),
        ("n_gpu_layers", "all", "all"),
        ("reasoning_budget", -1, -1),
    ],
)
def test_values(option: str, given: Any, plain: Any) -> None:
    assert BY_NAME[option].check(given) == plain


@pytest.mark.parametrize(
    ("option", "given", "says"),
    [
        ("cache_ram", "lots", "a size such as 512MiB, or a whole number of MiB, -1 or more"),
        ("cache_ram", -2, "-1 or more"),
        ("cache_ram", True, "a size such as"),
        ("cache_ram", 1.5, "a size such as"),
        ("lora", [3], "a list of file paths"),
        ("lora", ["/a\0b"], "a list of file paths"),
        ("tensor_split", [True], "a list of texts"),
        ("parallel", 257, "from 1 to 256"),
        ("slot_prompt_similarity", 1.5, "from 0 to 1"),
        ("prio", 4, "from -1 to 3"),
        ("video_fps", 0, "0.01 or more"),
        ("spec_draft_sampling", "sometimes", "one of greedy, probabilistic"),
    ],
)
def test_what_a_value_may_be_is_said(option: str, given: Any, says: str) -> None:
    with pytest.raises(ValueError, match=option) as caught:
        BY_NAME[option].check(given)
    assert says in str(caught.value)


def test_the_sections_are_the_table() -> None:
    assert [spec.name for table in SECTIONS.values() for spec in table] == [spec.name for spec in OPTIONS]
    assert len({spec.name for spec in OPTIONS}) == len(OPTIONS)
