"""
Settings -> what the embedded worker sets on xllamacpp's CommonParams. Pure; the wheel is not imported here.

The wheel has no command line, so each option names its field: a dotted path and a value in plain JSON. An enumeration
is written `["enum", class, member]`. Fields and their meaning: xllamacpp 2026.10, checked against llama.cpp's own
`common/arg.cpp`. `tests/contracts/test_engine.py` holds both engines to the same meaning.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from corral.domain.fleet import ArgValue, OptionValue
from corral.engines.llamacpp.settings import Settings

Fields = dict[str, Any]
_Setter = Callable[[OptionValue], Fields]

_MIB: Final = 1024**2
_SPLITS: Final = 128  # tensor_split and fit_params_target are arrays of this fixed length


def fields_of(settings: Settings) -> Fields:
    """Every field that these settings set, with slots always among them. Call `refused` first."""
    fields: Fields = {}
    kwargs: dict[str, str] = {}
    for name, value in settings.options.items():
        if name in _TEMPLATE_VALUES:
            kwargs |= _TEMPLATE_VALUES[name](value)
        if name in _SETTERS:
            fields |= _SETTERS[name](value)
    for key, arg in settings.args:
        fields |= _ARGS[key](arg)
    if kwargs:
        fields["default_template_kwargs"] = kwargs
    # The command line marks what the user chose, so that the GGUF's own sampling values do not replace it.
    chosen = [_USER_SAMPLING[name] for name in settings.chosen if name in _USER_SAMPLING]
    if chosen:
        fields["sampling.user_sampling_config"] = ["flags", "common_params_sampling_config", *chosen]
    # The wheel gives n_threads_batch no default of its own: the command line takes that of n_threads.
    if fields.get("cpuparams.n_threads", -1) > 0 and fields.get("cpuparams_batch.n_threads", -1) <= 0:
        fields["cpuparams_batch.n_threads"] = fields["cpuparams.n_threads"]
    return fields | _load_mode(settings)


def refused(settings: Settings) -> list[str]:
    """Sentences for what only a llama-server binary can do."""
    way_out = "Put a llama-server on PATH, or set the Model's `binary`."
    found = [
        f"The embedded engine cannot do options.{name}: {_REFUSED[name]} {way_out}"
        for name in settings.chosen
        if name in _REFUSED
    ]
    for key, arg in settings.args:
        if key not in _ARGS:
            found.append(f"The embedded engine does not know args.{key}. {way_out}")
            continue
        try:
            _ARGS[key](arg)
        except (TypeError, ValueError):
            found.append(f"args.{key} cannot be {arg!r} for the embedded engine.")
    return found


def _same(path: str) -> _Setter:
    return lambda value: {path: value}


def _not(path: str) -> _Setter:
    return lambda value: {path: value is not True}


def _enum(path: str, cls: str, members: dict[str, str]) -> _Setter:
    return lambda value: {path: ["enum", cls, members[str(value)]]}


def _named(path: str, cls: str, prefix: str, *words: str) -> _Setter:
    """An enumeration whose members are a prefix and the word in capitals."""
    return _enum(path, cls, {word: prefix + word.upper().replace("-", "_") for word in words})


def _layers(path: str) -> _Setter:
    return lambda value: {path: {"auto": -1, "all": -2}.get(str(value), value)}


def _floats(value: OptionValue) -> list[float]:
    items = value if isinstance(value, tuple) else (str(value),)
    return [float(part) for item in items for part in item.split(",") if part.strip()]


def _padded(values: list[float]) -> list[float]:
    return (values + [0.0] * _SPLITS)[:_SPLITS]


def _fit_target(value: OptionValue) -> Fields:
    sizes = [int(number * _MIB) for number in _floats(value)] or [1024 * _MIB]
    sizes += sizes[-1:] * _SPLITS if len(sizes) == 1 else [1024 * _MIB] * _SPLITS  # one value is for all devices
    return {"fit_params_target": sizes[:_SPLITS]}


def _words(value: OptionValue) -> list[str]:
    items = value if isinstance(value, tuple) else (str(value),)
    return [part.strip() for item in items for part in item.split(",") if part.strip()]


def _cache_type(path: str) -> _Setter:
    return lambda value: {path: ["enum", "ggml_type", f"GGML_TYPE_{str(value).upper()}"]}


def _on(value: OptionValue, fields: Fields) -> Fields:
    """Fields of a switch that the command line has only in one direction."""
    return fields if value is True else {}


_SETTERS: Final[dict[str, _Setter]] = {
    # context
    "ctx_size": _same("n_ctx"),
    "parallel": _same("n_parallel"),
    "kv_unified": _same("kv_unified"),
    "batch_size": _same("n_batch"),
    "ubatch_size": _same("n_ubatch"),
    "flash_attn": _enum("flash_attn_type", "llama_flash_attn_type", {
        "auto": "LLAMA_FLASH_ATTN_TYPE_AUTO", "on": "LLAMA_FLASH_ATTN_TYPE_ENABLED",
        "off": "LLAMA_FLASH_ATTN_TYPE_DISABLED"}),
    "cache_type_k": _cache_type("cache_type_k"),
    "cache_type_v": _cache_type("cache_type_v"),
    "kv_offload": _not("no_kv_offload"),
    "swa_full": _same("swa_full"),
    "context_shift": _same("ctx_shift"),
    "keep": _same("n_keep"),
    "cache_ram": _same("cache_ram_mib"),
    "cache_prompt": _same("cache_prompt"),
    "cache_reuse": _same("n_cache_reuse"),
    "ctx_checkpoints": _same("n_ctx_checkpoints"),
    "slot_save_path": lambda value: {"slot_save_path": str(value).rstrip("/") + "/"},
    "rope_scaling": _named("rope_scaling_type", "llama_rope_scaling_type", "LLAMA_ROPE_SCALING_TYPE_",
                           "none", "linear", "yarn"),
    "rope_scale": lambda value: {"rope_freq_scale": 1.0 / float(str(value)) if float(str(value)) else 0.0},
    "rope_freq_base": _same("rope_freq_base"),
    "rope_freq_scale": _same("rope_freq_scale"),
    "yarn_orig_ctx": _same("yarn_orig_ctx"),
    "yarn_ext_factor": _same("yarn_ext_factor"),
    "yarn_attn_factor": _same("yarn_attn_factor"),
    "yarn_beta_slow": _same("yarn_beta_slow"),
    "yarn_beta_fast": _same("yarn_beta_fast"),
    # placement
    "n_gpu_layers": _layers("n_gpu_layers"),
    "split_mode": _named("split_mode", "llama_split_mode", "LLAMA_SPLIT_MODE_", "none", "layer", "row", "tensor"),
    "tensor_split": lambda value: {"tensor_split": _padded(_floats(value))},
    "main_gpu": _same("main_gpu"),
    "override_tensor": lambda value: {"tensor_buft_overrides": ",".join(_words(value))},
    "fit": lambda value: {"fit_params": value == "on"},
    "fit_target": _fit_target,
    "fit_ctx": _same("fit_params_min_ctx"),
    "op_offload": _not("no_op_offload"),
    "repack": _not("no_extra_bufts"),
    "numa": _named("numa", "ggml_numa_strategy", "GGML_NUMA_STRATEGY_", "distribute", "isolate", "numactl"),
    "threads": _same("cpuparams.n_threads"),
    "threads_batch": _same("cpuparams_batch.n_threads"),
    "threads_http": _same("n_threads_http"),
    "prio": _enum("cpuparams.priority", "ggml_sched_priority", {
        "-1": "GGML_SCHED_PRIO_LOW", "0": "GGML_SCHED_PRIO_NORMAL", "1": "GGML_SCHED_PRIO_MEDIUM",
        "2": "GGML_SCHED_PRIO_HIGH", "3": "GGML_SCHED_PRIO_REALTIME"}),
    "poll": _same("cpuparams.poll"),
    "warmup": _same("warmup"),
    "check_tensors": _same("check_tensors"),
    # chat
    "jinja": _same("use_jinja"),
    "chat_template": _same("chat_template"),
    "chat_template_file": lambda value: {"chat_template": ["file", value]},
    "reasoning": lambda value: {"enable_reasoning": {"on": 1, "off": 0}.get(str(value), -1)},
    "reasoning_format": _named("reasoning_format", "common_reasoning_format", "COMMON_REASONING_FORMAT_",
                               "none", "auto", "deepseek", "deepseek-legacy"),
    "reasoning_budget": _same("sampling.reasoning_budget_tokens"),
    "prefill_assistant": _same("prefill_assistant"),
    "skip_chat_parsing": _same("force_pure_content_parser"),
    # task
    "embeddings": lambda value: _on(value, {"embedding": True}),
    "pooling": _named("pooling_type", "llama_pooling_type", "LLAMA_POOLING_TYPE_",
                      "none", "mean", "cls", "last", "rank"),
    "embd_normalize": _same("embd_normalize"),
    "rerank": lambda value: _on(value, {
        "embedding": True, "pooling_type": ["enum", "llama_pooling_type", "LLAMA_POOLING_TYPE_RANK"]}),
    "mmproj": _same("mmproj.path"),
    "mmproj_offload": _same("mmproj_use_gpu"),
    "image_min_tokens": _same("image_min_tokens"),
    "image_max_tokens": _same("image_max_tokens"),
    "lora": lambda value: {"lora_adapters": ["lora", *_words(value)]},
    "model_draft": _same("speculative.draft.mparams.path"),
    "spec_type": lambda value: {"speculative.types": ["enums", "common_speculative_type", *(
        f"COMMON_SPECULATIVE_TYPE_{word.upper().replace('-', '_')}" for word in _words(value))]},
    "draft_max": _same("speculative.draft.n_max"),
    "draft_min": _same("speculative.draft.n_min"),
    "draft_p_min": _same("speculative.draft.p_min"),
    "n_gpu_layers_draft": _layers("speculative.draft.n_gpu_layers"),
    # sampling
    "n_predict": _same("n_predict"),
    "seed": lambda value: {"sampling.seed": 2**32 - 1 if value == -1 else value},
    "samplers": _same("sampling.samplers"),
    "temperature": _same("sampling.temp"),
    "top_k": _same("sampling.top_k"),
    "top_p": _same("sampling.top_p"),
    "min_p": _same("sampling.min_p"),
    "typical_p": _same("sampling.typ_p"),
    "xtc_probability": _same("sampling.xtc_probability"),
    "xtc_threshold": _same("sampling.xtc_threshold"),
    "repeat_last_n": lambda value: {
        "sampling.penalty_last_n": value, "sampling.n_prev": max(64, int(str(value)))},
    "repeat_penalty": _same("sampling.penalty_repeat"),
    "presence_penalty": _same("sampling.penalty_present"),
    "frequency_penalty": _same("sampling.penalty_freq"),
    "dry_multiplier": _same("sampling.dry_multiplier"),
    "dry_base": _same("sampling.dry_base"),
    "dry_allowed_length": _same("sampling.dry_allowed_length"),
    "dry_penalty_last_n": _same("sampling.dry_penalty_last_n"),
    "dynatemp_range": _same("sampling.dynatemp_range"),
    "dynatemp_exp": _same("sampling.dynatemp_exponent"),
    "mirostat": _same("sampling.mirostat"),
    "mirostat_lr": _same("sampling.mirostat_eta"),
    "mirostat_ent": _same("sampling.mirostat_tau"),
    "ignore_eos": _same("sampling.ignore_eos"),
}  # fmt: skip

_TEMPLATE_VALUES: Final[dict[str, Callable[[OptionValue], dict[str, str]]]] = {
    "chat_template_kwargs": lambda value: {key: json.dumps(item) for key, item in json.loads(str(value)).items()},
    "reasoning": lambda value: {} if value == "auto" else {"enable_thinking": "true" if value == "on" else "false"},
    "reasoning_effort": lambda value: {} if value == "default" else {"reasoning_effort": json.dumps(value)},
}

_USER_SAMPLING: Final[dict[str, str]] = {
    name: f"COMMON_PARAMS_SAMPLING_CONFIG_{member}"
    for name, member in {
        "samplers": "SAMPLERS", "temperature": "TEMP", "top_k": "TOP_K", "top_p": "TOP_P", "min_p": "MIN_P",
        "xtc_probability": "XTC_PROBABILITY", "xtc_threshold": "XTC_THRESHOLD", "repeat_last_n": "PENALTY_LAST_N",
        "repeat_penalty": "PENALTY_REPEAT", "mirostat": "MIROSTAT", "mirostat_lr": "MIROSTAT_ETA",
        "mirostat_ent": "MIROSTAT_TAU",
    }.items()
}  # fmt: skip

_REFUSED: Final[dict[str, str]] = {
    "device": "it takes every device it finds.",
    "cpu_moe": "it has no list of expert tensors.",
    "n_cpu_moe": "it has no list of expert tensors.",
    "top_n_sigma": "it does not offer this sampler.",
}

_LOAD_MODES: Final[dict[str, str]] = {
    "auto": "AUTO", "none": "NONE", "mmap": "MMAP", "mlock": "MLOCK", "mmap+mlock": "MMAP_MLOCK", "dio": "DIRECT_IO",
}  # fmt: skip


def _load_mode(settings: Settings) -> Fields:
    mode = settings.options.get("load_mode")
    if mode is None:
        mlock, mmap = settings.options.get("mlock"), settings.options.get("mmap")
        if mlock is None and mmap is None:
            return {}
        if mlock is True:
            mode = "mlock" if mmap is False else "mmap+mlock"
        else:
            mode = {None: "auto", True: "mmap", False: "none"}[None if mmap is None else mmap is True]
    return {"load_mode": ["enum", "llama_load_mode", f"LLAMA_LOAD_MODE_{_LOAD_MODES[str(mode)]}"]}


def _bare(fields: Fields) -> Callable[[ArgValue], Fields]:
    """An argument without a value."""

    def setter(arg: ArgValue) -> Fields:
        if arg is not True:
            raise ValueError("takes no value")
        return fields

    return setter


def _number(path: str) -> Callable[[ArgValue], Fields]:
    def setter(arg: ArgValue) -> Fields:
        if isinstance(arg, bool) or not isinstance(arg, int | str):
            raise ValueError("takes a whole number")
        return {path: int(arg)}

    return setter


def _text(path: str) -> Callable[[ArgValue], Fields]:
    def setter(arg: ArgValue) -> Fields:
        if not isinstance(arg, str):
            raise ValueError("takes a text")
        return {path: arg}

    return setter


def _timeout(arg: ArgValue) -> Fields:
    seconds = _number("timeout_read")(arg)["timeout_read"]
    return {"timeout_read": seconds, "timeout_write": seconds}


_ARGS: Final[dict[str, Callable[[ArgValue], Fields]]] = {
    "log-disable": _bare({"verbosity": -1}),
    "v": _bare({"verbosity": 2**31 - 1}),
    "verbose": _bare({"verbosity": 2**31 - 1}),
    "log-verbose": _bare({"verbosity": 2**31 - 1}),
    "lv": _number("verbosity"),
    "verbosity": _number("verbosity"),
    "log-verbosity": _number("verbosity"),
    "no-ui": _bare({"ui": False}),
    "no-webui": _bare({"ui": False}),
    "no-host": _bare({"no_host": True}),
    "no-cont-batching": _bare({"cont_batching": False}),
    "cont-batching": _bare({"cont_batching": True}),
    "special": _bare({"special": True}),
    "sse-ping-interval": _number("sse_ping_interval"),
    "timeout": _timeout,
    "to": _timeout,
    "media-path": _text("media_path"),
    "tags": lambda arg: {"model_tags": ["set", *str(arg).split(",")]},
    "kv-unified-per-slot": _number("kv_unified_per_slot"),
    "sleep-idle-seconds": _number("sleep_idle_seconds"),
}
"""Free arguments that the wheel has a field for, without their dashes."""

COVERED: Final = (
    frozenset(_SETTERS) | frozenset(_TEMPLATE_VALUES) | frozenset(_REFUSED) | {"mlock", "mmap", "load_mode"}
)
"""Every option that this file has an answer for; a test holds it equal to the option table."""
