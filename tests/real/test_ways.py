"""num_ctx and keep_alive of the official `ollama` client: the context that the real llama.cpp really has."""

from __future__ import annotations

import pytest
from ollama import AsyncClient

from tests.corrals import Running, corral, gguf
from tests.models import ADA, model
from tests.real.engines import ENGINES, binary_of

HELLO = [{"role": "user", "content": "hello"}]


async def contexts(running: Running) -> list[int]:
    """Tokens of one request, as the engines of the Model say it themselves."""
    status = await running.app.control.status()
    return [row["context_tokens"] for row in status["models"] if "context_tokens" in row]  # type: ignore[attr-defined]


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_context_of_a_requests_own(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = binary_of(engine, monkeypatch)
    async with corral({"ada": gguf(model(ADA), binary=binary, options={"ctx_size": 1024})}) as running:
        client = AsyncClient(host=running.info.address)
        try:
            first = await client.chat("ada", HELLO, options={"num_ctx": 512, "num_predict": 4}, keep_alive="1h")
            assert await contexts(running) == [512]
            props = (await running.http.get("/props", params={"model": "ada"})).json()
            assert props["default_generation_settings"]["n_ctx"] == 512
            pids = running.engine_pids()
            again = await client.chat("ada", HELLO, options={"num_ctx": 512, "num_predict": 4})
            assert running.engine_pids() == pids and again.message == first.message
            assert 3500 < (await running.http.get("/running")).json()["running"][0]["ttl_left_s"] <= 3600
            await client.chat("ada", HELLO, options={"num_predict": 4})
            assert await contexts(running) == [1024, 512], "as it was configured, beside it"
            await client.chat("ada", HELLO, options={"num_ctx": 999_999, "num_predict": 4})
            trained = running.app.directory.facts_of("ada").trained_context_tokens
            assert max(await contexts(running)) == trained, "no more than it was trained for"
            await client.generate("ada", "", keep_alive=0)
            await running.until("ada", "stopped")
        finally:
            await client._client.aclose()
