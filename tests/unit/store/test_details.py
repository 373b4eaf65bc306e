"""All that a model file says, read when it is asked for."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from pathlib import Path

import pytest

from corral.domain.errors import StoreFailed
from corral.domain.facts import FileDetails
from corral.domain.fleet import ModelSpec, Source
from corral.store import details
from corral.store.details import FileDetailsReader, ShownFiles
from corral.store.facts import FileFacts
from corral.store.files import ModelFiles, resolve
from corral.store.known import KnownFiles
from tests.models import ADA, EMBED, SPLIT, model


def spec(path: Path) -> ModelSpec:
    return ModelSpec("m", Source(str(path)))


def test_a_file_is_read_once_until_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    shutil.copy(model(ADA), path)
    readings: list[str] = []

    def read(name: str) -> ModelFiles:
        readings.append(name)
        return resolve(name)

    reader = FileDetailsReader(KnownFiles(), read=read)
    found = reader.of(spec(path))
    assert found.metadata["general.architecture"] == ADA.arch
    assert found.metadata[f"{ADA.arch}.context_length"] == ADA.context
    assert any(name == "token_embd.weight" for name, _, _ in found.tensors)
    assert reader.of(spec(path)) is found and len(readings) == 1
    os.utime(path, ns=(1, 1))
    assert reader.of(spec(path)) == found and len(readings) == 2


def test_only_a_few_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(details, "KEPT", 2)
    reader = FileDetailsReader(KnownFiles())
    paths = [tmp_path / f"{number}.gguf" for number in range(3)]
    for path in paths:
        shutil.copy(model(ADA), path)
    first = reader.of(spec(paths[0]))
    for path in paths:
        reader.of(spec(path))
    assert reader.of(spec(paths[0])) is not first


def test_long_arrays_are_empty_and_a_split_model_is_one() -> None:
    found = FileDetailsReader(KnownFiles()).of(spec(model(SPLIT)))
    assert all(not isinstance(value, tuple) for value in found.metadata.values())
    assert len(found.tensors) > 3


def test_a_projector_has_its_own_metadata() -> None:
    with_projector = ModelSpec("m", Source(str(model(ADA))), options={"mmproj": str(model(EMBED))})
    found = FileDetailsReader(KnownFiles()).of(with_projector)
    assert found.metadata["general.architecture"] == ADA.arch and found.projector["general.architecture"] == EMBED.arch


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(StoreFailed):
        FileDetailsReader(KnownFiles()).of(spec(Path("/nowhere/m.gguf")))


def test_the_digest_is_the_files_own(tmp_path: Path) -> None:
    def digest(path: Path) -> str:
        found = FileFacts().of({"m": spec(path)})["m"]
        assert found.modified_at == pytest.approx(path.stat().st_mtime)
        return found.file_digest

    path = tmp_path / "m.gguf"
    shutil.copy2(model(ADA), path)
    first = digest(path)
    assert len(first) == 64 and int(first, 16) and digest(path) == first
    (tmp_path / "moved").mkdir()
    moved = path.rename(tmp_path / "moved" / "m.gguf")
    assert digest(moved) == first
    os.utime(moved, ns=(1, 1))
    assert digest(moved) != first
    assert FileFacts().of({"m": ModelSpec("m")})["m"].file_digest == ""


async def test_a_disk_that_hangs_holds_nobody_up_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(details, "DEADLINE_S", 0.05)
    answers, asked = threading.Event(), []

    def hang(model: ModelSpec) -> ModelSpec:
        asked.append(model.name)
        answers.wait(5)
        return model

    shown = ShownFiles(KnownFiles(), hang)
    try:
        found = await asyncio.gather(*(shown.of(spec(model(ADA))) for _ in range(3)))
        assert found == [None, None, None] and asked == ["m"], "one reading for all who ask"
        answers.set()
        monkeypatch.setattr(details, "DEADLINE_S", 5.0)
        assert isinstance(await shown.of(spec(model(ADA))), FileDetails)
    finally:
        answers.set()
        await shown.aclose()


async def test_without_a_file_or_with_a_bad_one_there_is_nothing() -> None:
    shown = ShownFiles(KnownFiles(), lambda model: model)
    assert await shown.of(ModelSpec("m")) is None
    assert await shown.of(spec(Path("/nowhere/m.gguf"))) is None
    await shown.aclose()
