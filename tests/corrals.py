"""
A whole Corral inside a test: real gateway, scheduler, keeper and processes; fake or real engines behind it.

    async with corral({"a": fake("--load-s", "0.1"), "b": fake()}, group="swap") as running:
        answer = await running.chat("a")
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psutil

from corral.app import AppInfo, Corral
from corral.config.settings import LogSpec, Settings
from corral.contracts.devices import Devices
from corral.domain.devices import VRAM, MemorySpec
from corral.domain.fleet import Fleet, GroupSpec, Limits, ModelSpec, OptionValue, Source
from corral.domain.serving import ServerSpec
from corral.domain.storage import StoreSpec
from corral.fakes.engine import FakeProgramEngine


def fake(*flags: str, slots: int = 4, **fields: Any) -> ModelSpec:
    """A Model on the fake engine; the name is put in by `corral`."""
    options: dict[str, OptionValue] = {"parallel": slots, "flags": flags}
    return ModelSpec("", engine="fake", options=options, slots=slots, **fields)


def gguf(path: Path, *, slots: int = 4, **fields: Any) -> ModelSpec:
    """A Model on llama.cpp."""
    options = {"parallel": slots, "ctx_size": 2048, "threads": 1, **fields.pop("options", {})}
    return ModelSpec("", Source(str(path)), options=options, slots=slots, **fields)


def fleet(models: Mapping[str, ModelSpec], *, group: str = "", limits: Limits | None = None) -> Fleet:
    """A Fleet; `group` "swap" puts all Models into one swap group."""
    named = {name: dataclasses.replace(model, name=name) for name, model in models.items()}
    groups = {"g": GroupSpec("g", tuple(named), swap=True)} if group == "swap" else {}
    return Fleet(named, groups, limits=limits or Limits())


@dataclass
class Running:
    """A Corral that serves, and a client for it."""

    app: Corral
    info: AppInfo
    http: httpx2.AsyncClient
    state_dir: Path

    async def chat(self, model: str, **fields: Any) -> httpx2.Response:
        """One chat request; `fake` sets the fake engine's behaviour."""
        body = {"model": model, "messages": [{"role": "user", "content": "hello"}], **fields}
        return await self.http.post("/v1/chat/completions", json=body)

    async def text(self, model: str, **fields: Any) -> str:
        """The answer's text. Fails for anything but 200."""
        answer = await self.chat(model, **fields)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["choices"][0]["message"]["content"])

    async def stream(self, model: str, **fields: Any) -> tuple[str, bool]:
        """The text of a streamed answer, and whether it ended with [DONE]."""
        body = {"model": model, "messages": [{"role": "user", "content": "hello"}], "stream": True, **fields}
        text, done = "", False
        async with self.http.stream("POST", "/v1/chat/completions", json=body) as answer:
            assert answer.status_code == 200, await answer.aread()
            async for line in answer.aiter_lines():
                if line == "data: [DONE]":
                    done = True
                elif line.startswith("data: "):
                    for choice in json.loads(line[6:]).get("choices", ()):
                        text += choice["delta"].get("content") or ""
        return text, done

    def state(self, model: str) -> str:
        """The Model's state now."""
        view = self.app.scheduler.view(model)
        assert view is not None
        return str(view.state)

    async def until(self, model: str, state: str, *, timeout_s: float = 10.0) -> None:
        """Wait for a state."""
        async with asyncio.timeout(timeout_s):
            while self.state(model) != state:
                await asyncio.sleep(0.005)

    def engine_pids(self) -> list[int]:
        """Pids of every engine process that carries this state folder's marker."""
        return engine_pids(self.state_dir)


def engine_pids(state_dir: Path) -> list[int]:
    """Processes started for instances of this state folder, wherever they hang in the tree."""
    found = []
    for process in psutil.process_iter(["pid"]):
        try:
            environ = process.environ()
        except psutil.Error:
            continue
        if environ.get("CORRAL_INSTANCE") and environ.get("CORRAL_TEST_STATE") == str(state_dir):
            found.append(process.pid)
    return found


@contextlib.asynccontextmanager
async def corral(
    models: Mapping[str, ModelSpec],
    *,
    group: str = "",
    limits: Limits | None = None,
    ram: int | None = None,
    server: ServerSpec | None = None,
    hidden_env: frozenset[str] = frozenset(),
    devices: Devices | None = None,
    memory: MemorySpec | None = None,
    store: StoreSpec | None = None,
) -> AsyncIterator[Running]:
    """Start it, serve, stop it, and check that no engine process is left."""
    state_dir = Path(tempfile.mkdtemp(prefix="c"))
    marked = {
        name: dataclasses.replace(model, env=(*model.env, ("CORRAL_TEST_STATE", str(state_dir))))
        for name, model in models.items()
    }
    settings = Settings(
        fleet(marked, group=group, limits=limits),
        server or ServerSpec(port=0, drain_s=5.0),
        LogSpec(),
        str(state_dir),
        memory=memory or MemorySpec(ram=ram, vram={VRAM: None}),
        hidden_env=hidden_env,
        store=store or StoreSpec(),
    )
    app = Corral(settings, extra_engines={"fake": FakeProgramEngine()}, devices=devices)
    try:
        async with app.running() as info:
            limits_http = httpx2.Limits(max_connections=1000, max_keepalive_connections=100)
            async with httpx2.AsyncClient(base_url=info.address, timeout=60, limits=limits_http) as http:
                yield Running(app, info, http, state_dir)
        assert engine_pids(state_dir) == []
    finally:
        shutil.rmtree(state_dir, ignore_errors=True)
