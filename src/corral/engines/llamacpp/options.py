"""
The options of a llama.cpp Model, in llama-server's own words (flag names in snake_case).

The only declaration: schema, validation, argv (`argv`), the embedded worker's fields (`embedded`) and the docs grow
from it. A default of None means that the engine's own default holds, which for many options the GGUF file decides.
Ranges and defaults: llama.cpp `common/arg.cpp`, build b11434.
"""

from __future__ import annotations

from typing import Final

from corral.contracts.options import OptionKind, OptionSpec, OptionTable
from corral.domain.fleet import OptionValue

KV_TYPES: Final = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
QUANTISED_KV: Final = frozenset({"q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"})
MAX_SLOTS: Final = 256  # LLAMA_MAX_SEQ

_TRI = ("on", "off", "auto")


def _int(
    name: str,
    help: str,
    unit: str = "",
    *,
    low: float | None = 0,
    high: float | None = None,
    default: int | str | None = None,
    words: tuple[str, ...] = (),
) -> OptionSpec:
    return OptionSpec(name, OptionKind.INT, help, default, words, low, high, unit)


def _float(name: str, help: str, *, low: float | None = None, high: float | None = None) -> OptionSpec:
    return OptionSpec(name, OptionKind.FLOAT, help, minimum=low, maximum=high)


def _bool(name: str, help: str, *, default: bool | None = None) -> OptionSpec:
    return OptionSpec(name, OptionKind.BOOL, help, default)


def _enum(name: str, help: str, words: tuple[str, ...], *, default: str | None = None) -> OptionSpec:
    return OptionSpec(name, OptionKind.ENUM, help, default, words)


def _text(name: str, help: str) -> OptionSpec:
    return OptionSpec(name, OptionKind.STR, help)


def _path(name: str, help: str) -> OptionSpec:
    return OptionSpec(name, OptionKind.PATH, help)


def _list(name: str, help: str, unit: str = "") -> OptionSpec:
    return OptionSpec(name, OptionKind.LIST, help, unit=unit)


_CONTEXT: OptionTable = (
    _int("ctx_size", "Context over all slots; 0 takes the model's training context.", "tokens"),
    _int("parallel", "Slots: how many requests run at the same time.", "slots", low=1, high=MAX_SLOTS, default=4),
    _bool("kv_unified", "One KV cache for all slots, so that one slot may use the whole context.", default=True),
    _int("batch_size", "Logical batch: tokens of a prompt that are handed over at once.", "tokens", low=1),
    _int("ubatch_size", "Physical batch: tokens computed at once; embeddings need it as long as the longest input.",
         "tokens", low=1),
    _enum("flash_attn", "Flash attention.", _TRI, default="auto"),
    _enum("cache_type_k", "Type of the K half of the KV cache.", KV_TYPES),
    _enum("cache_type_v", "Type of the V half of the KV cache; a quantised one needs flash attention.", KV_TYPES),
    _bool("kv_offload", "Keep the KV cache on the GPU."),
    _bool("swa_full", "Full-size cache for sliding-window attention."),
    _bool("context_shift", "Drop the oldest tokens when the context is full instead of ending the answer."),
    _int("keep", "Tokens of the prompt that context_shift keeps; -1 keeps all.", "tokens", low=-1),
    _int("cache_ram", "Host memory for the prompt cache; 0 turns it off, -1 has no limit.", "MiB", low=-1),
    _bool("cache_prompt", "Reuse the common beginning of prompts."),
    _int("cache_reuse", "Shortest piece that is reused from the cache by shifting; 0 turns it off.", "tokens"),
    _int("ctx_checkpoints", "Context checkpoints for each slot.", "checkpoints"),
    _path("slot_save_path", "Folder for saved slots; turns the save and restore routes on."),
    _enum("rope_scaling", "RoPE scaling method.", ("none", "linear", "yarn")),
    _float("rope_scale", "Factor by which the context is expanded.", low=0.0001),
    _float("rope_freq_base", "RoPE base frequency.", low=0),
    _float("rope_freq_scale", "RoPE frequency scale.", low=0),
    _int("yarn_orig_ctx", "YaRN: the model's original context.", "tokens"),
    _float("yarn_ext_factor", "YaRN: extrapolation mix."),
    _float("yarn_attn_factor", "YaRN: magnitude of attention."),
    _float("yarn_beta_slow", "YaRN: high correction."),
    _float("yarn_beta_fast", "YaRN: low correction."),
)  # fmt: skip

_PLACEMENT: OptionTable = (
    _int("n_gpu_layers", "Layers on the GPU.", "layers", default="auto", words=("auto", "all")),
    _list("device", "Devices to use, as `llama-server --list-devices` names them; `none` for the CPU."),
    _enum("split_mode", "How a model is split over several GPUs.", ("none", "layer", "row", "tensor")),
    _list("tensor_split", "Share of the model for each GPU, for example [3, 1]."),
    _int("main_gpu", "The GPU for split_mode none, or for what cannot be split.", "index"),
    _list("override_tensor", "Buffer type for tensors by name, `PATTERN=TYPE`."),
    _bool("cpu_moe", "Keep all expert weights on the CPU."),
    _int("n_cpu_moe", "Keep the expert weights of the first layers on the CPU.", "layers"),
    _enum("fit", "Adjust what is not set to the device memory that is free.", ("on", "off")),
    _list("fit_target", "Memory that `fit` leaves free on each device.", "MiB"),
    _int("fit_ctx", "The smallest context that `fit` may choose.", "tokens"),
    _bool("op_offload", "Run operations of host tensors on the GPU."),
    _bool("repack", "Rearrange weights for this CPU while loading."),
    _bool("mlock", "Hold the model in RAM: never swapped out."),
    _bool("mmap", "Map the file into memory instead of reading it."),
    _enum("load_mode", "How the file is read; says the same as mlock and mmap together.",
          ("auto", "none", "mmap", "mlock", "mmap+mlock", "dio")),
    _enum("numa", "Placement on machines with several memory nodes.", ("distribute", "isolate", "numactl")),
    _int("threads", "CPU threads for generation; -1 lets the engine choose.", "threads", low=-1),
    _int("threads_batch", "CPU threads for prompts; -1 takes the value of threads.", "threads", low=-1),
    _int("threads_http", "Threads that answer HTTP.", "threads", low=-1),
    _int("prio", "Priority of the threads, -1 low to 3 real time.", low=-1, high=3),
    _int("poll", "How eagerly threads poll for work.", "percent", high=100),
    _bool("warmup", "Run once empty before the model is ready."),
    _bool("check_tensors", "Check the weights for invalid values while loading."),
)  # fmt: skip

_CHAT: OptionTable = (
    _bool("jinja", "Use the model's Jinja chat template; tools need it."),
    _text("chat_template", "A built-in template's name, or the text of a Jinja template."),
    _path("chat_template_file", "File with a Jinja chat template."),
    _text("chat_template_kwargs", "Extra values for the chat template, a JSON object as text."),
    _enum("reasoning", "Thinking before the answer.", _TRI),
    _enum("reasoning_format", "Where the thinking is put in the answer.",
          ("none", "deepseek", "deepseek-legacy", "auto")),
    _int("reasoning_budget", "Tokens that may be spent on thinking; -1 has no limit, 0 ends it at once.", "tokens",
         low=-1),
    _text("reasoning_effort", "Effort that is handed to the chat template, for example low or high."),
    _bool("prefill_assistant", "Continue a last message of the assistant instead of answering it."),
    _bool("skip_chat_parsing", "Put everything the model says into the content."),
)  # fmt: skip

_TASK: OptionTable = (
    _bool("embeddings", "Serve embeddings."),
    _enum("pooling", "How the vectors of an input become one.", ("none", "mean", "cls", "last", "rank")),
    _int("embd_normalize", "Normalisation: -1 none, 0 largest, 1 taxicab, 2 euclidean, more: p-norm.", low=-1),
    _bool("rerank", "Serve reranking."),
    _path("mmproj", "Multimodal projector, for images and audio."),
    _bool("mmproj_offload", "Keep the projector on the GPU."),
    _int("image_min_tokens", "Fewest tokens an image may take.", "tokens"),
    _int("image_max_tokens", "Most tokens an image may take.", "tokens"),
    _list("lora", "LoRA adapter files."),
    _path("model_draft", "Small model that drafts tokens (speculative decoding)."),
    _list("spec_type", "Kinds of speculative decoding, for example draft-simple or ngram-simple."),
    _int("draft_max", "Most tokens to draft.", "tokens"),
    _int("draft_min", "Fewest tokens to draft.", "tokens"),
    _float("draft_p_min", "Smallest probability of a drafted token.", low=0, high=1),
    _int("n_gpu_layers_draft", "Layers of the draft model on the GPU.", "layers", words=("auto", "all")),
)  # fmt: skip

_SAMPLING: OptionTable = (
    _int("n_predict", "Most tokens of an answer; -1 has no limit.", "tokens", low=-1),
    _int("seed", "Seed of the random numbers; -1 takes a new one each time.", low=-1, high=2**32 - 1),
    _text("samplers", "Samplers in their order, separated by semicolons."),
    _float("temperature", "Randomness; 0 always takes the likeliest token.", low=0),
    _int("top_k", "Only the K likeliest tokens; 0 turns it off."),
    _float("top_p", "Only the likeliest tokens that together reach this probability.", low=0, high=1),
    _float("min_p", "Only tokens at least this likely, relative to the likeliest.", low=0, high=1),
    _float("top_n_sigma", "Only tokens within this many standard deviations; -1 turns it off."),
    _float("typical_p", "Locally typical sampling; 1 turns it off.", low=0, high=1),
    _float("xtc_probability", "XTC: chance to leave the likeliest tokens out.", low=0, high=1),
    _float("xtc_threshold", "XTC: threshold; above 0.5 turns it off.", low=0, high=1),
    _int("repeat_last_n", "Tokens that the penalties look back on; 0 turns them off.", "tokens"),
    _float("repeat_penalty", "Penalty for repeating; 1 turns it off.", low=0.000001),
    _float("presence_penalty", "Penalty for tokens that are there already."),
    _float("frequency_penalty", "Penalty for tokens by how often they are there."),
    _float("dry_multiplier", "DRY: strength; 0 turns it off.", low=0),
    _float("dry_base", "DRY: base.", low=1),
    _int("dry_allowed_length", "DRY: repetitions up to this length are free.", "tokens"),
    _int("dry_penalty_last_n", "DRY: tokens it looks back on; 0 turns it off.", "tokens"),
    _float("dynatemp_range", "Dynamic temperature: range; 0 turns it off.", low=0),
    _float("dynatemp_exp", "Dynamic temperature: exponent.", low=0),
    _int("mirostat", "Mirostat: 0 off, 1 Mirostat, 2 Mirostat 2.0.", high=2),
    _float("mirostat_lr", "Mirostat: learning rate.", low=0),
    _float("mirostat_ent", "Mirostat: target entropy.", low=0),
    _bool("ignore_eos", "Never let the model end its answer by itself."),
)  # fmt: skip

OPTIONS: Final[OptionTable] = _CONTEXT + _PLACEMENT + _CHAT + _TASK + _SAMPLING
BY_NAME: Final = {spec.name: spec for spec in OPTIONS}
FILES: Final = ("mmproj", "chat_template_file", "model_draft", "lora")
"""Options that name files which must exist; `lora` may name several."""


def plain(name: str, value: object) -> OptionValue:
    """A value in its option's plain form. Raises ValueError with a sentence."""
    # Numbers in a list option (`tensor_split: [3, 1]` among args) are texts for the engine.
    if BY_NAME[name].kind is OptionKind.LIST and isinstance(value, list | tuple):
        value = [str(item) for item in value]
    elif BY_NAME[name].kind is OptionKind.LIST and isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    return BY_NAME[name].check(value)
