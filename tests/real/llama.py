"""
Real llama.cpp for tests: start what an engine planned, and end it with the test.

Without a Runtime: a plan is a promise about argv, environment and files, and here exactly that is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from corral.contracts.engine import ReadyInfo
from corral.domain.fleet import ModelSpec, Source
from corral.domain.launch import Endpoint, ExitKind, ExitStatus, LaunchPlan, Place
from corral.engines.llamacpp import LlamaCppEngine
from corral.kit.localhttp import LocalConnection

BINARY: Final = os.environ.get("CORRAL_TEST_LLAMA_SERVER", "")
EMBEDDED: Final = "embedded"
READY_S: Final = 20.0


@dataclass
class Running:
    """A started engine."""

    engine: LlamaCppEngine
    model: ModelSpec
    plan: LaunchPlan
    process: asyncio.subprocess.Process
    log_file: Path

    async def ready(self) -> ReadyInfo:
        """Wait until it is ready; raises what `diagnose` says when it ends before."""
        ready = asyncio.ensure_future(self.engine.wait_ready(self.model, self.plan.endpoint))
        ended = asyncio.ensure_future(self.process.wait())
        try:
            await asyncio.wait({ready, ended}, return_when=asyncio.FIRST_COMPLETED, timeout=READY_S)
            if ready.done():
                return ready.result()
            status = exit_status(self.process.returncode)
            raise self.engine.diagnose(self.model, status, self.log())
        finally:
            for task in (ready, ended):
                task.cancel()
            await asyncio.gather(ready, ended, return_exceptions=True)

    def log(self) -> list[str]:
        """Its output so far."""
        return self.log_file.read_text("utf-8", "replace").splitlines()

    async def settled_log(self) -> list[str]:
        """Its output once it has been silent for 50 ms: llama.cpp's log is written by a thread of its own, and late."""
        before, now = -1, self.log_file.stat().st_size
        async with asyncio.timeout(READY_S):
            while before != now:
                await asyncio.sleep(0.05)
                before, now = now, self.log_file.stat().st_size
        return self.log()

    async def get(self, path: str) -> Any:
        """GET with the engine key; the JSON of a 200."""
        return json.loads(await self.text(path))

    async def text(self, path: str) -> str:
        """The same as it is."""
        headers = {"Authorization": f"Bearer {self.plan.endpoint.key}"}
        async with link(self.plan.endpoint) as connection:
            answer = await connection.get(path, headers=headers, timeout_s=10)
        assert answer.status == 200, answer
        return answer.body.decode()

    async def post(self, path: str, body: dict[str, Any], *, key: str | None = None) -> tuple[int, Any]:
        """POST JSON; status and JSON."""
        reader, writer = await self.open()
        try:
            writer.write(self.request(path, body, key))
            async with asyncio.timeout(20):
                raw = await reader.read()
        finally:
            writer.close()
        head, _, content = raw.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(content)

    def request(self, path: str, body: dict[str, Any], key: str | None = None) -> bytes:
        """The bytes of a POST."""
        data = json.dumps(body).encode()
        lines = (
            f"POST {path} HTTP/1.1",
            "Host: x",
            "Connection: close",
            "Content-Type: application/json",
            f"Authorization: Bearer {self.plan.endpoint.key if key is None else key}",
            f"Content-Length: {len(data)}",
        )
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + data

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A raw connection."""
        end = self.plan.endpoint
        if end.socket:
            return await asyncio.open_unix_connection(end.socket)
        return await asyncio.open_connection(end.host, end.port)


def link(endpoint: Endpoint) -> LocalConnection:
    """A connection to an engine."""
    return LocalConnection(socket=endpoint.socket, host=endpoint.host, port=endpoint.port)


def spec(path: Path, binary: str, **values: Any) -> ModelSpec:
    """A Model of this file, by this program."""
    return ModelSpec("tiny", Source(str(path)), binary=binary, **values)


def exit_status(code: int | None) -> ExitStatus | None:
    """As a runtime reports it."""
    if code is None:
        return None
    return ExitStatus(ExitKind.EXITED, code=code) if code >= 0 else ExitStatus(ExitKind.SIGNALLED, signal=-code)


@contextlib.asynccontextmanager
async def started(model: ModelSpec, folder: Path, *, socket: bool = True) -> AsyncIterator[Running]:
    """Plan and start it in `folder` (a short path); killed at the end, whatever happened."""
    engine = LlamaCppEngine()
    scratch = folder / f"s{len(list(folder.iterdir()))}"
    scratch.mkdir()
    plan = await engine.plan(model, Place("i", str(scratch), socket=str(scratch / "e.sock") if socket else ""))
    assert isinstance(plan, LaunchPlan)
    for name, content in plan.files.items():
        (scratch / name).write_text(content)
    env = {name: value for name, value in os.environ.items() if not name.startswith(plan.env_scrub)}
    with open(scratch / "log", "wb") as log:
        process = await asyncio.create_subprocess_exec(
            *plan.argv,
            env={**env, **plan.env, **plan.secret_env},
            cwd=plan.cwd or None,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield Running(engine, model, plan, process, scratch / "log")
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
