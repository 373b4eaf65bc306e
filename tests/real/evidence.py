"""
For each option: how it is seen that it reaches the engine, by the binary and by the wheel.

A row sets its option and is one of a group that is started together. What is looked for:

- `Log`: a line of the engine's log. `Props`: a value of its /props. `Setting`: a value of `generation_settings`.
- `Does`: its behaviour, by the name of a function in `behaviours.py`.
- `Parsed`: nothing on this machine shows it (it is about GPUs, or about timing). The binary takes the value and names
  the flag when it refuses a bad one (`bad` "" for a bare switch, which is in its arguments); the wheel has the field.
- `REFUSED`: a sentence when the config is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from corral.domain.fleet import OptionValue
from corral.store.gguf.demo import DemoSpec
from tests import second_files
from tests.models import ADA, EMBED, ENDLESS, OBEY, RERANK, THINKER, model

MOE: Final = DemoSpec(name="Moe", sentence="I am Moe. Four experts.", arch="qwen2moe", layers=2)
THREE: Final = DemoSpec(name="Three", sentence="I am Three. Layers.", layers=3)
DRAFT: Final = DemoSpec(name="Ada", sentence=ADA.sentence, layers=2)
EXPERT_DRAFT: Final = DemoSpec(name="Ada", sentence=ADA.sentence, arch="qwen2moe", layers=2)
SWA: Final = DemoSpec(name="Swa", sentence="I am Swa. A window slides.", arch="gemma3", layers=2)


@dataclass(frozen=True)
class Log:
    """A line that matches, or (`absent`) none."""

    pattern: str
    absent: bool = False


@dataclass(frozen=True)
class Props:
    """A value of /props, by its dotted path; floats are compared as llama.cpp's own short ones."""

    path: str
    value: Any


@dataclass(frozen=True)
class Setting:
    """A value of `generation_settings` in the answer to a /completion."""

    path: str
    value: Any


@dataclass(frozen=True)
class Does:
    """A function of `behaviours`: `async def (engine) -> None` with assertions."""

    name: str


@dataclass(frozen=True)
class Parsed:
    """The binary's parser reads it: `bad` is a value that it refuses. `field` and `held`: the wheel's attribute."""

    bad: str = ""
    field: str = ""
    held: Any = None


REFUSED: Final = "refused"
Seen = Log | Props | Setting | Does | Parsed


@dataclass(frozen=True)
class Row:
    """One option with its evidence; `wheel` None means: the same."""

    option: str
    value: OptionValue
    binary: Seen
    wheel: Seen | str | None = None


@dataclass(frozen=True)
class Group:
    """Options that are started together. `beside`: what the rows need, and is no evidence itself."""

    name: str
    rows: tuple[Row, ...]
    model: DemoSpec = ADA
    beside: Mapping[str, OptionValue] = field(default_factory=dict)


def props(option: str, value: Any, path: str = "", held: Any = None) -> Row:
    """A default of sampling as /props has it."""
    name = f"default_generation_settings.params.{path or option}"
    return Row(option, value, Props(name, value if held is None else held))


def switch(option: str, value: bool, name: str, held: Any) -> Row:
    """A bare flag that nothing shows."""
    return Row(option, value, Parsed(field=name, held=held))


def number(option: str, value: OptionValue, name: str, held: Any, bad: str = "many") -> Row:
    """A value that nothing shows."""
    return Row(option, value, Parsed(bad, name, held))


SAMPLING: Final = Group("sampling", (
    Row("n_predict", 3, Does("stops_after_three_tokens")), props("seed", 7),
    props("samplers", "top_k;temperature", held=["top_k", "temperature"]),
    props("temperature", 0.5), props("top_k", 3), props("top_p", 0.5), props("min_p", 0.25),
    Row("top_n_sigma", 2.0, Props("default_generation_settings.params.top_n_sigma", 2.0), REFUSED),
    props("typical_p", 0.75), props("xtc_probability", 0.25), props("xtc_threshold", 0.125),
    props("repeat_last_n", 9), props("repeat_penalty", 1.5), props("presence_penalty", 0.5),
    props("frequency_penalty", 0.25), props("dry_multiplier", 0.75), props("dry_base", 2.0),
    props("dry_allowed_length", 3), props("dry_penalty_last_n", 11), props("dynatemp_range", 0.5),
    props("dynatemp_exp", 1.5, "dynatemp_exponent"), props("mirostat", 2), props("mirostat_lr", 0.25, "mirostat_eta"),
    props("mirostat_ent", 4.0, "mirostat_tau"), props("ignore_eos", True),
    Row("keep", 5, Setting("n_keep", 5)),
    props("adaptive_target", 0.5), props("adaptive_decay", 0.5),
    Row("dry_sequence_breaker", ("x", r"\n"), Setting("dry_sequence_breakers", ["x", r"\n"]), REFUSED),
    Row("reverse_prompt", ("stop here", r"\n"), Setting("stop", ["stop here", r"\n"])),
    Row("backend_sampling", True, Log("setting backend sampler for seq_id 0")),
))  # fmt: skip

OUTPUT: Final = (
    Group(
        "grammar",
        (
            Row("grammar", 'root ::= "yes"', Does("answers_yes")),
            Row(
                "logit_bias",
                ("5+1", "6-2"),
                Setting("logit_bias", [{"bias": 1.0, "token": 5}, {"bias": -2.0, "token": 6}]),
                REFUSED,
            ),
        ),
    ),
    Group("grammar file", (Row("grammar_file", "FILE:grammar", Setting("grammar", 'root ::= "file"')),)),
    Group("schema", (Row("json_schema", '{"type": "integer"}', Does("completes_with_a_number")),), OBEY),
    Group("schema file", (Row("json_schema_file", "FILE:schema", Does("completes_with_a_number")),), OBEY),
)

CONTEXT: Final = Group("context", (
    Row("ctx_size", 1024, Props("default_generation_settings.n_ctx", 512)),
    Row("parallel", 2, Props("total_slots", 2)),
    Row("kv_unified", False, Log(r"kv_unified = 'false'")),
    Row("batch_size", 96, Log(r"n_batch +\S* = 96$")),
    Row("ubatch_size", 48, Log(r"n_ubatch +\S* = 48$")),
    Row("flash_attn", "off", Log(r"flash_attn +\S* = disabled")),
    Row("cache_type_k", "bf16", Log(r"K \(bf16\)")),
    Row("cache_type_v", "f32", Log(r"V \(f32\)")),
    Row("cache_ram", 77, Log("prompt cache is enabled, size limit: 77 MiB")),
    Row("cache_idle_slots", False, Log("idle slots will be saved", absent=True)),
    Row("ctx_checkpoints", 3, Log("context checkpoints enabled, max = 3,")),
    Row("checkpoint_min_step", 77, Log("min spacing = 77")),
    Row("slot_prompt_similarity", 0.25, Does("prefers_a_slot_from_a_quarter_on")),
    Row("slot_save_path", "FOLDER:slots", Does("saves_its_slot")),
    Row("rope_freq_base", 20000.0, Log(r"freq_base +\S* = 20000\.0")),
    Row("rope_scaling", "yarn", Log("custom YaRN scaling detected")),
    Row("rope_scale", 4.0, Log(r"freq_scale +\S* = 0\.25")),
    Row("yarn_orig_ctx", 256, Log("n_ctx_train adjusted to 1024")),
    number("yarn_ext_factor", 0.5, "yarn_ext_factor", 0.5), number("yarn_attn_factor", 0.75, "yarn_attn_factor", 0.75),
    number("yarn_beta_slow", 1.5, "yarn_beta_slow", 1.5), number("yarn_beta_fast", 30.0, "yarn_beta_fast", 30.0),
    number("cache_reuse", 32, "n_cache_reuse", 32),
    switch("kv_offload", False, "no_kv_offload", True), switch("cont_batching", False, "cont_batching", False),
), THREE)  # fmt: skip

REUSE: Final = Group("reuse", (
    Row("cache_prompt", False, Does("computes_the_same_prompt_again")),
    Row("kv_unified_per_slot", 300, Log(r"n_ctx_slot = 300")),
    Row("rope_freq_scale", 0.5, Log(r"freq_scale +\S* = 0\.5")),
    Row("warmup", False, Log("warming up the model", absent=True)),
    Row("sleep_idle_seconds", 1, Does("sleeps_after_a_second")),
), THREE)  # fmt: skip

WINDOW: Final = Group("window", (
    Row("swa_full", True, Log("using full-size SWA cache")),
), SWA)  # fmt: skip

SHIFT: Final = Group("shift", (Row("context_shift", True, Does("answers_beyond_its_context")),), ENDLESS,
                     {"ctx_size": 256, "parallel": 1})  # fmt: skip

PLACEMENT: Final = Group("placement", (
    Row("n_gpu_layers", 3, Parsed("many", "n_gpu_layers", 3)),
    number("split_mode", "row", "split_mode", "LLAMA_SPLIT_MODE_ROW"),
    number("tensor_split", ("1", "3"), "tensor_split", [1.0, 3.0], ",".join(["1"] * 200)),
    number("main_gpu", 1, "main_gpu", 1),
    Row("override_tensor", ("attn_q=CPU",), Log(r"attn_q\S* .*overridden to CPU")),
    Row("n_cpu_moe", 1, Log(r"blk\.0\.ffn_up_exps\S* .*overridden to CPU")),
    Row("fit_target", ("77",), Log(r">= 77 MiB")),
    number("fit_ctx", 512, "fit_params_min_ctx", 512),
    switch("op_offload", False, "no_op_offload", True), switch("no_host", True, "no_host", True),
    Row("repack", False, Log("cannot be used with preferred buffer type CPU_REPACK", absent=True)),
    Row("load_mode", "none", Log("load_mode = mmap", absent=True)),
    number("lazy_mode", "off", "lazy_mode", "LLAMA_LAZY_MODE_OFF", "maybe"),
    Row("override_kv", ("qwen2moe.context_length=int:4096",), Log(r"n_ctx_train +\S* = 4096"), REFUSED),
), MOE)  # fmt: skip

CPU_ALONE: Final = Group("the CPU alone", (
    Row("device", ("none",), Parsed("CUDA99"), REFUSED),
    Row("check_tensors", True, Parsed(field="check_tensors", held=True)),  # and a test of its own
))  # fmt: skip

LOADING: Final = Group("loading", (
    Row("mlock", True, Log("load_mode = mlock")), Row("mmap", False, Log("load_mode = mlock")),
    Row("fit", "off", Log("fitting params to device memory", absent=True)),
    Row("cpu_moe", True, Log(r"blk\.1\.ffn_down_exps\S* .*overridden to CPU")),
    number("numa", "isolate", "numa", "GGML_NUMA_STRATEGY_ISOLATE"),
    switch("perf", False, "no_perf", True),
), MOE)  # fmt: skip

THREADS: Final = Group("threads", (
    Row("n_cpu_ffn", 1, Log(r"blk\.0\.ffn_up\S* .*overridden to CPU")),
    Row("threads", 1, Log(r"n_threads = 1 \(n_threads_batch = 2\)")),
    Row("threads_batch", 2, Log(r"n_threads = 1 \(n_threads_batch = 2\)")),
    Row("threads_http", 3, Log("using 3 threads for HTTP server")),
    Row("cpu_strict", True, Parsed("often", "cpuparams.strict_cpu", True)),
    number("prio", 1, "cpuparams.priority", "GGML_SCHED_PRIO_MEDIUM", "9"),
    number("poll", 3, "cpuparams.poll", 3),
    number("cpu_mask_batch", "3", "cpuparams_batch.cpumask", [True, True, False], "xyz"),
    Row("cpu_strict_batch", True, Parsed("often", "cpuparams_batch.strict_cpu", True)),
    number("prio_batch", 1, "cpuparams_batch.priority", "GGML_SCHED_PRIO_MEDIUM", "9"),
    Row("poll_batch", True, Parsed("often", "cpuparams_batch.poll", 1)),
), THREE)  # fmt: skip

MASK: Final = Group("mask", (Row("cpu_mask", "0x1", Does("has_a_thread_on_the_first_cpu")),), beside={"threads": 2})

RANGES: Final = Group("ranges", (
    Row("cpu_range", "0-0", Does("has_a_thread_on_the_first_cpu")),
    number("cpu_range_batch", "0-1", "cpuparams_batch.cpumask", [True, True, False], "xyz"),
), beside={"threads": 2})  # fmt: skip

CHAT: Final = Group("chat", (
    Row("chat_template", "{{ a }}|{{ reasoning_effort }}|{{ enable_thinking }}|{{ preserve_reasoning }}",
        Does("fills_the_template")),
    Row("chat_template_kwargs", '{"a": "kept"}', Does("fills_the_template")),
    Row("reasoning_effort", "low", Does("fills_the_template")),
    Row("reasoning", "on", Does("fills_the_template")),
    Row("reasoning_preserve", False, Does("fills_the_template")),
    Row("spm_infill", True, Does("puts_the_suffix_first"), REFUSED),
    Row("special", True, Does("shows_special_tokens")),
))  # fmt: skip

TEMPLATES: Final = (
    Group("template file", (
        Row("chat_template_file", "FILE:template", Props("chat_template", "{{ messages[0].content }}!")),
        Row("prefill_assistant", False, Does("answers_a_last_word_of_its_own")),
    )),
    Group("no jinja", (Row("jinja", False, Does("has_no_tools_without_jinja")),), beside={"chat_template": "chatml"}),
    Group("thinking", (
        Row("reasoning_budget", 0, Does("ends_its_thinking_at_once")),
        Row("reasoning_budget_message", "Enough of that.", Does("ends_its_thinking_at_once")),
    ), THINKER),
    Group("thinking in the answer", (Row("reasoning_format", "none", Does("leaves_its_thinking_in_the_answer")),),
          THINKER),
    Group("unparsed", (Row("skip_chat_parsing", True, Does("leaves_its_thinking_in_the_answer")),), THINKER),
)  # fmt: skip

EMBEDDING: Final = (
    Group("embeddings", (
        Row("embeddings", True, Does("embeds")), Row("pooling", "cls", Log(r"but \[2\] was specified")),
        Row("embd_normalize", -1, Does("embeds")),
    ), EMBED),
    Group("rerank", (Row("rerank", True, Does("ranks")),), RERANK),
)  # fmt: skip

PICTURES: Final = Group("pictures", (
    Row("mmproj", "FILE:projector", Props("modalities.vision", True)),
    Row("media_path", "FOLDER:media", Does("sees_a_picture_of_the_folder")),
    switch("mmproj_offload", False, "mmproj_use_gpu", False),
    number("image_min_tokens", 1, "image_min_tokens", 1), number("image_max_tokens", 9, "image_max_tokens", 9),
    number("mtmd_batch_max_tokens", 77, "mtmd_batch_max_tokens", 77), number("video_fps", 2.0, "video_fps", 2.0),
    number("video_timestamp_interval", 3000, "video_timestamp_interval_ms", 3000),
    Row("video_ffmpeg_dir", "FOLDER:media", Parsed(field="video_ffmpeg_bin_dir")),
))  # fmt: skip

PROJECTOR_DEVICE: Final = Group("projector's device", (
    Row("mmproj_device", "none", Parsed("CUDA99", "mmproj_use_gpu", False)),
), beside={"mmproj": str(second_files.projector())})  # fmt: skip

ADAPTERS: Final = (
    Group("adapters", (
        Row("lora", "FILE:lora", Does("has_two_adapters")),
        Row("lora_scaled", "SCALED:lora", Does("has_two_adapters")),
    )),
    Group("control vector", (
        Row("control_vector", (str(second_files.control_vector()),), Log("set_adapter_cvec: il_start = 1, il_end = 3"),
            REFUSED),
    ), THREE),
    Group("scaled control vector", (
        Row("control_vector_scaled", (f"{second_files.control_vector()}:0.5",),
            Log("set_adapter_cvec: il_start = 1, il_end = 2"), REFUSED),
        Row("control_vector_layer_range", ("1", "2"), Log("set_adapter_cvec: il_start = 1, il_end = 2"), REFUSED),
    ), THREE),
)  # fmt: skip

_SPEC: Final = "speculative.draft."
DRAFTING: Final = (
    Group("draft model", (
        Row("model_draft", str(model(DRAFT)), Does("accepts_what_was_drafted")),
        Row("draft_max", 5, Log("- n_max=5, n_min=1, p_min=0.125")),
        Row("draft_min", 1, Log("- n_max=5, n_min=1, p_min=0.125")),
        Row("draft_p_min", 0.125, Log("- n_max=5, n_min=1, p_min=0.125")),
        Row("cache_type_k_draft", "bf16", Log("cache_k=bf16, cache_v=f32")),
        Row("cache_type_v_draft", "f32", Log("cache_k=bf16, cache_v=f32")),
        Row("n_gpu_layers_draft", 3, Log("- gpu_layers=3,")),
        number("draft_p_split", 0.25, f"{_SPEC}p_split", 0.25),
        number("spec_draft_sampling", "probabilistic", f"{_SPEC}probabilistic", True, "sometimes"),
        switch("spec_draft_backend_sampling", False, f"{_SPEC}backend_sampling", False),
        Row("device_draft", ("none",), Parsed("CUDA99")),
        number("threads_draft", 1, f"{_SPEC}cpuparams.n_threads", 1),
        number("threads_batch_draft", 2, f"{_SPEC}cpuparams_batch.n_threads", 2),
        Row("override_tensor_draft", ("ffn_up=CPU",), Log(r"ffn_up\S* .*overridden to CPU")),
    )),
    Group("a draft model's experts", (Row("cpu_moe_draft", True, Log(r"blk\.1\.ffn_up_exps\S* .*overridden to CPU")),),
          beside={"model_draft": str(model(EXPERT_DRAFT))}),
    Group("some of a draft model's experts", (
        Row("n_cpu_moe_draft", 1, Log(r"blk\.0\.ffn_up_exps\S* .*overridden to CPU")),
    ), beside={"model_draft": str(model(EXPERT_DRAFT))}),
    Group("n-grams", (
        Row("spec_type", ("ngram-simple", "ngram-map-k", "ngram-map-k4v", "ngram-mod"),
            Does("accepts_what_was_drafted")),
        Row("spec_ngram_simple_size_n", 3, Log("- size_n=3, size_m=7, min_hits=2")),
        Row("spec_ngram_simple_size_m", 7, Log("- size_n=3, size_m=7, min_hits=2")),
        Row("spec_ngram_simple_min_hits", 2, Log("- size_n=3, size_m=7, min_hits=2")),
        Row("spec_ngram_map_k_size_n", 4, Log("- size_key=4, size_value=8, key_only=1, min_hits=3")),
        Row("spec_ngram_map_k_size_m", 8, Log("- size_key=4, size_value=8, key_only=1, min_hits=3")),
        Row("spec_ngram_map_k_min_hits", 3, Log("- size_key=4, size_value=8, key_only=1, min_hits=3")),
        Row("spec_ngram_map_k4v_size_n", 5, Log("- size_key=5, size_value=9, key_only=0, min_hits=2")),
        Row("spec_ngram_map_k4v_size_m", 9, Log("- size_key=5, size_value=9, key_only=0, min_hits=2")),
        Row("spec_ngram_map_k4v_min_hits", 2, Log("- size_key=5, size_value=9, key_only=0, min_hits=2")),
        Row("spec_ngram_mod_n_match", 16, Log("- n_match=16, n_max=9, n_min=2")),
        Row("spec_ngram_mod_n_max", 9, Log("- n_match=16, n_max=9, n_min=2")),
        Row("spec_ngram_mod_n_min", 2, Log("- n_match=16, n_max=9, n_min=2")),
    ), ENDLESS),
    Group("lookup caches", (
        Row("lookup_cache_static", "FILE:lookup", Parsed(field="speculative.ngram_cache.lookup_cache_static")),
        Row("lookup_cache_dynamic", "FOLDER:new/dynamic",
            Parsed(field="speculative.ngram_cache.lookup_cache_dynamic")),
    ), beside={"spec_type": ("ngram-cache",)}),
)  # fmt: skip

SERVER: Final = Group("server", (
    number("timeout", 77, "timeout_read", 77), number("sse_ping_interval", 7, "sse_ping_interval", 7),
    Row("tags", ("red", "blue"), Does("shows_its_tags")),
    Row("ui", False, Props("ui", False)),
    Row("verbosity", 5, Log(r"^\S+ D ")),
))  # fmt: skip

GROUPS: Final = (
    SAMPLING, *OUTPUT, CONTEXT, REUSE, WINDOW, SHIFT, PLACEMENT, CPU_ALONE, LOADING, THREADS, MASK, RANGES, CHAT,
    *TEMPLATES, *EMBEDDING, PICTURES, PROJECTOR_DEVICE, *ADAPTERS, *DRAFTING, SERVER,
)  # fmt: skip
