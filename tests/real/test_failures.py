"""Starts that fail, with the real programs: each is a sentence with a way out, by the binary and by the wheel."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from corral.domain.errors import BadGguf, CorralError, StartFailed
from corral.domain.fleet import OptionValue
from corral.domain.launch import Place
from corral.engines.llamacpp import LlamaCppEngine
from corral.store.gguf.demo import DemoSpec
from corral.store.gguf.reader import read_header
from tests import second_files
from tests.architectures import architecture
from tests.models import ADA, folder, model
from tests.real.evidence import DRAFT
from tests.real.llama import BINARY, EMBEDDED, spec, started

OTHER = DemoSpec(name="Other", sentence="A wholly different vocabulary is what this one has, with many more words.")
MANY_WORDS = DemoSpec(name="Many", sentence=" ".join(f"word{number}" for number in range(200)) + ".")
SMALL: dict[str, OptionValue] = {"ctx_size": 512, "parallel": 1, "threads": 1, "cache_ram": 0}
by_program = pytest.mark.parametrize(
    "program", [pytest.param(EMBEDDED), pytest.param(BINARY, marks=pytest.mark.llama_server, id="binary")]
)


@dataclass(frozen=True)
class Case:
    """Options with which a start fails, and what is said of it."""

    says: str
    options: Mapping[str, OptionValue] = field(default_factory=dict)
    source: Callable[[], Path] = lambda: model(ADA)
    permanent: bool = True


def text(name: str, content: str) -> str:
    path = folder() / name
    path.write_text(content)
    return str(path)


BY_ENGINE = {
    "a grammar": Case("grammar cannot be read", {"grammar": "root ::= ["}),
    "a grammar file": Case("grammar cannot be read", {"grammar_file": text("bad.gbnf", "root ::= [")}),
    "a schema file": Case("json", {"json_schema_file": text("bad.json", '{"type": "nonsense"')}),
    "a template": Case("chat template", {"chat_template": "{% if %}"}),
    "a template without jinja": Case("chat template", {"chat_template": "nonsense", "jinja": False}),
    "a buffer type": Case("no buffer type", {"override_tensor": ("ffn=NOPE",)}),
    "a V cache": Case("V cache cannot be q8_0", {"cache_type_v": "q8_0"}),
    "a K cache": Case("K cache cannot be q4_0", {"cache_type_k": "q4_0"}),
    "slots and mean pooling": Case(
        "cannot lay out", {"embeddings": True, "pooling": "mean", "parallel": 3}, source=lambda: architecture("bert")
    ),
    "no draft layers": Case("no layers that draft", {"spec_type": ("draft-mtp",)}),
    "no DFlash head": Case("not of the kind", {"spec_type": ("draft-dflash",), "model_draft": str(model(DRAFT))}),
    "no DSpark head": Case("not of the kind", {"spec_type": ("draft-dspark",), "model_draft": str(model(DRAFT))}),
    "a draft that is a projector": Case("draft model", {"model_draft": str(second_files.projector())}),
    "a projector that is a model": Case("projector", {"mmproj": str(model(ADA))}),
    "an adapter that is a model": Case("LoRA adapter cannot", {"lora": (str(model(ADA)),)}),
    "an adapter of others": Case("LoRA adapter cannot", {"lora": (str(second_files.lora("qwen2")),)}),
    "a projector as the source": Case("multimodal projector, not a model", source=second_files.projector),
    "an adapter as the source": Case("lacks the entry", source=second_files.lora),
    "a control vector as the source": Case("control vector, not a model", source=second_files.control_vector),
}  # fmt: skip


@pytest.mark.parametrize("case", BY_ENGINE.values(), ids=BY_ENGINE.keys())
@by_program
async def test_what_the_engine_says_becomes_a_sentence(case: Case, program: str, short_tmp: Path) -> None:
    wanted = spec(case.source(), program, options={**SMALL, **case.options})
    async with started(wanted, short_tmp) as engine:
        with pytest.raises(StartFailed, match=case.says) as caught:
            await engine.ready()
    assert caught.value.permanent is case.permanent
    assert caught.value.hint.endswith(".") and not caught.value.memory
    assert "It last said" not in caught.value.message


@pytest.mark.llama_server
async def test_a_full_memory_is_told_apart(short_tmp: Path) -> None:
    """The scheduler tries such a start again once it has made room."""
    limited = short_tmp / "limited"
    limited.write_text(f'#!/bin/sh\nulimit -v 900000\nexec {BINARY} "$@"\n')
    limited.chmod(0o755)
    wide = DemoSpec(name="Wide", sentence="I am Wide.", layers=3, context=1 << 24)
    for options in ({"ctx_size": 1 << 23}, {"ctx_size": 1 << 23, "fit": "off"}):
        async with started(spec(model(wide), str(limited), options={**SMALL, **options}), short_tmp) as engine:
            with pytest.raises(StartFailed, match="not enough memory") as caught:
                await engine.ready()
        assert caught.value.memory and not caught.value.permanent


BY_FILES: dict[str, tuple[type[CorralError], Case]] = {
    "a projector as the source": (BadGguf, Case("is a multimodal projector", source=second_files.projector)),
    "an adapter as the source": (BadGguf, Case("is an adapter", source=second_files.lora)),
    "a control vector as the source": (BadGguf, Case("is a control vector", source=second_files.control_vector)),
    "a K cache": (StartFailed, Case("cache_type_k cannot be q4_0", {"cache_type_k": "q4_0"})),
    "a V cache": (StartFailed, Case("cache_type_v cannot be q8_0", {"cache_type_v": "q8_0"})),
    "another vocabulary": (StartFailed, Case("another vocabulary",
                                             {"model_draft": str(model(MANY_WORDS))})),
    "no head": (StartFailed, Case("is no head for draft-eagle3",
                                  {"spec_type": ("draft-eagle3",), "model_draft": str(model(DRAFT))})),
    "no draft layers": (StartFailed, Case("no layers for it", {"spec_type": ("draft-mtp",)})),
    "a draft that is a projector": (StartFailed, Case("is a multimodal projector",
                                                      {"model_draft": str(second_files.projector())})),
    "a projector that is a model": (StartFailed, Case("not a multimodal projector", {"mmproj": str(model(ADA))})),
    "an adapter that is a model": (StartFailed, Case("not a LoRA adapter", {"lora": (str(model(ADA)),)})),
    "an adapter of others": (StartFailed, Case("adapter for qwen2 models",
                                               {"lora_scaled": (f"{second_files.lora('qwen2')}:0.5",)})),
    "a vector that is a model": (StartFailed, Case("not a control vector", {"control_vector": (str(model(ADA)),)})),
    "a vector of another width": (StartFailed, Case("another width",
                                                    {"control_vector": (str(second_files.control_vector(3, 32)),)})),
}  # fmt: skip


@pytest.mark.parametrize(("error", "case"), BY_FILES.values(), ids=BY_FILES.keys())
async def test_files_that_do_not_fit_are_found_before_a_start(
    error: type[CorralError], case: Case, tmp_path: Path
) -> None:
    engine = LlamaCppEngine(headers=read_header, which=lambda name: "/usr/bin/true")
    wanted = spec(case.source(), "", options={**SMALL, **case.options})
    with pytest.raises(error, match=case.says):
        await engine.plan(wanted, Place("i", str(tmp_path), socket=str(tmp_path / "e.sock")))


@by_program
async def test_a_draft_that_llama_cpp_leaves_out_is_told(
    program: str, short_tmp: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """llama.cpp starts without it, and says so in its own log only."""
    for draft, kind, told in (
        (DRAFT, "draft-simple", False),
        (OTHER, "draft-simple", True),
        (DRAFT, "draft-eagle3", True),
    ):
        caplog.clear()
        options = {**SMALL, "model_draft": str(model(draft)), "spec_type": (kind,)}
        async with started(spec(model(ADA), program, options=options), short_tmp) as engine:
            with caplog.at_level(logging.WARNING):
                await engine.ready()
        assert ("answers without drafts" in caplog.text) is told, (draft.name, kind)


async def test_a_setting_without_effect_is_told(short_tmp: Path, caplog: pytest.LogCaptureFixture) -> None:
    engine = LlamaCppEngine(headers=read_header)
    wanted = spec(model(ADA), EMBEDDED, options={**SMALL, "cpu_moe": True})
    await engine.plan(wanted, Place("i", str(short_tmp), socket=str(short_tmp / "e.sock")))
    assert "options.cpu_moe has no effect: the model has no experts." in caplog.text
