"""argv: what each build is told, and what is refused before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from corral.domain.errors import StartFailed
from corral.domain.fleet import ModelSpec, Source
from corral.engines.llamacpp.argv import argv_of
from corral.engines.llamacpp.help import Capabilities, parse_help
from corral.engines.llamacpp.settings import settings_of

RECORDED = Path(__file__).parents[3] / "recorded" / "llama-help"
NEW = parse_help((RECORDED / "b11434.txt").read_text())
OLD = parse_help((RECORDED / "b5350.txt").read_text())
NEW_DEFAULTS = [
    *("--parallel", "4"), "--kv-unified", *("--flash-attn", "auto"), *("--cache-ram", "512"),
    *("--ctx-checkpoints", "2"),    *("--n-gpu-layers", "auto"), *("--verbosity", "4"),
]  # fmt: skip
OLD_DEFAULTS = ["--parallel", "4"]


def argv(known: Capabilities, options: dict[str, Any] | None = None, *args: tuple[str, Any]) -> list[str]:
    settings = settings_of(ModelSpec("m", Source("/m.gguf"), options=options or {}, args=args))
    assert settings.problems == ()
    return argv_of(settings, known)


def added(known: Capabilities, options: dict[str, Any] | None = None, *args: tuple[str, Any]) -> list[str]:
    """What is there beside the defaults."""
    return without(argv(known, options, *args), NEW_DEFAULTS if known is NEW else OLD_DEFAULTS)


def without(line: list[str], defaults: list[str]) -> list[str]:
    """A default's flag goes with the value that follows it."""
    for at, flag in enumerate(defaults):
        if flag.startswith("--"):
            value = defaults[at + 1 : at + 2]
            found = line.index(flag)
            del line[found : found + (1 if not value or value[0].startswith("--") else 2)]
    return line


def test_defaults_set_slots_always_and_leave_out_what_a_build_does_not_know() -> None:
    assert argv(NEW) == NEW_DEFAULTS
    assert argv(OLD) == OLD_DEFAULTS


def test_zero_is_a_value() -> None:
    options = {"n_gpu_layers": 0, "temperature": 0, "ctx_size": 0, "top_k": 0, "cache_ram": 0, "reasoning_budget": 0}
    line = " ".join(argv(NEW, options))
    for part in (
        "--n-gpu-layers 0",
        "--temp 0.0",
        "--ctx-size 0",
        "--top-k 0",
        "--cache-ram 0",
        "--reasoning-budget 0",
    ):
        assert part in line


@pytest.mark.parametrize(
    ("options", "new", "old"),
    [
        ({"mlock": True}, ["--load-mode", "mmap+mlock"], ["--mlock"]),
        ({"mmap": False}, ["--load-mode", "none"], ["--no-mmap"]),
        ({"mmap": True}, ["--load-mode", "mmap"], []),
        ({"mlock": True, "mmap": False}, ["--load-mode", "mlock"], ["--no-mmap", "--mlock"]),
        ({"mlock": True, "mmap": True}, ["--load-mode", "mmap+mlock"], ["--mlock"]),
        ({"mlock": False}, [], []),
        ({"load_mode": "mlock"}, ["--load-mode", "mlock"], ["--no-mmap", "--mlock"]),
        ({"load_mode": "auto"}, ["--load-mode", "auto"], []),
        ({"jinja": False}, ["--no-jinja"], []),
        ({"warmup": False}, ["--no-warmup"], ["--no-warmup"]),
        ({"warmup": True}, ["--warmup"], []),
        ({"kv_offload": False}, ["--no-kv-offload"], ["--no-kv-offload"]),
        ({"rerank": True}, ["--reranking"], ["--reranking"]),
        ({"embeddings": True, "pooling": "cls"}, ["--embeddings", "--pooling", "cls"],
         ["--embeddings", "--pooling", "cls"]),
        ({"draft_max": 8, "model_draft": "/d"}, ["--spec-draft-model", "/d", "--spec-draft-n-max", "8"],
         ["--model-draft", "/d", "--draft-max", "8"]),
        ({"tensor_split": ("3", "1")}, ["--tensor-split", "3,1"], ["--tensor-split", "3,1"]),
        ({"lora": ("/a", "/b")}, ["--lora", "/a,/b"], ["--lora", "/a", "--lora", "/b"]),
        ({"lora_scaled": ("/a:0.5", "/b:2")}, ["--lora-scaled", "/a:0.5,/b:2"],
         ["--lora-scaled", "/a", "0.5", "--lora-scaled", "/b", "2"]),
        ({"control_vector": ("/c",), "control_vector_layer_range": ("4", "20")},
         ["--control-vector", "/c", "--control-vector-layer-range", "4", "20"],
         ["--control-vector", "/c", "--control-vector-layer-range", "4", "20"]),
        ({"cpu_strict": True}, ["--cpu-strict", "1"], ["--cpu-strict", "1"]),
        ({"cpu_strict": False}, ["--cpu-strict", "0"], ["--cpu-strict", "0"]),
        ({"no_host": False}, [], []),
        ({"dry_sequence_breaker": ("one two", "; rm -rf /")},
         ["--dry-sequence-breaker", "one two", "--dry-sequence-breaker", "; rm -rf /", "--no-escape"],
         ["--dry-sequence-breaker", "one two", "--dry-sequence-breaker", "; rm -rf /", "--no-escape"]),
        ({"temperature": 0.7}, ["--temp", "0.7"], ["--temp", "0.7"]),
    ],
)  # fmt: skip
def test_a_renamed_setting_gets_the_spelling_that_the_build_knows(
    options: dict[str, Any], new: list[str], old: list[str]
) -> None:
    assert added(NEW, options) == new
    assert added(OLD, options) == old


@pytest.mark.parametrize(
    ("value", "new", "old"), [("on", ["on"], ["--flash-attn"]), ("off", ["off"], []), ("auto", ["auto"], [])]
)
def test_flash_attention_was_a_bare_switch(value: str, new: list[str], old: list[str]) -> None:
    line = argv(NEW, {"flash_attn": value})
    assert line[line.index("--flash-attn") + 1 :][:1] == new
    assert added(OLD, {"flash_attn": value}) == old


@pytest.mark.parametrize(
    ("value", "old"), [("auto", []), ("all", ["--n-gpu-layers", "999"]), (7, ["--n-gpu-layers", "7"])]
)
def test_gpu_layers_were_only_numbers(value: str | int, old: list[str]) -> None:
    line = argv(NEW, {"n_gpu_layers": value})
    assert line[line.index("--n-gpu-layers") + 1] == str(value)
    assert added(OLD, {"n_gpu_layers": value}) == old


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        ({"cache_ram": 0}, "--cache-ram"),
        ({"kv_unified": True}, "--kv-unified"),
        ({"load_mode": "dio"}, "--direct-io"),
        ({"reasoning_effort": "low"}, "--reasoning-effort"),
    ],
)
def test_a_lost_setting_is_an_error_that_says_so(options: dict[str, Any], flag: str) -> None:
    with pytest.raises(StartFailed) as caught:
        argv(OLD, options)
    assert caught.value.permanent
    assert flag in caught.value.message and f"options.{next(iter(options))}" in caught.value.message


def test_a_build_that_cannot_fit_does_what_off_says() -> None:
    assert added(OLD, {"fit": "off"}) == []
    with pytest.raises(StartFailed, match="--fit"):
        argv(OLD, {"fit": "on"})


def test_args_keep_their_order_and_are_never_a_shell_string() -> None:
    line = added(
        NEW,
        None,
        ("log_disable", True),
        ("log_prefix", False),
        ("spec_synth_rates", (0.5, 0.25)),
        ("log_colors", "off"),
        ("spec_draft_cpu_mask", "; rm -rf /"),
        ("defrag_thold", 0.25),
        ("spec_draft_prio", "-1"),
    )
    assert line == [
        "--log-disable",
        "--spec-synth-rates", "0.5,0.25",
        "--log-colors", "off",
        "--spec-draft-cpu-mask", "; rm -rf /",
        "--defrag-thold", "0.25",
        "--spec-draft-prio", "-1",
    ]  # fmt: skip


def test_an_unknown_flag_is_refused_with_a_near_one() -> None:
    with pytest.raises(StartFailed) as caught:
        argv(NEW, None, ("spec_draft_poll_bach", 5))
    assert "--spec-draft-poll-bach" in caught.value.message
    assert "--spec-draft-poll-batch" in caught.value.hint
    assert caught.value.permanent


def test_a_removed_flag_says_where_it_went() -> None:
    with pytest.raises(StartFailed) as caught:
        argv(NEW, None, ("spec_ngram_size_n", 5))
    assert "use the respective --spec-ngram-*-size-n" in caught.value.hint


@pytest.mark.parametrize(
    ("arg", "says"),
    [(("log_disable", 3), "takes no value"), (("spec_draft_poll", True), "needs a value")],
)
def test_a_flag_is_used_as_its_help_says(arg: tuple[str, Any], says: str) -> None:
    with pytest.raises(StartFailed, match=says):
        argv(NEW, None, arg)
