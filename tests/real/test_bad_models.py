"""Files that cannot be served: a clear error for each, over HTTP, and nothing left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from corral.store.gguf.demo import Damage, broken
from tests.corrals import corral, gguf
from tests.models import ADA, model
from tests.real.engines import ENGINES, binary_of


@pytest.mark.parametrize("engine", ENGINES)
async def test_each_says_what_is_wrong(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = binary_of(engine, monkeypatch)
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
