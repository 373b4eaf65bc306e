"""embedded: the same settings as fields, and what only a binary can do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from corral.domain.fleet import ModelSpec
from corral.engines.llamacpp.embedded import COVERED, fields_of, refused
from corral.engines.llamacpp.options import BY_NAME
from corral.engines.llamacpp.settings import Settings, settings_of


def settings(options: dict[str, Any] | None = None, *args: tuple[str, Any]) -> Settings:
    found = settings_of(ModelSpec("m", options=options or {}, args=args))
    assert found.problems == ()
    return found


def test_every_option_has_an_answer() -> None:
    assert BY_NAME.keys() == COVERED


def test_slots_are_always_set() -> None:
    fields = fields_of(settings())
    assert fields["n_parallel"] == 4 and fields["kv_unified"] is True and fields["n_gpu_layers"] == -1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"n_gpu_layers": 0}, {"n_gpu_layers": 0}),
        ({"n_gpu_layers": "all"}, {"n_gpu_layers": -2}),
        ({"kv_offload": False}, {"no_kv_offload": True}),
        ({"repack": False}, {"no_extra_bufts": True}),
        ({"seed": -1}, {"sampling.seed": 4294967295}),
        ({"seed": 0}, {"sampling.seed": 0}),
        ({"threads": 3}, {"cpuparams.n_threads": 3, "cpuparams_batch.n_threads": 3}),
        ({"threads": 3, "threads_batch": 5}, {"cpuparams.n_threads": 3, "cpuparams_batch.n_threads": 5}),
        ({"mlock": True}, {"load_mode": ["enum", "llama_load_mode", "LLAMA_LOAD_MODE_MMAP_MLOCK"]}),
        ({"load_mode": "dio"}, {"load_mode": ["enum", "llama_load_mode", "LLAMA_LOAD_MODE_DIRECT_IO"]}),
        ({"cache_type_k": "q8_0"}, {"cache_type_k": ["enum", "ggml_type", "GGML_TYPE_Q8_0"]}),
        ({"embeddings": False}, {}),
        ({"rerank": True}, {"embedding": True,
                            "pooling_type": ["enum", "llama_pooling_type", "LLAMA_POOLING_TYPE_RANK"]}),
        ({"rope_scale": 4.0}, {"rope_freq_scale": 0.25}),
        ({"reasoning": "off"}, {"enable_reasoning": 0, "default_template_kwargs": {"enable_thinking": "false"}}),
        ({"reasoning_effort": "low", "chat_template_kwargs": '{"a": [1]}'},
         {"default_template_kwargs": {"a": "[1]", "reasoning_effort": '"low"'}}),
        ({"chat_template_file": "/t.jinja"}, {"chat_template": ["file", "/t.jinja"]}),
        ({"slot_save_path": "/s"}, {"slot_save_path": "/s/"}),
        ({"temperature": 0}, {"sampling.temp": 0.0, "sampling.user_sampling_config":
            ["flags", "common_params_sampling_config", "COMMON_PARAMS_SAMPLING_CONFIG_TEMP"]}),
        ({"lora": ("/a", "/b")}, {"lora_adapters": ["lora", ["/a", 1.0], ["/b", 1.0]]}),
        ({"lora": ("/a",), "lora_scaled": ("/b:0.25",)}, {"lora_adapters": ["lora", ["/a", 1.0], ["/b", 0.25]]}),
        ({"cpu_moe": True}, {"tensor_buft_overrides": r"\.ffn_(up|down|gate|gate_up)_(ch|)exps=CPU"}),
        ({"n_cpu_moe": 2, "override_tensor": ("x=CPU",)}, {"tensor_buft_overrides":
            r"x=CPU,blk\.0\.ffn_(up|down|gate|gate_up)_(ch|)exps=CPU,blk\.1\.ffn_(up|down|gate|gate_up)_(ch|)exps=CPU"}),
        ({"n_cpu_ffn": 1}, {"tensor_buft_overrides": r"blk\.0\.ffn_(up|down|gate)\.=CPU"}),
        ({"n_cpu_moe": 0}, {}),
        ({"model_draft": "/d", "n_cpu_moe_draft": 1}, {"speculative.draft.mparams.path": "/d",
            "speculative.draft.tensor_buft_overrides": r"blk\.0\.ffn_(up|down|gate|gate_up)_(ch|)exps=CPU"}),
        ({"grammar": 'root ::= "x"'}, {"sampling.grammar.grammar": 'root ::= "x"', "sampling.grammar.type":
            ["enum", "common_grammar_type", "COMMON_GRAMMAR_TYPE_USER"]}),
        ({"json_schema": "{}"}, {"sampling.grammar.grammar": ["schema", "{}"], "sampling.grammar.type":
            ["enum", "common_grammar_type", "COMMON_GRAMMAR_TYPE_OUTPUT_FORMAT"]}),
        ({"perf": True}, {"no_perf": False, "sampling.no_perf": False}),
        ({"poll_batch": True}, {"cpuparams_batch.poll": 1}),
        ({"prio": -1}, {"cpuparams.priority": ["enum", "ggml_sched_priority", "GGML_SCHED_PRIO_LOW"]}),
        ({"reasoning_preserve": False}, {"default_template_kwargs": {"preserve_reasoning": "false"}}),
    ],
)  # fmt: skip
def test_fields(options: dict[str, Any], expected: dict[str, Any]) -> None:
    base = fields_of(settings())
    fields = fields_of(settings(options))
    assert json.loads(json.dumps(fields)) == fields  # it travels as JSON
    changed = {name: value for name, value in fields.items() if name not in base or base[name] != value}
    assert changed == {name: value for name, value in expected.items() if base.get(name) != value}


def test_lists_of_numbers_have_their_fixed_length() -> None:
    fields = fields_of(settings({"tensor_split": ("3", "1"), "fit_target": ("512",)}))
    assert fields["tensor_split"][:3] == [3.0, 1.0, 0.0] and len(fields["tensor_split"]) == 128
    assert fields["fit_params_target"] == [512 * 1024**2] * 128
    two = fields_of(settings({"fit_target": ("512", "256")}))["fit_params_target"]
    assert two[:3] == [512 * 1024**2, 256 * 1024**2, 1024 * 1024**2] and len(two) == 128


def test_masks_add_up() -> None:
    fields = fields_of(settings({"cpu_mask": "0x5", "cpu_range": "4-5", "cpu_range_batch": "0-0"}))
    assert fields["cpuparams.cpumask"][:7] == [True, False, True, False, True, True, False]
    assert fields["cpuparams_batch.cpumask"][:2] == [True, False] and fields["cpuparams_batch.mask_valid"] is True
    assert len(fields["cpuparams.cpumask"]) == 512


def test_arguments_with_a_field() -> None:
    given = settings(None, ("log_disable", True), ("timeout", 7), ("tags", "a,b"))
    assert refused(given) == []
    fields = fields_of(given)
    assert (fields["verbosity"], fields["timeout_read"], fields["timeout_write"]) == (-1, 7, 7)
    assert fields["model_tags"] == ["set", "a", "b"]


@pytest.mark.parametrize(
    ("options", "arg", "word"),
    [
        ({"device": ("CUDA0",)}, None, "options.device"),
        ({"top_n_sigma": 1.0}, None, "options.top_n_sigma"),
        ({"override_kv": ("a=int:1",)}, None, "options.override_kv"),
        ({"control_vector": ("/c",)}, None, "options.control_vector"),
        ({"logit_bias": ("1+1",)}, None, "options.logit_bias"),
        ({"dry_sequence_breaker": ("none",)}, None, "options.dry_sequence_breaker"),
        ({}, ("rpc", "a:1"), "args.rpc"),
        ({}, ("log_disable", 3), "args.log-disable"),
    ],
)
def test_what_the_wheel_cannot_do_is_refused(options: dict[str, Any], arg: tuple[str, Any] | None, word: str) -> None:
    (sentence,) = refused(settings(options, *([arg] if arg else [])))
    assert word in sentence and sentence.endswith(".")
