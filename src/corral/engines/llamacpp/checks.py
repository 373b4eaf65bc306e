"""
Options that cannot work together: sentences, each with the way out. Pure; what only the files say is in `fits`.

`options` has the defaults too, `chosen` what somebody asked for. Values are those of the option table's own types.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Final

from corral.domain.fleet import OptionValue
from corral.engines.llamacpp import companions, drafting
from corral.engines.llamacpp.companions import named, scaled, texts

Options = Mapping[str, OptionValue]

QUANTISED_KV: Final = frozenset({"q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"})
_LEAST_SLOT_TOKENS: Final = 64  # a chat template alone takes about as many
_MOST_DEVICES: Final = 128  # the length of llama.cpp's own arrays
_PICTURES: Final = (
    "mmproj_offload", "mmproj_device", "image_min_tokens", "image_max_tokens", "mtmd_batch_max_tokens", "video_fps",
    "video_timestamp_interval", "video_ffmpeg_dir",
)  # fmt: skip
_YARN: Final = ("yarn_orig_ctx", "yarn_ext_factor", "yarn_attn_factor", "yarn_beta_slow", "yarn_beta_fast")
_OUTPUT: Final = ("grammar", "grammar_file", "json_schema", "json_schema_file")
_BUFFERS: Final = (r"[^,=]+=[^,=]+", "PATTERN=TYPE, for example exps=CPU")
_MASK: Final = (r"(?:0[xX])?[0-9a-fA-F]{1,128}", "a hexadecimal mask, for example 0xff")
_RANGE: Final = (r"\d+-\d+", "FIRST-LAST, for example 0-7")
_FORMATS: Final[dict[str, tuple[str, str]]] = {
    "override_tensor": _BUFFERS,
    "override_tensor_draft": _BUFFERS,
    "override_kv": (
        r"[^,=]+=(?:int:-?\d+|float:[-+.\deE]+|bool:(?:true|false)|str:[^,]*)",
        "KEY=TYPE:VALUE, for example tokenizer.ggml.add_bos_token=bool:false",
    ),
    "logit_bias": (r"\d+[-+](?:\d+(?:\.\d*)?|\.\d+|inf)", "TOKEN+BIAS or TOKEN-BIAS, for example 15043-1"),
    "tensor_split": (r"\d+(?:\.\d*)?|\.\d+", "a share, for example 3"),
    "fit_target": (r"\d+", "a whole number of MiB"),
    "control_vector_layer_range": (r"\d+", "the number of a layer"),
    "cpu_mask": _MASK,
    "cpu_mask_batch": _MASK,
    "cpu_range": _RANGE,
    "cpu_range_batch": _RANGE,
}
_COMMAS: Final = frozenset({"override_tensor", "override_tensor_draft", "override_kv", "tensor_split", "fit_target"})
"""Lists that may also be written as one text with commas, as on a command line."""


def conflicts(options: Options, chosen: Options, *, pictures: bool) -> list[str]:
    """What is wrong with these options among themselves; `pictures`: there is a projector, or one may come yet."""
    found = _formats(chosen)
    if not pictures:
        found += [f"options.{name} has a meaning only with mmproj." for name in _PICTURES if name in options]
    for check in (
        _attention, _batches, _kept, _rope, _devices, _loading, _task, _pictures, _adapters, drafting.conflicts,
        _thinking, _templates, _output, _paths,
    ):  # fmt: skip
        found += check(options)
    return found


def listed(value: OptionValue | None) -> list[str]:
    """The entries of a list that may be written with commas."""
    return [] if value is None else [part.strip() for text in texts(value) for part in text.split(",")]


def _formats(chosen: Options) -> list[str]:
    """Texts that llama.cpp takes apart itself."""
    found = []
    for name, (pattern, example) in _FORMATS.items():
        if name in chosen:
            entries = listed(chosen[name]) if name in _COMMAS else texts(chosen[name])
            found += [
                f"options.{name}: {entry!r} is not {example}." for entry in entries if not re.fullmatch(pattern, entry)
            ]
    return found


def _attention(options: Options) -> list[str]:
    found = []
    kind = options.get("cache_type_v")
    if kind in QUANTISED_KV and options.get("flash_attn") == "off":
        found.append(f"options.cache_type_v {kind} needs flash attention: set flash_attn to on or auto, or use f16.")
    if options.get("context_shift") is True and options.get("embeddings") is True:
        found.append("options.context_shift has no meaning for embeddings: remove one of them.")
    return found


def _batches(options: Options) -> list[str]:
    found = []
    batch, micro = options.get("batch_size"), options.get("ubatch_size")
    if isinstance(batch, int) and isinstance(micro, int) and micro > batch:
        found.append(f"options.ubatch_size ({micro}) is larger than batch_size ({batch}).")
    ctx, slots, unified = options.get("ctx_size"), options.get("parallel"), options.get("kv_unified")
    if isinstance(ctx, int) and isinstance(slots, int) and 0 < ctx < slots * _LEAST_SLOT_TOKENS and unified is False:
        found.append(
            f"options.ctx_size {ctx} over {slots} slots leaves {ctx // slots} tokens for each: "
            "raise ctx_size, lower parallel, or set kv_unified to true."
        )
    if "kv_unified_per_slot" in options and unified is False:
        found.append("options.kv_unified_per_slot has a meaning only with kv_unified: remove one of them.")
    keep = options.get("keep")
    if isinstance(keep, int) and isinstance(ctx, int) and 0 < ctx <= keep:
        found.append(f"options.keep ({keep}) is not less than ctx_size ({ctx}).")
    return found


def _kept(options: Options) -> list[str]:
    """What is kept of finished requests."""
    found = []
    if options.get("cache_idle_slots") is True and options.get("cache_ram") == 0:
        found.append("options.cache_idle_slots needs cache_ram: raise cache_ram, or remove it.")
    if options.get("cache_prompt") is False and options.get("cache_reuse"):
        found.append("options.cache_reuse needs cache_prompt: set it to true, or remove cache_reuse.")
    if options.get("ctx_checkpoints") == 0 and "checkpoint_min_step" in options:
        found.append("options.checkpoint_min_step has no meaning without checkpoints: raise ctx_checkpoints.")
    if options.get("sleep_idle_seconds") == 0:
        found.append("options.sleep_idle_seconds cannot be 0: write -1 for never.")
    return found


def _rope(options: Options) -> list[str]:
    found = []
    method = options.get("rope_scaling")
    if "rope_scale" in options and "rope_freq_scale" in options:
        found.append("options.rope_scale and rope_freq_scale say the same (one is 1 / the other): keep one of them.")
    if method == "none":
        found += [
            f"options.{name} has no meaning with rope_scaling none: remove one of them."
            for name in ("rope_scale", "rope_freq_scale")
            if name in options
        ]
    if method in ("none", "linear"):
        found += [f"options.{name} needs rope_scaling yarn, not {method}." for name in _YARN if name in options]
    return found


def _devices(options: Options) -> list[str]:
    found = []
    devices, shares = listed(options.get("device")), listed(options.get("tensor_split"))
    mode, main = options.get("split_mode"), options.get("main_gpu")
    if "none" in devices and len(devices) > 1:
        found.append("options.device is none or a list of devices, not both.")
    for name in {name for name in devices if devices.count(name) > 1}:
        found.append(f"options.device names {name} twice.")
    if len(shares) > _MOST_DEVICES:
        found.append(f"options.tensor_split has more than {_MOST_DEVICES} shares.")
    if devices and len(shares) > len(devices):
        found.append(f"options.tensor_split has {len(shares)} shares for {len(devices)} devices.")
    if shares and not any(_float(share) for share in shares):
        found.append("options.tensor_split gives every device 0: give one of them a share.")
    if shares and mode == "none":
        found.append("options.tensor_split has no meaning with split_mode none: remove one of them.")
    if main is not None and mode not in ("none", "row"):
        found.append("options.main_gpu has a meaning only with split_mode none or row: set it, or use device.")
    if isinstance(main, int) and devices and main >= len(devices):
        found.append(f"options.main_gpu {main} is not among {len(devices)} devices, which count from 0.")
    if options.get("cpu_moe") is True and "n_cpu_moe" in options:
        found.append("options.cpu_moe keeps all experts on the CPU: remove n_cpu_moe.")
    if options.get("fit") == "off":
        found += [f"options.{name} needs fit." for name in ("fit_target", "fit_ctx") if name in options]
    return found


def _loading(options: Options) -> list[str]:
    mlock, mmap, mode = (options.get(name) for name in ("mlock", "mmap", "load_mode"))
    if mode is not None and (mlock is not None or mmap is not None):
        return ["options.load_mode says the same as mlock and mmap: keep the one or the others."]
    mapped = mmap is not False and mode not in ("none", "mlock", "dio")
    if options.get("lazy_mode") == "on" and not mapped:
        return ["options.lazy_mode on needs the file to be mapped: set mmap to true, or load_mode to mmap."]
    return []


def _task(options: Options) -> list[str]:
    found = []
    embeddings, rerank, pooling = (options.get(name) for name in ("embeddings", "rerank", "pooling"))
    if embeddings is True and rerank is True:
        found.append("options.embeddings and rerank exclude each other: make two Models of the same file.")
    if rerank is True and pooling not in (None, "rank"):
        found.append(f"options.rerank needs pooling rank, not {pooling}.")
    if pooling is not None and embeddings is not True and rerank is not True:
        found.append("options.pooling has a meaning only for embeddings: set embeddings to true, or remove it.")
    if pooling == "rank" and embeddings is True:
        found.append("options.pooling rank is for reranking: set rerank instead of embeddings.")
    return found


def _pictures(options: Options) -> list[str]:
    found = []
    least, most = options.get("image_min_tokens"), options.get("image_max_tokens")
    if isinstance(least, int) and isinstance(most, int) and least > most:
        found.append(f"options.image_min_tokens ({least}) is larger than image_max_tokens ({most}).")
    if options.get("mmproj_offload") is False and options.get("mmproj_device") not in (None, "none"):
        found.append("options.mmproj_device needs mmproj_offload: set it to true, or remove the device.")
    return found


def _adapters(options: Options) -> list[str]:
    found = []
    for name in companions.SCALED:
        for entry in texts(options.get(name, ())):
            path, scale = scaled(entry)
            if scale is None or ":" in path:
                found.append(f"options.{name}: {entry!r} is not FILE:SCALE, for example /a.gguf:0.5.")
    for name, path in named(options, ("lora", "lora_scaled", "control_vector", "control_vector_scaled")):
        if "," in path:
            found.append(f"options.{name}: llama.cpp cannot read {path!r}, because of its comma: rename the file.")
    span = texts(options.get("control_vector_layer_range", ()))
    if span and not {"control_vector", "control_vector_scaled"} & options.keys():
        found.append("options.control_vector_layer_range has a meaning only with control_vector.")
    if span and (len(span) != 2 or _float(span[0]) > _float(span[1])):
        found.append("options.control_vector_layer_range is [FIRST, LAST], for example [4, 20].")
    return found


def _thinking(options: Options) -> list[str]:
    found = []
    budget = options.get("reasoning_budget")
    if "reasoning_budget_message" in options and (not isinstance(budget, int) or budget < 0):
        found.append("options.reasoning_budget_message has a meaning only with a reasoning_budget of 0 or more.")
    if options.get("reasoning") == "off" and isinstance(budget, int) and budget > 0:
        found.append("options.reasoning off leaves nothing to think: remove reasoning_budget, or set reasoning to on.")
    return found


def _templates(options: Options) -> list[str]:
    found = []
    if "chat_template" in options and "chat_template_file" in options:
        found.append("options.chat_template and chat_template_file exclude each other: keep one of them.")
    if options.get("jinja") is False and "chat_template_file" in options:
        found.append("options.chat_template_file is a Jinja template: it needs jinja.")
    kwargs = options.get("chat_template_kwargs")
    if isinstance(kwargs, str) and not _is_object(kwargs):
        found.append("options.chat_template_kwargs must be a JSON object in quotes, for example '{\"key\": 1}'.")
    return found


def _output(options: Options) -> list[str]:
    found = []
    given = [name for name in _OUTPUT if name in options]
    if len(given) > 1:
        found.append(f"options.{' and '.join(given)} exclude each other: keep one of them.")
    schema = options.get("json_schema")
    if isinstance(schema, str) and not _is_object(schema):
        found.append('options.json_schema must be a JSON object in quotes, for example \'{"type": "object"}\'.')
    return found


def _paths(options: Options) -> list[str]:
    """An engine runs in a folder of its own. The config makes paths of `options` absolute, those in `args` not."""
    every = (*companions.MODELS, *companions.TEXTS, *companions.FOLDERS, *companions.MADE)
    return [
        f"options.{name}: {path} is not a whole path: begin it with /."
        for name, path in named(options, every)
        if not os.path.isabs(path)
    ]


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
