"""Files that cannot be served: a clear error for each, over HTTP, and nothing left behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from corral.store.gguf.demo import Damage, broken
from tests.corrals import corral, gguf
from tests.models import ADA, model

ENGINES = ["embedded", pytest.param("binary", marks=pytest.mark.llama_server)]


@pytest.mark.parametrize("engine", ENGINES)
async def test_each_says_what_is_wrong(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    binary = os.environ["CORRAL_TEST_LLAMA_SERVER"] if engine == "binary" else ""
    for damage in Damage:
        broken(tmp_path / f"{damage}.gguf", damage)
    files = {name: tmp_path / f"{name}.gguf" for name in ("missing", *Damage)}
    models = {name: gguf(path, binary=binary) for name, path in files.items()}
    async with corral({**models, "good": gguf(model(ADA), binary=binary)}) as running:
        for name, path in files.items():
            answer = await running.chat(name)
            error = answer.json()["error"]
            assert answer.status_code == 503, name
            assert path.name in error["message"] or repr(str(name)) in error["message"], error
            assert len(error["message"]) > 30
            assert "Traceback" not in error["message"]
        assert await running.text("good") == ADA.sentence
        assert len(running.engine_pids()) == 1
