"""
One config, told to builds of two years: what was renamed gets its name of the time, what is not there is a sentence.

The recorded flags are facts of llama.cpp's `common/arg.cpp` at each build; b11434 is the help text of a real binary.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from corral.domain.errors import StartFailed
from corral.domain.fleet import ModelSpec, OptionValue, Source
from corral.engines.llamacpp.argv import argv_of
from corral.engines.llamacpp.help import parse_help
from corral.engines.llamacpp.settings import settings_of

RECORDED = Path(__file__).parents[3] / "recorded" / "llama-help"
BUILDS = {int(path.stem[1:]): parse_help(path.read_text()) for path in RECORDED.glob("b*.txt")}
LOST = "lost"
OLD, B5350, B6300, B6828, B7800, B8300, B9300, B9900, B10500, NEW = sorted(BUILDS)


def told(build: int, options: dict[str, OptionValue], args: tuple[tuple[str, Any], ...] = ()) -> list[str]:
    settings = settings_of(ModelSpec("m", Source("/m.gguf"), options=options, args=args))
    assert settings.problems == ()
    defaults = argv_of(settings_of(ModelSpec("m", Source("/m.gguf"))), BUILDS[build])
    line = argv_of(settings, BUILDS[build])
    for part in defaults:
        if part in line:
            line.remove(part)
    return line


def test_a_default_is_told_in_the_words_of_the_build_too() -> None:
    defaults = {
        build: " ".join(argv_of(settings_of(ModelSpec("m", Source("/m.gguf"))), BUILDS[build])) for build in BUILDS
    }
    assert "checkpoints" not in defaults[B5350]
    assert "--swa-checkpoints 2" in defaults[B6300]
    assert "--ctx-checkpoints 2" in defaults[NEW]


RENAMED: list[tuple[dict[str, OptionValue], dict[int, list[str] | str]]] = [
    ({"mlock": True}, {OLD: ["--mlock"], B5350: ["--mlock"], B9900: ["--mlock"],
                       B10500: ["--load-mode", "mmap+mlock"], NEW: ["--load-mode", "mmap+mlock"]}),
    ({"mmap": False}, {OLD: ["--no-mmap"], B9900: ["--no-mmap"], B10500: ["--load-mode", "none"],
                       NEW: ["--load-mode", "none"]}),
    ({"load_mode": "dio"}, {OLD: LOST, B6828: LOST, B9300: ["--direct-io"], NEW: ["--load-mode", "dio"]}),
    ({"flash_attn": "on"}, {OLD: ["--flash-attn"], B6300: ["--flash-attn"], B6828: ["on"], NEW: ["on"]}),
    ({"flash_attn": "off"}, {OLD: [], B6300: [], B6828: ["off"], NEW: ["off"]}),
    ({"model_draft": "/d", "draft_max": 8, "draft_min": 2}, {
        OLD: LOST,  # one number then
        B5350: ["--model-draft", "/d", "--draft-max", "8", "--draft-min", "2"],
        B8300: ["--model-draft", "/d", "--draft-max", "8", "--draft-min", "2"],
        B9300: ["--spec-draft-model", "/d", "--spec-draft-n-max", "8", "--spec-draft-n-min", "2"],
        NEW: ["--spec-draft-model", "/d", "--spec-draft-n-max", "8", "--spec-draft-n-min", "2"]}),
    ({"model_draft": "/d", "spec_type": ("draft-simple",)}, {
        B5350: ["--model-draft", "/d"],  # the model alone said it
        B8300: ["--model-draft", "/d"],
        B9300: ["--spec-type", "draft-simple", "--spec-draft-model", "/d"],
        NEW: ["--spec-type", "draft-simple", "--spec-draft-model", "/d"]}),
    ({"spec_type": ("ngram-mod",)}, {B6828: LOST, B8300: ["--spec-type", "ngram-mod"],
                                     NEW: ["--spec-type", "ngram-mod"]}),
    ({"spec_type": ("ngram-mod", "ngram-simple")}, {B8300: LOST, NEW: ["--spec-type", "ngram-mod,ngram-simple"]}),
    ({"spec_type": ("draft-mtp",)}, {B5350: LOST, B8300: LOST, NEW: ["--spec-type", "draft-mtp"]}),
    ({"spec_type": ("ngram-simple",), "spec_ngram_simple_size_n": 5}, {
        B8300: ["--spec-type", "ngram-simple", "--spec-ngram-size-n", "5"],
        B9300: ["--spec-type", "ngram-simple", "--spec-ngram-simple-size-n", "5"]}),
    ({"n_gpu_layers": "all"}, {OLD: ["--n-gpu-layers", "999"], B6300: ["--n-gpu-layers", "999"],
                              B7800: ["all"], NEW: ["all"]}),
    ({"lora": ("/a", "/b")}, {OLD: ["--lora", "/a", "--lora", "/b"], NEW: ["--lora", "/a,/b"]}),
    ({"lora_scaled": ("/a:0.5",)}, {OLD: ["--lora-scaled", "/a", "0.5"], B6828: ["--lora-scaled", "/a", "0.5"],
                                    NEW: ["--lora-scaled", "/a:0.5"]}),
    ({"reasoning": "off"}, {B5350: LOST, B6300: ["--reasoning-budget", "0"], NEW: ["--reasoning", "off"]}),
    ({"ctx_checkpoints": 3}, {B5350: LOST, B6300: ["3"], NEW: ["3"]}),
    ({"cache_ram": 77}, {B6300: LOST, B6828: ["77"], NEW: ["77"]}),
    ({"jinja": True}, {OLD: LOST, B5350: ["--jinja"], NEW: ["--jinja"]}),
    ({"jinja": False}, {OLD: LOST, B5350: [], NEW: ["--no-jinja"]}),
    ({"context_shift": False}, {OLD: ["--no-context-shift"], NEW: ["--no-context-shift"]}),
    ({"context_shift": True}, {OLD: [], B6300: ["--context-shift"], NEW: ["--context-shift"]}),
    ({"n_cpu_moe": 3}, {B5350: LOST, B6300: ["--n-cpu-moe", "3"], NEW: ["--n-cpu-moe", "3"]}),
    ({"rerank": True}, {OLD: ["--reranking"], NEW: ["--reranking"]}),
    ({"verbosity": 3}, {OLD: ["--verbosity", "3"], NEW: ["3"]}),
    ({"warmup": False}, {OLD: LOST, B5350: ["--no-warmup"], NEW: ["--no-warmup"]}),
]  # fmt: skip
ROWS = [(options, build, wanted) for options, builds in RENAMED for build, wanted in builds.items()]


@pytest.mark.parametrize(
    ("options", "build", "wanted"), ROWS, ids=[f"b{build} {' '.join(options)}"[:60] for options, build, _ in ROWS]
)
def test_each_build_is_told_in_its_own_words(
    options: dict[str, OptionValue], build: int, wanted: list[str] | str
) -> None:
    if wanted == LOST:
        with pytest.raises(StartFailed, match=r"does not know --[\w-]+, which options\.\w+") as caught:
            told(build, options)
        assert caught.value.permanent and caught.value.hint.endswith(".")
        return
    assert told(build, options) == wanted


@pytest.mark.parametrize("build", sorted(BUILDS))
def test_a_plain_model_starts_on_every_build(build: int) -> None:
    """Defaults that a build does not know are left out, and what it knows is spelled its way."""
    line = argv_of(settings_of(ModelSpec("m", Source("/m.gguf"))), BUILDS[build])
    assert "--parallel" in line
    assert {part for part in line if part.startswith("--")} <= BUILDS[build].flags.keys()


@pytest.mark.parametrize("build", sorted(BUILDS))
def test_what_is_sent_is_known_to_the_build(build: int) -> None:
    """Every option by itself: known flags, or a sentence before anything starts."""
    from tests.real.evidence import GROUPS

    known = BUILDS[build]
    lost: list[tuple[str, str]] = []
    for row in (row for group in GROUPS for row in group.rows):
        value = ("/f:0.5",) if row.option.endswith("_scaled") else row.value
        settings = settings_of(ModelSpec("m", Source("/m.gguf"), options={row.option: value}))
        try:
            line = argv_of(settings, known)
        except StartFailed as error:
            lost.append((row.option, error.message))
            continue
        flags = {part for part in line if part.startswith("--") and len(part) > 3}
        assert flags <= known.flags.keys(), (row.option, flags - known.flags.keys())
    assert all(f"options.{option}" in message for option, message in lost)
    assert (len(lost) == 0) is (build == NEW)


def test_a_flag_that_has_lost_its_effect_is_passed_on_by_args() -> None:
    for build in (B5350, NEW):
        assert told(build, {}, (("defrag_thold", 0.1),)) == ["--defrag-thold", "0.1"]


def test_a_removed_flag_says_where_it_went() -> None:
    with pytest.raises(StartFailed) as caught:
        told(NEW, {}, (("spec_ngram_size_n", 5),))
    assert "use the respective --spec-ngram-*-size-n" in caught.value.hint
