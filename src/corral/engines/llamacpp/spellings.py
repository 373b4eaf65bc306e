"""
How llama-server spells each option, newest spelling first.

Builds rename flags. `argv` picks the first spelling that the binary's `--help` knows; `settings` uses the same table to
recognise an option that was written under `args`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Spelling:
    """Flags that set an option; `off` are those that switch a boolean off."""

    on: tuple[str, ...]
    off: tuple[str, ...] = ()


def _pair(*names: str) -> Spelling:
    """`--jinja` with its `--no-jinja`."""
    return Spelling(names, tuple(f"--no-{name[2:]}" for name in names if name.startswith("--")))


def _plain(*names: str) -> Spelling:
    return Spelling(names)


_UNUSUAL: Final[dict[str, Spelling]] = {
    "ctx_size": _plain("--ctx-size", "-c"),
    "parallel": _plain("--parallel", "-np"),
    "kv_unified": Spelling(("--kv-unified", "-kvu"), ("--no-kv-unified", "-no-kvu")),
    "batch_size": _plain("--batch-size", "-b"),
    "ubatch_size": _plain("--ubatch-size", "-ub"),
    "flash_attn": _plain("--flash-attn", "-fa"),
    "cache_type_k": _plain("--cache-type-k", "-ctk"),
    "cache_type_v": _plain("--cache-type-v", "-ctv"),
    "kv_offload": Spelling(("--kv-offload", "-kvo"), ("--no-kv-offload", "-nkvo")),
    "context_shift": _pair("--context-shift"),
    "cache_ram": _plain("--cache-ram", "-cram"),
    "kv_unified_per_slot": _plain("--kv-unified-per-slot"),
    "cont_batching": Spelling(("--cont-batching", "-cb"), ("--no-cont-batching", "-nocb")),
    "cache_prompt": _pair("--cache-prompt"),
    "cache_idle_slots": _pair("--cache-idle-slots"),
    "checkpoint_min_step": _plain("--checkpoint-min-step", "-cms"),
    "slot_prompt_similarity": _plain("--slot-prompt-similarity", "-sps"),
    "ctx_checkpoints": _plain("--ctx-checkpoints", "--swa-checkpoints", "-ctxcp"),
    "n_gpu_layers": _plain("--n-gpu-layers", "--gpu-layers", "-ngl"),
    "device": _plain("--device", "-dev"),
    "split_mode": _plain("--split-mode", "-sm"),
    "tensor_split": _plain("--tensor-split", "-ts"),
    "main_gpu": _plain("--main-gpu", "-mg"),
    "override_tensor": _plain("--override-tensor", "-ot"),
    "cpu_moe": _plain("--cpu-moe", "-cmoe"),
    "n_cpu_moe": _plain("--n-cpu-moe", "-ncmoe"),
    "n_cpu_ffn": _plain("--n-cpu-ffn", "-ncffn"),
    "fit": _plain("--fit", "-fit"),
    "fit_target": _plain("--fit-target", "-fitt"),
    "fit_ctx": _plain("--fit-ctx", "-fitc"),
    "op_offload": _pair("--op-offload"),
    "repack": Spelling(("--repack",), ("--no-repack", "-nr")),
    "mlock": _plain("--mlock"),
    "mmap": _pair("--mmap"),
    "load_mode": _plain("--load-mode", "-lm"),
    "lazy_mode": _plain("--lazy-mode", "-lzm"),
    "cpu_mask": _plain("--cpu-mask", "-C"),
    "cpu_range": _plain("--cpu-range", "-Cr"),
    "cpu_mask_batch": _plain("--cpu-mask-batch", "-Cb"),
    "cpu_range_batch": _plain("--cpu-range-batch", "-Crb"),
    "perf": _pair("--perf"),
    "threads": _plain("--threads", "-t"),
    "threads_batch": _plain("--threads-batch", "-tb"),
    "warmup": _pair("--warmup"),
    "jinja": _pair("--jinja"),
    "reasoning": _plain("--reasoning", "-rea"),
    "reasoning_preserve": _pair("--reasoning-preserve"),
    "special": _plain("--special", "-sp"),
    "reverse_prompt": _plain("--reverse-prompt", "-r"),
    "prefill_assistant": _pair("--prefill-assistant"),
    "skip_chat_parsing": _pair("--skip-chat-parsing"),
    "embeddings": _plain("--embeddings", "--embedding"),
    "rerank": _plain("--reranking", "--rerank"),
    "mmproj": _plain("--mmproj", "-mm"),
    "mmproj_offload": _pair("--mmproj-offload"),
    "mmproj_device": _plain("--mmproj-device", "-mmdev"),
    "timeout": _plain("--timeout", "-to"),
    "ui": Spelling(("--ui", "--webui"), ("--no-ui", "--no-webui")),
    "verbosity": _plain("--verbosity", "--log-verbosity", "-lv"),
    "model_draft": _plain("--spec-draft-model", "--model-draft", "-md"),
    "draft_max": _plain("--spec-draft-n-max", "--draft-max", "--draft", "--draft-n"),
    "draft_min": _plain("--spec-draft-n-min", "--draft-min", "--draft-n-min"),
    "draft_p_min": _plain("--spec-draft-p-min", "--draft-p-min"),
    "n_gpu_layers_draft": _plain("--spec-draft-ngl", "--n-gpu-layers-draft", "--gpu-layers-draft", "-ngld"),
    "draft_p_split": _plain("--spec-draft-p-split", "--draft-p-split"),
    "spec_draft_backend_sampling": _pair("--spec-draft-backend-sampling"),
    "device_draft": _plain("--spec-draft-device", "--device-draft", "-devd"),
    "cache_type_k_draft": _plain("--spec-draft-type-k", "--cache-type-k-draft", "-ctkd"),
    "cache_type_v_draft": _plain("--spec-draft-type-v", "--cache-type-v-draft", "-ctvd"),
    "override_tensor_draft": _plain("--spec-draft-override-tensor", "--override-tensor-draft", "-otd"),
    "cpu_moe_draft": _plain("--spec-draft-cpu-moe", "--cpu-moe-draft", "-cmoed"),
    "n_cpu_moe_draft": _plain("--spec-draft-n-cpu-moe", "--spec-draft-ncmoe", "--n-cpu-moe-draft", "-ncmoed"),
    "threads_draft": _plain("--spec-draft-threads", "--threads-draft", "-td"),
    "threads_batch_draft": _plain("--spec-draft-threads-batch", "--threads-batch-draft", "-tbd"),
    "lookup_cache_static": _plain("--lookup-cache-static", "-lcs"),
    "lookup_cache_dynamic": _plain("--lookup-cache-dynamic", "-lcd"),
    "spec_ngram_simple_size_n": _plain("--spec-ngram-simple-size-n", "--spec-ngram-size-n"),
    "spec_ngram_simple_size_m": _plain("--spec-ngram-simple-size-m", "--spec-ngram-size-m"),
    "spec_ngram_simple_min_hits": _plain("--spec-ngram-simple-min-hits", "--spec-ngram-min-hits"),
    "spec_ngram_map_k_size_n": _plain("--spec-ngram-map-k-size-n", "--spec-ngram-size-n"),
    "spec_ngram_map_k_size_m": _plain("--spec-ngram-map-k-size-m", "--spec-ngram-size-m"),
    "spec_ngram_map_k_min_hits": _plain("--spec-ngram-map-k-min-hits", "--spec-ngram-min-hits"),
    "spec_ngram_map_k4v_size_n": _plain("--spec-ngram-map-k4v-size-n", "--spec-ngram-size-n"),
    "spec_ngram_map_k4v_size_m": _plain("--spec-ngram-map-k4v-size-m", "--spec-ngram-size-m"),
    "spec_ngram_map_k4v_min_hits": _plain("--spec-ngram-map-k4v-min-hits", "--spec-ngram-min-hits"),
    "n_predict": _plain("--n-predict", "--predict", "-n"),
    "seed": _plain("--seed", "-s"),
    "temperature": _plain("--temp", "--temperature"),
    "top_n_sigma": _plain("--top-nsigma", "--top-n-sigma"),
    "typical_p": _plain("--typical", "--typical-p"),
    "logit_bias": _plain("--logit-bias", "-l"),
    "json_schema": _plain("--json-schema", "-j"),
    "json_schema_file": _plain("--json-schema-file", "-jf"),
    "backend_sampling": _plain("--backend-sampling", "-bs"),
}


def spelling(option: str) -> Spelling:
    """How this option is spelled; most are their name in kebab-case."""
    return _UNUSUAL.get(option) or _plain("--" + option.replace("_", "-"))


def recognised(options: tuple[str, ...]) -> dict[str, tuple[str, bool]]:
    """Every spelling without its dashes -> (option, True where it switches it on)."""
    known: dict[str, tuple[str, bool]] = {}
    shared: set[str] = set()
    for option in options:
        spelled = spelling(option)
        for flags, value in ((spelled.on, True), (spelled.off, False)):
            for name in (flag.lstrip("-") for flag in flags):
                if known.get(name, (option, value))[0] != option:  # an old flag that set several is no name of one
                    shared.add(name)
                known[name] = (option, value)
    return {name: found for name, found in known.items() if name not in shared}
