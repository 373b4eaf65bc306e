"""The official `ollama` client and its model management, against the real llama.cpp through a whole Corral."""

from __future__ import annotations

import contextlib
import datetime
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import ollama
import pytest

from corral import registry
from corral.app import Corral
from corral.config.load import load
from corral.config.settings import Settings
from tests.models import ADA, EMBED, OBEY, RERANK, THINKER, model
from tests.real.engines import ENGINES, binary_of

CONFIG = """\
# who answers here
defaults:
  ttl: 5m
  options: {{llamacpp: {{parallel: 1, threads: 1, ctx_size: 2048}}}}
  binary: {{llamacpp: "{binary}"}}
models:
  Ada:  # says one sentence
    source: {ada}
    aliases: [gpt-4o-mini]
    options: {{temperature: 0}}
  obey: {{source: {obey}, listed_aliases: true, aliases: [tools]}}
  thinker: {{source: {thinker}}}
  embed: {{source: {embed}, options: {{embeddings: true}}}}
  rerank: {{source: {rerank}, options: {{rerank: true}}}}
"""


@contextlib.asynccontextmanager
async def served(binary: str) -> AsyncIterator[tuple[Corral, ollama.AsyncClient, Path]]:
    home = Path(tempfile.mkdtemp(prefix="c"))
    file = home / "corral.yaml"
    specs = {"ada": ADA, "obey": OBEY, "thinker": THINKER, "embed": EMBED, "rerank": RERANK}
    file.write_text(CONFIG.format(binary=binary, **{name: model(spec) for name, spec in specs.items()}))

    def read() -> Settings:
        over = {"server.port": 0, "server.ollama_port": 0, "state_dir": str(home / "state")}
        return load(str(file), engines=registry.engines(), env={}, command_line=over)

    try:
        running = Corral(read(), reread=read)
        async with running.running() as info:
            await running.surveyed()
            async with ollama.AsyncClient(host=info.ollama_address) as client:
                yield running, client, file
    finally:
        shutil.rmtree(home)


@pytest.mark.parametrize("engine", ENGINES)
async def test_the_whole_management(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One Corral for all; each part says what it checks."""
    async with served(binary_of(engine, monkeypatch)) as (running, client, file):
        await check_the_port(running)
        await check_list(client)
        await check_show(client)
        await check_ps(running, client)
        await check_pull(client)
        await check_copy_and_delete(running, client, file)
        await check_what_is_refused(client, file)


async def check_the_port(running: Corral) -> None:
    async with httpx.AsyncClient() as http:
        got = await http.get(running.ollama_address)
        assert (got.status_code, got.text) == (200, "Ollama is running")
        version = (await http.get(f"{running.ollama_address}/api/version")).json()
        assert version["version"].count(".") == 2 and version["corral"]
        status: Any = await running.control.status()
        assert status["ollama_address"] == running.ollama_address != status["address"]


async def check_list(client: ollama.AsyncClient) -> None:
    found = {each.model: each for each in (await client.list()).models}
    assert list(found) == ["Ada", "obey", "tools", "thinker", "embed", "rerank"], "aliases only where they are listed"
    ada = found["Ada"]
    path = model(ADA)
    assert ada.size == path.stat().st_size and ada.digest is not None and len(ada.digest) == 64
    assert ada.modified_at is not None and abs(ada.modified_at.timestamp() - path.stat().st_mtime) < 0.01
    assert ada.details is not None and ada.details.format == "gguf" and ada.details.family == ADA.arch
    assert ada.details.families == [ADA.arch] and ada.details.quantization_level == "F32"
    assert ada.details.parameter_size and ada.details.parameter_size[-1] in "KM"
    assert found["obey"].digest == found["tools"].digest != ada.digest


async def check_show(client: ollama.AsyncClient) -> None:
    for name in ("Ada", "ada", "ada:latest", "GPT-4o-mini"):
        found = await client.show(name)
        assert found.modelinfo is not None and found.modelinfo["general.architecture"] == ADA.arch
        assert found.modelinfo[f"{ADA.arch}.context_length"] == ADA.context
        assert found.modelinfo[f"{ADA.arch}.block_count"] >= 1, "all of the file's own metadata"
        assert found.modelinfo["general.parameter_count"] > 1000
        assert "tokenizer.chat_template" not in found.modelinfo and found.modelinfo["tokenizer.ggml.tokens"] == []
        assert found.capabilities is not None and "completion" in found.capabilities
        assert found.template and "messages" in found.template
        assert found.parameters and found.parameters.split()[:2] == ["num_ctx", "2048"]
        assert found.details is not None and found.details.family == ADA.arch and found.modified_at is not None
    able = {name: (await client.show(name)).capabilities or [] for name in ("obey", "thinker", "embed", "rerank")}
    assert "tools" in able["obey"] and "thinking" in able["thinker"]
    assert able["embed"] == ["embedding"] and able["rerank"] == []
    embed = await client.show("embed")
    assert embed.modelinfo is not None and "bert.context_length" in embed.modelinfo
    with pytest.raises(ollama.ResponseError) as caught:
        await client.show("nobody")
    assert (caught.value.status_code, caught.value.error) == (404, "model 'nobody' not found")


async def check_ps(running: Corral, client: ollama.AsyncClient) -> None:
    assert (await client.ps()).models == []
    await client.chat("Ada", messages=[{"role": "user", "content": "hello"}])
    (ada,) = (await client.ps()).models
    assert ada.model == ada.name == "Ada" and ada.digest is not None and len(ada.digest) == 64
    assert ada.context_length == running.directory.context_of("Ada") == 2048
    assert ada.size is not None and ada.size_vram is not None and ada.size > ada.size_vram >= 0
    assert ada.expires_at is not None
    left = ada.expires_at - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(minutes=4) < left <= datetime.timedelta(minutes=5)
    await running.control.load("embed", timeout_s=60)
    found = (await client.ps()).models
    assert [each.model for each in found] == ["embed", "Ada"], "what stays longest comes first"


async def check_pull(client: ollama.AsyncClient) -> None:
    assert (await client.pull("ada")).status == "success"
    lines = [line.status async for line in await client.pull("Ada:latest", stream=True)]
    assert lines[0] == "pulling manifest" and lines[-1] == "success"
    with pytest.raises(ollama.ResponseError) as caught:
        await client.pull("llama3.2")
    assert caught.value.status_code == 409 and "Set store.serve: true" in caught.value.error
    with pytest.raises(ollama.ResponseError, match="would not be served"):
        async for _ in await client.pull("llama3.2", stream=True):
            pass


async def check_copy_and_delete(running: Corral, client: ollama.AsyncClient, file: Path) -> None:
    before = running.scheduler.view("Ada")
    text = file.read_text()
    assert (await client.copy("ada", "mine")).status == "success"
    assert file.read_text() == text.replace("[gpt-4o-mini]", "[gpt-4o-mini, mine]")
    answer = await client.chat("mine", messages=[{"role": "user", "content": "hello"}])
    assert answer.message.content == ADA.sentence
    after = running.scheduler.view("Ada")
    assert before is not None and after is not None and before.instance == after.instance, "it ran on"
    with pytest.raises(ollama.ResponseError) as caught:
        await client.copy("obey", "mine")
    assert caught.value.status_code == 409
    assert (await client.delete("mine")).status == "success"
    assert file.read_text() == text
    assert (await client.delete("rerank")).status == "success"
    assert "rerank" not in [each.model for each in (await client.list()).models] and model(RERANK).exists()
    assert file.read_text().startswith("# who answers here") and "# says one sentence" in file.read_text()
    for gone in ("mine", "rerank"):
        with pytest.raises(ollama.ResponseError) as caught:
            await client.delete(gone)
        assert caught.value.status_code == 404
    with pytest.raises(ollama.ResponseError) as caught:
        await client.copy("nobody", "x")
    assert caught.value.status_code == 404


async def check_what_is_refused(client: ollama.AsyncClient, file: Path) -> None:
    for refused in (
        client.create("new", from_="Ada", system="Be brief."),
        client.push("Ada"),
        client.create_blob(model(ADA)),
        client.create_blob(file),
    ):
        with pytest.raises(ollama.ResponseError) as caught:
            await refused
        assert caught.value.status_code == 501 and "Corral" in caught.value.error
    with pytest.raises(ollama.ResponseError) as caught:
        async for _ in await client.push("Ada", stream=True):
            pass
    assert caught.value.status_code == 501
