"""A file that comes as its source has it, and is no model: told, not fetched over and over, and then mended."""

from __future__ import annotations

from pathlib import Path

from corral.domain.fleet import ModelSpec, Source
from corral.domain.storage import StoreSpec
from corral.store.gguf.demo.broken import Damage, broken
from tests.corrals import corral
from tests.hub_server import HubServer
from tests.models import ADA, model

REFERENCE = "hf.co/org/ada-GGUF:Q8_0"


async def test_a_file_that_is_broken_where_it_comes_from(tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    broken(bad, Damage.DATA_CUT)
    spec = ModelSpec("", Source(reference=REFERENCE), options={"parallel": 1, "ctx_size": 2048, "threads": 1}, slots=1)
    with HubServer() as hub:
        hub.repo("org/ada-GGUF", {"ada-Q8_0.gguf": bad.read_bytes()})
        store = StoreSpec(str(tmp_path / "store"), endpoint=hub.endpoint, trusted=frozenset(hub.trusted))
        async with corral({"ada": spec}, store=store) as running:
            refused = await running.chat("ada")
            assert refused.status_code in (500, 503)
            assert "ada-Q8_0.gguf" in refused.json()["error"]["message"], refused.text
            assert running.state("ada") == "failed"
            asked = len(hub.asked)
            again = await running.http.post("/api/corral/load", json={"model": "ada"})
            assert again.status_code >= 400 and len(hub.asked) == asked, "the same would come"
            (tmp_path / "store/hf/org/ada-GGUF/ada-Q8_0.gguf").unlink()  # what `corral models remove` does
            hub.repo("org/ada-GGUF", {"ada-Q8_0.gguf": model(ADA).read_bytes()})
            await running.http.post("/api/corral/load", json={"model": "ada"})
            loaded = await running.http.post("/api/corral/load", json={"model": "ada"})
            assert loaded.status_code == 200, loaded.text
            assert await running.text("ada") == ADA.sentence
