"""The estimate of what a load takes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from corral.domain.errors import FileMissing
from corral.domain.fleet import ModelSpec, OptionValue, Source
from corral.store.files import ModelFiles, resolve
from corral.store.gguf.header import Header, Value
from corral.store.gguf.memory import PROGRAM_BYTES, FileFootprints, context_cells, kv_bytes
from tests.models import ADA, EMBED, SPLIT, model

MIB = 1024 * 1024


def spec(path: Path | str = "", **options: OptionValue) -> ModelSpec:
    return ModelSpec("m", source=Source(str(path)), options=options)


def header(**values: Value) -> Header:
    metadata: dict[str, Value] = {"general.architecture": "llama"}
    metadata |= {"llama." + key.replace("__", "."): value for key, value in values.items()}
    return Header(3, False, metadata, (), 0, 0, 32)


# Llama 3.1 8B: 32 layers, 8 key-value heads of 128: 128 KiB for each token in f16.
LLAMA_8B = header(
    block_count=32,
    context_length=131072,
    embedding_length=4096,
    attention__head_count=32,
    attention__head_count_kv=8,
)


def test_the_kv_cache_of_a_known_model() -> None:
    assert kv_bytes(LLAMA_8B, 8192, "f16", "f16") == 1024 * MIB
    assert kv_bytes(LLAMA_8B, 8192, "q8_0", "q8_0") == 1024 * MIB * 34 // 64
    assert kv_bytes(LLAMA_8B, 8192, "f16", "q4_0") == 512 * MIB + 512 * MIB * 18 // 64


def test_heads_that_differ_by_layer() -> None:
    hybrid = header(
        block_count=4,
        attention__head_count=8,
        attention__head_count_kv=(0, 2, 0, 4),
        attention__key_length=64,
        attention__value_length=32,
    )
    assert kv_bytes(hybrid, 100, "f16", "f16") == 100 * 6 * (64 + 32) * 2


@pytest.mark.parametrize(
    ("options", "cells"),
    [
        ({}, 131072),
        ({"ctx_size": 0}, 131072),
        ({"ctx_size": 8192}, 8192),
        ({"ctx_size": 8192, "parallel": 4}, 8192),
        ({"ctx_size": 1000, "parallel": 3}, 3 * 512),
    ],
)
def test_the_context_is_the_total_over_slots(options: dict[str, OptionValue], cells: int) -> None:
    assert context_cells(LLAMA_8B, ModelSpec("m", options=options)) == cells


def test_a_footprint_has_files_cache_and_program() -> None:
    files = FileFootprints()
    path = model(ADA)
    small, large = (files.footprint(spec(path, ctx_size=size)).ram_bytes for size in (4096, 32768))
    assert path.stat().st_size + PROGRAM_BYTES < small < large
    # 16-long head, one layer: 64 bytes of cache for each token, and 1,024 of attention mask for a batch of 512
    assert large - small == (32768 - 4096) * (64 + 1024)


def test_all_parts_and_companions_count() -> None:
    files = FileFootprints()
    alone = files.footprint(spec(model(SPLIT))).ram_bytes
    assert alone > sum(part.size for part in files.files(str(model(SPLIT))).parts)
    path = model(EMBED)
    for options in ({"mmproj": str(path)}, {"lora": (str(path),)}, {"model_draft": str(path)}):
        with_it = files.footprint(ModelSpec("m", source=Source(str(model(SPLIT))), options=options)).ram_bytes
        assert with_it - alone == path.stat().st_size


def test_an_encoder_has_no_cache() -> None:
    files = FileFootprints().files(str(model(EMBED)))
    assert kv_bytes(files.header, 10_000, "f16", "f16") == 0


def test_a_model_without_a_file_takes_nothing() -> None:
    assert FileFootprints().footprint(spec()).ram_bytes == 0


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileMissing):
        FileFootprints().footprint(spec(tmp_path / "no.gguf"))


def test_a_file_is_read_again_only_when_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []

    def counted(path: str) -> ModelFiles:
        reads.append(path)
        return resolve(path)

    monkeypatch.setattr("corral.store.gguf.memory.resolve", counted)
    path = tmp_path / "m.gguf"
    shutil.copy(model(ADA), path)
    files = FileFootprints()
    first = files.footprint(spec(path))
    assert files.footprint(spec(path)) == first
    assert len(reads) == 1
    os.utime(path, ns=(1, 1))
    files.footprint(spec(path))
    assert len(reads) == 2
    path.unlink()
    with pytest.raises(FileMissing):
        files.footprint(spec(path))


def test_absurd_numbers_cost_no_memory() -> None:
    absurd = header(block_count=1 << 62, attention__head_count=1 << 60, embedding_length=1 << 62)
    assert kv_bytes(absurd, 1 << 40, "f16", "f16") > 1 << 100
