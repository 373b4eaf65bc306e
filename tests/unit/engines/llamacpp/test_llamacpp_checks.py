"""checks and drafting: what cannot work together is one sentence each, and what can is left alone."""

from __future__ import annotations

from typing import Any

import pytest

from corral.domain.fleet import ModelSpec, Source
from corral.domain.units import FOREVER
from corral.engines.llamacpp.settings import settings_of


def problems(options: dict[str, Any], **model: Any) -> tuple[str, ...]:
    return settings_of(ModelSpec("m", Source("/m.gguf"), options=options, **model)).problems


WRONG: list[tuple[dict[str, Any], str]] = [
    # texts that llama.cpp takes apart
    ({"override_tensor": ("exps",)}, "override_tensor: 'exps' is not PATTERN=TYPE"),
    ({"override_tensor": ("a=CPU,b",)}, "override_tensor: 'b' is not PATTERN=TYPE"),
    ({"override_kv": ("a=int",)}, "override_kv: 'a=int' is not KEY=TYPE:VALUE"),
    ({"override_kv": ("a=bool:yes",)}, "is not KEY=TYPE:VALUE"),
    ({"logit_bias": ("hello+1",)}, "logit_bias: 'hello+1' is not TOKEN+BIAS"),
    ({"logit_bias": ("1+1,2+2",)}, "is not TOKEN+BIAS"),
    ({"tensor_split": ("a", "1")}, "tensor_split: 'a' is not a share"),
    ({"fit_target": ("1GiB",)}, "fit_target: '1GiB' is not a whole number of MiB"),
    ({"cpu_mask": "0xzz"}, "cpu_mask: '0xzz' is not a hexadecimal mask"),
    ({"cpu_range": "7"}, "cpu_range: '7' is not FIRST-LAST"),
    # context
    ({"kv_unified": False, "kv_unified_per_slot": 512}, "kv_unified_per_slot has a meaning only with kv_unified"),
    ({"cache_ram": 0, "cache_idle_slots": True}, "cache_idle_slots needs cache_ram"),
    ({"cache_prompt": False, "cache_reuse": 64}, "cache_reuse needs cache_prompt"),
    ({"ctx_checkpoints": 0, "checkpoint_min_step": 9}, "no meaning without checkpoints"),
    ({"sleep_idle_seconds": 0}, "sleep_idle_seconds cannot be 0"),
    ({"rope_scale": 2.0, "rope_freq_scale": 0.5}, "say the same"),
    ({"rope_scaling": "none", "rope_scale": 2.0}, "rope_scale has no meaning with rope_scaling none"),
    ({"rope_scaling": "linear", "yarn_beta_fast": 1.0}, "yarn_beta_fast needs rope_scaling yarn, not linear"),
    # devices
    ({"device": ("none", "CUDA0")}, "none or a list of devices"),
    ({"device": ("CUDA0,CUDA0",)}, "names CUDA0 twice"),
    ({"device": ("CUDA0",), "tensor_split": ("3", "1")}, "2 shares for 1 devices"),
    ({"tensor_split": ("0,0",)}, "gives every device 0"),
    ({"tensor_split": ("1",) * 129}, "more than 128 shares"),
    ({"tensor_split": ("3", "1"), "split_mode": "none"}, "no meaning with split_mode none"),
    ({"main_gpu": 1}, "main_gpu has a meaning only with split_mode none or row"),
    ({"main_gpu": 1, "split_mode": "layer"}, "main_gpu has a meaning only with split_mode none or row"),
    ({"main_gpu": 2, "split_mode": "none", "device": ("CUDA0", "CUDA1")}, "main_gpu 2 is not among 2 devices"),
    ({"cpu_moe": True, "n_cpu_moe": 3}, "remove n_cpu_moe"),
    ({"fit": "off", "fit_ctx": 512}, "fit_ctx needs fit"),
    ({"lazy_mode": "on", "mmap": False}, "lazy_mode on needs the file to be mapped"),
    ({"lazy_mode": "on", "load_mode": "dio"}, "lazy_mode on needs the file to be mapped"),
    # files beside the model's own
    ({"mmproj_device": "CUDA0"}, "mmproj_device has a meaning only with mmproj"),
    ({"mmproj": "/p", "mmproj_offload": False, "mmproj_device": "CUDA0"}, "mmproj_device needs mmproj_offload"),
    ({"lora_scaled": ("/a.gguf",)}, "lora_scaled: '/a.gguf' is not FILE:SCALE"),
    ({"lora_scaled": ("/a:b.gguf:0.5",)}, "is not FILE:SCALE"),
    ({"lora": ("/a,b.gguf",)}, "because of its comma"),
    ({"control_vector_layer_range": ("1", "2")}, "only with control_vector"),
    ({"control_vector": ("/c",), "control_vector_layer_range": ("9", "2")}, "[FIRST, LAST]"),
    ({"control_vector": ("/c",), "control_vector_layer_range": ("9",)}, "[FIRST, LAST]"),
    # drafts
    ({"spec_type": ("draft-simpel",), "model_draft": "/d"}, "'draft-simpel' is unknown: did you mean draft-simple"),
    ({"spec_type": ("draft-eagle3",)}, "spec_type draft-eagle3 needs model_draft"),
    ({"spec_type": ("none", "ngram-mod")}, "spec_type none turns speculative decoding off"),
    ({"spec_type": ("none",), "model_draft": "/d"}, "spec_type none turns speculative decoding off"),
    ({"spec_type": ("ngram-mod",), "model_draft": "/d"}, "model_draft is not used by this spec_type"),
    ({"n_gpu_layers_draft": 3}, "n_gpu_layers_draft has a meaning only with model_draft"),
    ({"draft_max": 3}, "draft_max has a meaning only with spec_type or model_draft"),
    ({"spec_ngram_simple_size_n": 3, "spec_type": ("ngram-mod",)}, "only with spec_type ngram-simple"),
    ({"spec_ngram_map_k_size_n": 3, "spec_type": ("ngram-map-k4v",)}, "only with spec_type ngram-map-k."),
    ({"lookup_cache_static": "/c"}, "only with spec_type ngram-cache"),
    ({"spec_type": ("ngram-mod",), "spec_ngram_mod_n_min": 9, "spec_ngram_mod_n_max": 3}, "larger than"),
    ({"spec_type": ("ngram-mod",), "embeddings": True}, "are for text"),
    # answers
    ({"reasoning_budget_message": "enough"}, "only with a reasoning_budget"),
    ({"reasoning": "off", "reasoning_budget": 100}, "leaves nothing to think"),
    ({"grammar": "x", "json_schema": "{}"}, "grammar and json_schema exclude each other"),
    ({"json_schema": "[1]"}, "json_schema must be a JSON object"),
]

RIGHT: list[dict[str, Any]] = [
    {"override_tensor": ("exps=CPU", r"blk\.[0-9]+\.ffn=CUDA0,x=CPU")},
    {"override_kv": ("a.b=int:-1", "c=float:1e-5", "d=bool:false", "e=str:x y")},
    {"logit_bias": ("15043+1", "2-inf", "3-0.5")},
    {"tensor_split": ("3", "0.5"), "split_mode": "row", "main_gpu": 0},
    {"tensor_split": ("0", "1"), "device": ("CUDA0", "CUDA1")},
    {"cpu_mask": "ff", "cpu_range": "0-7"},
    {"rope_scaling": "yarn", "rope_scale": 4.0, "yarn_orig_ctx": 32768},
    {"yarn_orig_ctx": 32768},  # the file says yarn
    {"spec_type": ("draft-mtp",), "draft_max": 3, "cache_type_k_draft": "q8_0", "model_draft": "/d"},
    {"spec_type": ("draft-mtp",), "draft_max": 3},  # the layers are in the model's own file
    {"spec_type": ("ngram-simple,ngram-mod",), "spec_ngram_simple_size_n": 3, "spec_ngram_mod_n_max": 9},
    {"model_draft": "/d", "draft_max": 8, "n_gpu_layers_draft": "all", "device_draft": ("CUDA1",)},
    {"spec_type": ("none",)},
    {"lora": ("/a.gguf",), "lora_scaled": ("/b.gguf:-0.5", "/c.gguf:0")},
    {"control_vector_scaled": ("/c.gguf:0.5",), "control_vector_layer_range": ("4", "4")},
    {"mmproj": "/p.gguf", "mmproj_device": "none", "image_max_tokens": 512, "media_path": "/m"},
    {"reasoning_budget": 0, "reasoning_budget_message": "enough", "reasoning": "on"},
    {"lazy_mode": "on", "load_mode": "mmap"},
    {"cache_ram": 0, "cache_idle_slots": False},
    {"fit": "on", "fit_target": ("512", "1024")},
]  # fmt: skip


@pytest.mark.parametrize(("options", "says"), WRONG, ids=[says[:40] for _, says in WRONG])
def test_what_cannot_be_is_one_sentence(options: dict[str, Any], says: str) -> None:
    (sentence,) = problems(options)
    assert says in sentence and sentence.endswith((".", "?"))


@pytest.mark.parametrize("options", RIGHT, ids=[" ".join(options)[:50] for options in RIGHT])
def test_what_can_be_is_left_alone(options: dict[str, Any]) -> None:
    assert problems(options) == ()


@pytest.mark.parametrize(("ttl", "sleep", "wrong"), [(600, 600, True), (600, 599, False), (FOREVER, 9999, False)])
def test_a_model_that_is_unloaded_first_never_sleeps(ttl: float, sleep: int, wrong: bool) -> None:
    assert bool(problems({"sleep_idle_seconds": sleep}, ttl_s=ttl)) is wrong


def test_never_sleeping_fits_every_ttl() -> None:
    assert problems({"sleep_idle_seconds": -1}, ttl_s=1.0) == ()
