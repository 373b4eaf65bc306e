"""A model of Ollama's registry that is one with an adapter: the real llama.cpp loads both."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from corral.domain.fleet import Source
from corral.domain.storage import StoreSpec
from tests import second_files
from tests.corrals import corral, gguf
from tests.hub_server import HubServer
from tests.models import ADA, model
from tests.real.engines import ENGINES, binary_of


@pytest.mark.parametrize("engine", ENGINES)
async def test_the_adapter_reaches_the_engine(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = binary_of(engine, monkeypatch)
    with HubServer() as hub:
        hub.model("tuned", {"model": model(ADA).read_bytes(), "adapter": second_files.lora().read_bytes()})
        hub.model("plain", {"model": model(ADA).read_bytes()})
        models = {
            name: dataclasses.replace(
                gguf(model(ADA), binary=binary), source=Source(reference=f"ollama:{hub.host}/library/{name}")
            )
            for name in ("tuned", "plain")
        }
        store = StoreSpec(str(tmp_path / "store"), trusted=frozenset(hub.trusted))
        async with corral(models, store=store) as running:
            loaded = {}
            for name in models:
                assert await running.text(name) == ADA.sentence
                adapters = (await running.http.get(f"/upstream/{name}/lora-adapters")).json()
                loaded[name] = [(Path(each["path"]).name, each["scale"]) for each in adapters]
            assert loaded == {"tuned": [("adapter.gguf", 1.0)], "plain": []}
