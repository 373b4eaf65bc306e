"""
Options -> fields of the wheel, one by one: xllamacpp 2026.10, checked against llama.cpp's own `common/arg.cpp`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from corral.domain.fleet import OptionValue
from corral.engines.llamacpp.companions import texts
from corral.engines.llamacpp.embedded.kinds import (
    Setter,
    cache_type,
    enum,
    fit_target,
    floats,
    folder,
    grammar,
    layers,
    named,
    negated,
    padded,
    priority,
    same,
    timeout,
    when,
    words,
)

SETTERS: Final[dict[str, Setter]] = {
    # context
    "ctx_size": same("n_ctx"),
    "parallel": same("n_parallel"),
    "kv_unified": same("kv_unified"),
    "batch_size": same("n_batch"),
    "ubatch_size": same("n_ubatch"),
    "flash_attn": enum("flash_attn_type", "llama_flash_attn_type", {
        "auto": "LLAMA_FLASH_ATTN_TYPE_AUTO", "on": "LLAMA_FLASH_ATTN_TYPE_ENABLED",
        "off": "LLAMA_FLASH_ATTN_TYPE_DISABLED"}),
    "cache_type_k": cache_type("cache_type_k"),
    "cache_type_v": cache_type("cache_type_v"),
    "kv_offload": negated("no_kv_offload"),
    "swa_full": same("swa_full"),
    "context_shift": same("ctx_shift"),
    "keep": same("n_keep"),
    "cache_ram": same("cache_ram_mib"),
    "cache_prompt": same("cache_prompt"),
    "cache_reuse": same("n_cache_reuse"),
    "ctx_checkpoints": same("n_ctx_checkpoints"),
    "slot_save_path": folder("slot_save_path"),
    "kv_unified_per_slot": same("kv_unified_per_slot"),
    "cont_batching": same("cont_batching"),
    "cache_idle_slots": same("cache_idle_slots"),
    "checkpoint_min_step": same("checkpoint_min_step"),
    "slot_prompt_similarity": same("slot_prompt_similarity"),
    "rope_scaling": named("rope_scaling_type", "llama_rope_scaling_type", "LLAMA_ROPE_SCALING_TYPE_",
                           "none", "linear", "yarn"),
    "rope_scale": lambda value: {"rope_freq_scale": 1.0 / float(str(value)) if float(str(value)) else 0.0},
    "rope_freq_base": same("rope_freq_base"),
    "rope_freq_scale": same("rope_freq_scale"),
    "yarn_orig_ctx": same("yarn_orig_ctx"),
    "yarn_ext_factor": same("yarn_ext_factor"),
    "yarn_attn_factor": same("yarn_attn_factor"),
    "yarn_beta_slow": same("yarn_beta_slow"),
    "yarn_beta_fast": same("yarn_beta_fast"),
    # placement
    "n_gpu_layers": layers("n_gpu_layers"),
    "split_mode": named("split_mode", "llama_split_mode", "LLAMA_SPLIT_MODE_", "none", "layer", "row", "tensor"),
    "tensor_split": lambda value: {"tensor_split": padded(floats(value))},
    "main_gpu": same("main_gpu"),
    "fit": lambda value: {"fit_params": value == "on"},
    "fit_target": fit_target,
    "fit_ctx": same("fit_params_min_ctx"),
    "op_offload": negated("no_op_offload"),
    "repack": negated("no_extra_bufts"),
    "numa": named("numa", "ggml_numa_strategy", "GGML_NUMA_STRATEGY_", "distribute", "isolate", "numactl"),
    "threads": same("cpuparams.n_threads"),
    "threads_batch": same("cpuparams_batch.n_threads"),
    "threads_http": same("n_threads_http"),
    "cpu_strict": same("cpuparams.strict_cpu"),
    "prio": priority("cpuparams.priority"),
    "cpu_strict_batch": same("cpuparams_batch.strict_cpu"),
    "prio_batch": priority("cpuparams_batch.priority"),
    "poll_batch": lambda value: {"cpuparams_batch.poll": int(value is True)},
    "no_host": same("no_host"),
    "perf": lambda value: {"no_perf": value is not True, "sampling.no_perf": value is not True},
    "lazy_mode": named("lazy_mode", "llama_lazy_mode", "LLAMA_LAZY_MODE_", "on", "auto", "off"),
    "poll": same("cpuparams.poll"),
    "warmup": same("warmup"),
    "check_tensors": same("check_tensors"),
    # chat
    "jinja": same("use_jinja"),
    "chat_template": same("chat_template"),
    "chat_template_file": lambda value: {"chat_template": ["file", value]},
    "reasoning": lambda value: {"enable_reasoning": {"on": 1, "off": 0}.get(str(value), -1)},
    "reasoning_format": named("reasoning_format", "common_reasoning_format", "COMMON_REASONING_FORMAT_",
                               "none", "auto", "deepseek", "deepseek-legacy"),
    "reasoning_budget": same("sampling.reasoning_budget_tokens"),
    "reasoning_budget_message": same("sampling.reasoning_budget_message"),
    "special": same("special"),
    "reverse_prompt": lambda value: {"antiprompt": list(texts(value))},
    "prefill_assistant": same("prefill_assistant"),
    "skip_chat_parsing": same("force_pure_content_parser"),
    # task
    "embeddings": lambda value: when(value, {"embedding": True}),
    "pooling": named("pooling_type", "llama_pooling_type", "LLAMA_POOLING_TYPE_",
                      "none", "mean", "cls", "last", "rank"),
    "embd_normalize": same("embd_normalize"),
    "rerank": lambda value: when(value, {
        "embedding": True, "pooling_type": ["enum", "llama_pooling_type", "LLAMA_POOLING_TYPE_RANK"]}),
    "mmproj": same("mmproj.path"),
    "mmproj_offload": same("mmproj_use_gpu"),
    "image_min_tokens": same("image_min_tokens"),
    "image_max_tokens": same("image_max_tokens"),
    "mmproj_device": lambda value: {"mmproj_use_gpu": False} if value == "none" else {"mmproj_device": value},
    "mtmd_batch_max_tokens": same("mtmd_batch_max_tokens"),
    "video_fps": same("video_fps"),
    "video_timestamp_interval": same("video_timestamp_interval_ms"),
    "video_ffmpeg_dir": same("video_ffmpeg_bin_dir"),
    "media_path": folder("media_path"),
    "model_draft": same("speculative.draft.mparams.path"),
    "spec_type": lambda value: {"speculative.types": ["enums", "common_speculative_type", *(
        f"COMMON_SPECULATIVE_TYPE_{word.upper().replace('-', '_')}" for word in words(value))]},
    "draft_max": same("speculative.draft.n_max"),
    "draft_min": same("speculative.draft.n_min"),
    "draft_p_min": same("speculative.draft.p_min"),
    "n_gpu_layers_draft": layers("speculative.draft.n_gpu_layers"),
    "draft_p_split": same("speculative.draft.p_split"),
    "spec_draft_sampling": lambda value: {"speculative.draft.probabilistic": value == "probabilistic"},
    "spec_draft_backend_sampling": same("speculative.draft.backend_sampling"),
    "device_draft": lambda value: {"speculative.draft.devices": ",".join(words(value))},
    "cache_type_k_draft": cache_type("speculative.draft.cache_type_k"),
    "cache_type_v_draft": cache_type("speculative.draft.cache_type_v"),
    "threads_draft": same("speculative.draft.cpuparams.n_threads"),
    "threads_batch_draft": same("speculative.draft.cpuparams_batch.n_threads"),
    "spec_ngram_mod_n_match": same("speculative.ngram_mod.n_match"),
    "spec_ngram_mod_n_min": same("speculative.ngram_mod.n_min"),
    "spec_ngram_mod_n_max": same("speculative.ngram_mod.n_max"),
    **{
        f"spec_ngram_{kind}_{option}": same(f"speculative.ngram_{kind}.{option}")
        for kind in ("simple", "map_k", "map_k4v")
        for option in ("size_n", "size_m", "min_hits")
    },
    "lookup_cache_static": same("speculative.ngram_cache.lookup_cache_static"),
    "lookup_cache_dynamic": same("speculative.ngram_cache.lookup_cache_dynamic"),
    # server
    "timeout": timeout,
    "sse_ping_interval": same("sse_ping_interval"),
    "sleep_idle_seconds": same("sleep_idle_seconds"),
    "tags": lambda value: {"model_tags": ["set", *words(value)]},
    "ui": same("ui"),
    "verbosity": same("verbosity"),
    # sampling
    "adaptive_target": same("sampling.adaptive_target"),
    "adaptive_decay": same("sampling.adaptive_decay"),
    "grammar": lambda value: grammar("USER", value),
    "grammar_file": lambda value: grammar("USER", ["file", value]),
    "json_schema": lambda value: grammar("OUTPUT_FORMAT", ["schema", value]),
    "json_schema_file": lambda value: grammar("OUTPUT_FORMAT", ["schema_file", value]),
    "backend_sampling": same("sampling.backend_sampling"),
    "n_predict": same("n_predict"),
    "seed": lambda value: {"sampling.seed": 2**32 - 1 if value == -1 else value},
    "samplers": same("sampling.samplers"),
    "temperature": same("sampling.temp"),
    "top_k": same("sampling.top_k"),
    "top_p": same("sampling.top_p"),
    "min_p": same("sampling.min_p"),
    "typical_p": same("sampling.typ_p"),
    "xtc_probability": same("sampling.xtc_probability"),
    "xtc_threshold": same("sampling.xtc_threshold"),
    "repeat_last_n": lambda value: {
        "sampling.penalty_last_n": value, "sampling.n_prev": max(64, int(str(value)))},
    "repeat_penalty": same("sampling.penalty_repeat"),
    "presence_penalty": same("sampling.penalty_present"),
    "frequency_penalty": same("sampling.penalty_freq"),
    "dry_multiplier": same("sampling.dry_multiplier"),
    "dry_base": same("sampling.dry_base"),
    "dry_allowed_length": same("sampling.dry_allowed_length"),
    "dry_penalty_last_n": same("sampling.dry_penalty_last_n"),
    "dynatemp_range": same("sampling.dynatemp_range"),
    "dynatemp_exp": same("sampling.dynatemp_exponent"),
    "mirostat": same("sampling.mirostat"),
    "mirostat_lr": same("sampling.mirostat_eta"),
    "mirostat_ent": same("sampling.mirostat_tau"),
    "ignore_eos": same("sampling.ignore_eos"),
}  # fmt: skip

TEMPLATE_VALUES: Final[dict[str, Callable[[OptionValue], dict[str, str]]]] = {
    "chat_template_kwargs": lambda value: {key: json.dumps(item) for key, item in json.loads(str(value)).items()},
    "reasoning": lambda value: {} if value == "auto" else {"enable_thinking": "true" if value == "on" else "false"},
    "reasoning_preserve": lambda value: {"preserve_reasoning": "true" if value is True else "false"},
    "reasoning_effort": lambda value: {} if value == "default" else {"reasoning_effort": json.dumps(value)},
}

USER_SAMPLING: Final[dict[str, str]] = {
    name: f"COMMON_PARAMS_SAMPLING_CONFIG_{member}"
    for name, member in {
        "samplers": "SAMPLERS", "temperature": "TEMP", "top_k": "TOP_K", "top_p": "TOP_P", "min_p": "MIN_P",
        "xtc_probability": "XTC_PROBABILITY", "xtc_threshold": "XTC_THRESHOLD", "repeat_last_n": "PENALTY_LAST_N",
        "repeat_penalty": "PENALTY_REPEAT", "mirostat": "MIROSTAT", "mirostat_lr": "MIROSTAT_ETA",
        "mirostat_ent": "MIROSTAT_TAU",
    }.items()
}  # fmt: skip

REFUSED: Final[dict[str, str]] = {
    "device": "it takes every device it finds.",
    "override_kv": "it takes the file's metadata as it is.",
    "control_vector": "it has no control vectors.",
    "control_vector_scaled": "it has no control vectors.",
    "control_vector_layer_range": "it has no control vectors.",
    "dry_sequence_breaker": "it has llama.cpp's own breakers only.",
    "spm_infill": "it has the other order only.",
    "logit_bias": "it takes them in requests only.",
    "top_n_sigma": "it does not offer this sampler.",
}
