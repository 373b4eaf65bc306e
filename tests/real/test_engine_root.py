"""llama.cpp's own web page through a whole Corral, and what it asks for: as against a lone llama-server."""

from __future__ import annotations

import dataclasses

import pytest

from corral.domain.requests import DefaultModels
from corral.domain.serving import ServerSpec
from tests.corrals import corral, gguf
from tests.models import ADA, model


async def test_the_page_of_a_lone_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded llama.cpp has its page; a build without one would answer 404."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    server = ServerSpec(port=0, drain_s=5.0, engine_root=True)
    async with corral({"ada": gguf(model(ADA), options={"ui": True})}, server=server) as running:
        directory = running.app.directory
        directory.replace(
            [dataclasses.replace(directory.models["ada"])], directory.facts, DefaultModels(for_unknown=True)
        )
        page = await running.http.get("/")
        assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
        assert page.headers["content-encoding"] == "gzip" and "<html" in page.text.lower()
        assert (await running.http.get("/health")).json() == {"status": "ok"}
        props = (await running.http.get("/props")).json()
        assert props["total_slots"] == 4 and "default_generation_settings" in props and "role" not in props
        assert len((await running.http.get("/slots")).json()) == 4
        assert (await running.http.get("/v1/models")).json()["data"][0]["id"] == "ada"
        for name in ({}, {"model": "gpt-5"}):
            asked = {**name, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
            assert (await running.http.post("/v1/chat/completions", json=asked)).status_code == 200
        refused = await running.http.post("/completion", json={"prompt": "x", "n_discard": -1})
        assert refused.status_code == 400 and "n_discard must be from 0" in refused.text
        assert (await running.http.get("/tools")).status_code == 404
