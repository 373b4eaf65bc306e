"""What a header says of a model, and what its options make of it."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest

from corral.domain.facts import NOTHING, ModelFacts
from corral.domain.fleet import ModelSpec, Source
from corral.store.facts import FileFacts
from corral.store.files import ModelFiles, resolve
from corral.store.gguf.facts import FILE_TYPES, facts, says
from corral.store.gguf.header import Header, LongArray, TensorInfo
from corral.store.gguf.memory import FileFootprints
from corral.store.gguf.templates import template_abilities
from corral.store.known import KnownFiles
from tests.models import ADA, EMBED, RERANK, SPLIT, THINKER, model

CHAT = "{% if tools %}{{ tools }}{% endif %}{{ messages }}"


def header(architecture: str = "llama", **metadata: Any) -> Header:
    own = {"context_length": 32768, "embedding_length": 4096}
    values: dict[str, Any] = {"general.architecture": architecture, "tokenizer.chat_template": CHAT}
    values |= {f"{architecture}.{key}": value for key, value in own.items()}
    values |= {key.replace("__", "."): value for key, value in metadata.items()}
    return Header(3, False, values, (), 0, 0, 32)


def tensor(name: str, kind: str, *shape: int) -> TensorInfo:
    return TensorInfo(name, shape, kind, 0, 0)


def told(
    found: Header,
    tensors: tuple[TensorInfo, ...] = (),
    template: str = "",
    projector: Header | None = None,
    **fields: Any,
) -> ModelFacts:  # fmt: skip
    return facts(
        says(found, tensors, size_bytes=7),
        template=template_abilities(template) if template else None,
        projector=says(projector, (), size_bytes=1) if projector else None,
        **{"options": {}, **fields},
    )


def test_what_a_file_says_of_itself() -> None:
    found = told(
        header(
            general__name="Qwen\x07 Seven", general__file_type=15, general__languages=("en", "zh"),
            general__license="apache-2.0", general__tags=("chat", 3), tokenizer__ggml__tokens=LongArray(151936),
            tokenizer__ggml__fim_pre_token_id=1,
        ),
        (tensor("a", "Q4_K", 4096, 100), tensor("b", "F32", 10)),
    )  # fmt: skip
    assert (found.name, found.architecture, found.license) == ("Qwen Seven", "llama", "apache-2.0")
    assert (found.languages, found.tags) == (("en", "zh"), ("chat",))
    assert (found.parameters, found.quantisation, found.size_bytes) == (409610, "Q4_K_M", 7)
    assert (found.embedding_length, found.vocabulary) == (4096, 151936)
    assert found.capabilities == ("chat", "completion", "tools", "infill")


@pytest.mark.parametrize(
    ("options", "context"),
    [
        ({}, 32768),
        ({"ctx_size": 0}, 32768),
        ({"ctx_size": 8192, "parallel": 4}, 8192),
        ({"ctx_size": 8192, "parallel": 4, "kv_unified": False}, 2048),
        ({"ctx_size": 8192, "kv_unified": False}, 4096),
        # as /props of b11434 says
        ({"ctx_size": 40000, "parallel": 2}, 32768),
        ({"ctx_size": 8192, "kv_unified_per_slot": 1000}, 1000),
        ({"kv_unified_per_slot": 1000}, 1000),
        ({"ctx_size": 131072, "rope_scaling": "linear", "rope_scale": 2.0}, 32768),
        ({"ctx_size": 131072, "rope_scaling": "yarn", "rope_scale": 2.0}, 65536),
        ({"ctx_size": 5000, "parallel": 3, "kv_unified": False}, 1792),
        ({"ctx_size": 5000, "parallel": 3}, 5120),
    ],
)
def test_the_context_of_one_request(options: dict[str, Any], context: int) -> None:
    found = told(header(), options=options, slots=2)
    assert (found.context_tokens, found.trained_context_tokens) == (context, 32768)


@pytest.mark.parametrize(
    ("found", "options", "task", "capabilities"),
    [
        (header(), {}, "chat", ("chat", "completion", "tools")),
        (header(), {"jinja": False}, "chat", ("chat", "completion")),
        (header(tokenizer__chat_template=""), {}, "completion", ("completion",)),
        (header(), {"embeddings": True}, "embeddings", ("embeddings",)),
        (header(), {"rerank": True}, "rerank", ("rerank",)),
        (header("bert"), {}, "embeddings", ("embeddings",)),
        (header("qwen3", qwen3__pooling_type=3), {}, "embeddings", ("embeddings",)),
        (header("qwen3", qwen3__pooling_type=4), {}, "rerank", ("rerank",)),
        (header("x", x__attention__causal=False), {}, "embeddings", ("embeddings",)),
        (header(tokenizer__chat_template="<think>"), {}, "chat", ("chat", "completion", "reasoning")),
        (header(tokenizer__chat_template="{{ enable_thinking }} {{ toolset }}"), {}, "chat",
         ("chat", "completion", "reasoning")),
        (header(tokenizer__chat_template="{{ x }}", tokenizer__chat_template__tool_use="{% if tools %}"), {}, "chat",
         ("chat", "completion", "tools")),
    ],
)  # fmt: skip
def test_what_it_can_do(found: Header, options: dict[str, Any], task: str, capabilities: tuple[str, ...]) -> None:
    was = told(found, options=options)
    assert (was.task, was.capabilities) == (task, capabilities)


def test_another_template_and_a_projector_change_what_it_can_do() -> None:
    eyes = Header(3, False, {"clip.has_vision_encoder": True, "clip.has_audio_encoder": True}, (), 0, 0, 32)
    found = told(header(), template="<think>", projector=eyes)
    assert found.capabilities == ("chat", "completion", "reasoning", "vision", "audio")
    assert found.inputs == ("text", "image", "audio")
    assert told(header(tokenizer__chat_template=""), template="chatml").capabilities == ("chat", "completion")
    deaf = Header(3, False, {"clip.has_vision_encoder": True, "clip.has_audio_encoder": 1}, (), 0, 0, 32)
    assert told(header(), projector=deaf).inputs == ("text", "image")


def test_quantisation_is_the_file_type_else_what_most_weights_have() -> None:
    tensors = (tensor("a", "Q6_K", 100), tensor("b", "Q8_0", 10), tensor("c", "F32", 1))
    assert told(header(general__file_type=7 + 1024), tensors).quantisation == "Q8_0"
    assert told(header(general__file_type=9999), tensors).quantisation == "Q6_K"
    assert told(header(general__file_type=True), tensors).quantisation == "Q6_K"
    assert told(header(), tensors).quantisation == "Q6_K"
    assert told(header()).quantisation == ""
    assert (FILE_TYPES[7], FILE_TYPES[15], FILE_TYPES[24], FILE_TYPES[38]) == ("Q8_0", "Q4_K_M", "IQ1_S", "MXFP4_MOE")


def test_hostile_metadata_is_cut_to_size() -> None:
    found = told(
        header("a" * 500, general__name=7, general__tags=tuple(["x" * 1000] * 500), general__languages="en",
               general__license="\n\0" + "l" * 1000)
    )  # fmt: skip
    assert (len(found.architecture), found.name, found.languages) == (200, "", ())
    assert len(found.tags) == 64 and len(found.tags[0]) == 200 and found.license == "l" * 198


def spec(path: Path, **options: Any) -> ModelSpec:
    return ModelSpec("m", Source(str(path)), options=options)


def test_from_real_files() -> None:
    read = FileFacts()
    ada = read.of({"m": spec(model(ADA), ctx_size=4096)})["m"]
    assert (ada.name, ada.context_tokens, ada.trained_context_tokens) == ("Ada", 4096, 32768)
    assert ada.quantisation == "F32" and ada.parameters and ada.size_bytes == model(ADA).stat().st_size
    assert read.of({"m": spec(model(EMBED))})["m"].capabilities == ("embeddings",)
    assert read.of({"m": spec(model(RERANK))})["m"].task == "rerank"
    assert "reasoning" in read.of({"m": spec(model(THINKER))})["m"].capabilities
    assert read.of({"m": spec(model(SPLIT))})["m"].context_tokens == 32768


class Reads(list[str]):
    """Reads files, and knows which."""

    def __call__(self, path: str) -> ModelFiles:
        self.append(path)
        return resolve(path)


def test_a_file_is_read_again_only_when_it_or_its_options_changed(tmp_path: Path) -> None:
    file, template = tmp_path / "m.gguf", tmp_path / "t.jinja"
    shutil.copy(model(ADA), file)
    template.write_text("plain")
    reads = Reads()
    read, spec_ = FileFacts(KnownFiles(read=reads)), spec(file, chat_template_file=str(template))
    first = read.of({"m": spec_})["m"]
    assert first.capabilities == ("chat", "completion", "infill")
    assert read.of({"m": spec_})["m"] == first
    template.write_text("plain {{ tools }}")
    second = read.of({"m": spec_})["m"]
    assert "tools" in second.capabilities
    changed = dataclasses.replace(spec_, options={**spec_.options, "ctx_size": 256})
    assert read.of({"m": changed, "n": changed})["m"].context_tokens == 256
    assert len(reads) == 1
    shutil.copy(model(EMBED), file)
    assert read.of({"m": changed})["m"].task == "embeddings"


def test_what_footprints_have_read_is_not_read_again() -> None:
    reads = Reads()
    files = KnownFiles(read=reads)
    FileFootprints(files).footprint(spec(model(ADA), ctx_size=512))
    assert FileFacts(files).of({"m": spec(model(ADA))})["m"].name == "Ada"
    assert len(reads) == 1


def test_of_a_bad_or_missing_file_nothing_is_known(tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"nonsense" * 10)
    read = FileFacts()
    assert read.of({"m": spec(bad)})["m"] is NOTHING
    assert read.of({"m": spec(tmp_path / "none.gguf")})["m"] is NOTHING
    assert read.of({"m": ModelSpec("m")})["m"] is NOTHING
    assert read.of({"m": spec(model(ADA), mmproj=str(bad))})["m"] is NOTHING
