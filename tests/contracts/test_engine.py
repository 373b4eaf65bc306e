"""
What every Engine promises: llama.cpp by binary and by wheel, command, remote, and the fake go through the same suite.

The last part holds the two llama.cpp programs to one meaning: the same options give the same `/props`, and the same
log of what was loaded.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from corral.contracts.engine import Engine
from corral.domain.devices import RAM
from corral.domain.errors import EngineFailed, StartFailed
from corral.domain.fleet import ModelSpec, Source
from corral.domain.launch import Attach, Endpoint, ExitKind, ExitStatus, Place, load_digest
from corral.engines.command import CommandEngine
from corral.engines.llamacpp import LlamaCppEngine
from corral.engines.remote import RemoteEngine
from corral.fakes.engine import FakeProgramEngine
from tests.models import ADA, EMBED, model
from tests.real.llama import BINARY, EMBEDDED, spec, started

SMALL: dict[str, Any] = {"ctx_size": 512, "parallel": 3}
LOADING = b'{"error":{"message":"Loading model","type":"unavailable_error","code":503}}'
PROPS = {"total_slots": 3, "default_generation_settings": {"n_ctx": 512}, "build_info": "b1"}


@dataclass
class Subject:
    """An engine with a Model that it can serve."""

    engine: Engine
    model: Callable[[Path], ModelSpec]
    slots: int


SUBJECTS = {
    "embedded": Subject(LlamaCppEngine(), lambda _: spec(model(ADA), EMBEDDED, options=SMALL), 3),
    "binary": Subject(LlamaCppEngine(), lambda _: spec(model(ADA), BINARY, options=SMALL), 3),
    "remote": Subject(
        RemoteEngine(),
        lambda _: ModelSpec("far", engine="remote", options={"base_url": "http://127.0.0.1:9", "parallel": 3}),
        3,
    ),
    "command": Subject(
        CommandEngine(),
        lambda _: ModelSpec(
            "any",
            engine="command",
            env=(("FAKE_KEY", "{key}"),),
            options={
                "command": (sys.executable, "-m", "corral.fakes.engine_program", "--socket", "{socket}"),
                "parallel": 3,
            },
        ),
        3,
    ),
    "fake": Subject(FakeProgramEngine(), lambda _: ModelSpec("fake", engine="fake", options={"parallel": 3}), 3),
}


@pytest.fixture(
    params=[pytest.param(name, marks=[pytest.mark.llama_server] if name == "binary" else []) for name in SUBJECTS]
)
def subject(request: pytest.FixtureRequest) -> Subject:
    return SUBJECTS[request.param]


@dataclass
class Server:
    """A small HTTP server that answers what a test tells it to; it notes paths, keys and connections."""

    routes: dict[str, tuple[int, bytes]]
    seen: list[tuple[str, str]] = field(default_factory=list)
    connections: int = 0
    per_connection: int = 1000
    port: int = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            for _ in range(self.per_connection):  # then it closes without a word, as llama-server does
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                path = head.split()[1]
                key = re.search(r"Authorization: Bearer (\S+)", head)
                self.seen.append((path, key[1] if key else ""))
                status, body = self.routes.get(path, (404, b"{}"))
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def serving(server: Server) -> AsyncIterator[Endpoint]:
    listener = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield Endpoint(host="127.0.0.1", port=server.port, key="the-key")
    finally:
        listener.close()


def ready_routes() -> dict[str, tuple[int, bytes]]:
    return {
        "/health": (200, b'{"status":"ok"}'),
        "/props": (200, json.dumps(PROPS).encode()),
        "/v1/models": (200, b"{}"),
    }


def test_a_good_model_has_no_problems(subject: Subject, tmp_path: Path) -> None:
    assert subject.engine.problems(subject.model(tmp_path)) == []
    assert subject.engine.slots(subject.model(tmp_path)) == subject.slots


def test_the_option_table_is_sound(subject: Subject) -> None:
    names = [option.name for option in subject.engine.options]
    assert len(names) == len(set(names)) and all(option.help for option in subject.engine.options)
    for option in subject.engine.options:
        assert option.default is None or option.check(option.default) == option.default


async def test_devices_are_memories_with_names(subject: Subject, tmp_path: Path) -> None:
    for device in await subject.engine.devices(subject.model(tmp_path)):
        assert device.name and device.name != RAM and 0 <= device.free_bytes <= device.total_bytes
    nowhere = dataclasses.replace(subject.model(tmp_path), binary="/gone/engine")
    assert await subject.engine.devices(nowhere) == ()  # the start will say what is wrong


async def test_digest_parts_are_json_and_stable(subject: Subject, tmp_path: Path) -> None:
    spec = subject.model(tmp_path)
    one, two = subject.engine.digest_parts(spec), subject.engine.digest_parts(spec)
    json.dumps(one)
    assert load_digest(one) == load_digest(two)


async def test_a_plan_uses_the_place_and_hides_its_key(subject: Subject, tmp_path: Path) -> None:
    plan = await subject.engine.plan(
        subject.model(tmp_path), Place("i", str(tmp_path), socket=str(tmp_path / "e.sock"))
    )
    if isinstance(plan, Attach):
        assert plan.endpoint.host == "127.0.0.1" and plan.endpoint.port == 9
        return
    assert plan.endpoint.socket == str(tmp_path / "e.sock") and plan.endpoint.key
    assert plan.endpoint.key not in repr(plan) and plan.endpoint.key not in " ".join(plan.argv)
    assert os.access(plan.argv[0], os.X_OK)


async def test_ready_is_waited_for(subject: Subject, tmp_path: Path) -> None:
    server = Server({"/health": (503, LOADING), "/v1/models": (503, LOADING)})
    async with serving(server) as endpoint:
        waiting = asyncio.ensure_future(subject.engine.wait_ready(subject.model(tmp_path), endpoint))
        await asyncio.sleep(0.15)
        assert not waiting.done()  # loading is not failure
        server.routes = ready_routes()
        async with asyncio.timeout(3):
            info = await waiting
        assert info.slots == 3
        assert await subject.engine.alive(endpoint, timeout_s=1)
        server.routes = dict.fromkeys(server.routes, (500, b""))
        assert not await subject.engine.alive(endpoint, timeout_s=1)
    assert not await subject.engine.alive(endpoint, timeout_s=1)


async def test_an_engine_that_does_not_listen_yet_is_waited_for(subject: Subject, tmp_path: Path) -> None:
    async with serving(Server({})) as gone:
        pass
    waiting = asyncio.ensure_future(subject.engine.wait_ready(subject.model(tmp_path), gone))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting


def test_a_failed_start_is_always_a_sentence(subject: Subject, tmp_path: Path) -> None:
    for status in (None, ExitStatus(ExitKind.EXITED, code=1), ExitStatus(ExitKind.OOM_KILLED, signal=9)):
        for log in ([], ["something odd"] * 100):
            error = subject.engine.diagnose(subject.model(tmp_path), status, log)
            assert error.message and len(error.log_tail) <= 50


# --- readiness of llama.cpp, answer by answer ----------------------------------------------------------------------

LLAMA = ModelSpec("m", Source("/m.gguf"), options={"parallel": 2})


async def test_one_connection_is_kept_and_replaced_when_the_engine_closes_it() -> None:
    server = Server({"/health": (503, LOADING)}, per_connection=4)
    async with serving(server) as endpoint:
        waiting = asyncio.ensure_future(LlamaCppEngine().wait_ready(LLAMA, endpoint))
        while len(server.seen) < 12:
            await asyncio.sleep(0.01)
        server.routes = ready_routes()
        info = await waiting
    assert info.slots == 3 and info.context_tokens == 512 and info.build == "b1"
    assert 3 <= server.connections <= len(server.seen) // 2
    assert all(key == ("the-key" if path == "/props" else "") for path, key in server.seen)


@pytest.mark.parametrize(
    ("routes", "says"),
    [
        ({"/health": (404, b"nothing here")}, "answers its health check with 404: nothing here"),
        ({"/health": (200, b"{}"), "/props": (401, b"{}")}, "refuses its key"),
        ({"/health": (200, b"{}"), "/props": (200, b"<html>")}, "not JSON"),
    ],
)
async def test_what_can_never_become_ready_is_an_error(routes: dict[str, tuple[int, bytes]], says: str) -> None:
    async with serving(Server(routes)) as endpoint:
        with pytest.raises(EngineFailed, match=says):
            await LlamaCppEngine().wait_ready(LLAMA, endpoint)


async def test_something_that_does_not_speak_http_is_an_error() -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
        writer.close()

    listener = await asyncio.start_server(babble, "127.0.0.1", 0)
    endpoint = Endpoint(host="127.0.0.1", port=listener.sockets[0].getsockname()[1])
    try:
        with pytest.raises(EngineFailed, match="Something else than llama-server"):
            await LlamaCppEngine().wait_ready(LLAMA, endpoint)
        remote = ModelSpec("r", options={"base_url": "http://x"})
        with pytest.raises(EngineFailed, match="does not speak HTTP"):
            await RemoteEngine().wait_ready(remote, endpoint)
    finally:
        listener.close()


async def test_a_build_without_props_is_taken_at_its_word() -> None:
    async with serving(Server({"/health": (200, b"{}")})) as endpoint:
        info = await LlamaCppEngine().wait_ready(LLAMA, endpoint)
    assert info.slots == 2 and info.context_tokens is None and info.capabilities == {"chat"}


@pytest.mark.parametrize(
    ("routes", "ready", "says"),
    [
        ({"/health": (404, b""), "/v1/models": (200, b"{}")}, True, ""),
        ({"/health": (404, b""), "/v1/models": (404, b"")}, False, "neither /health nor /v1/models"),
        ({"/health": (401, b"")}, False, "refuses the key"),
    ],
)
async def test_a_remote_is_asked_for_its_models_where_it_has_no_health(
    routes: dict[str, tuple[int, bytes]], ready: bool, says: str
) -> None:
    server = Server({f"/pre{path}": answer for path, answer in routes.items()})
    async with serving(server) as end:
        remote = ModelSpec("r", options={"base_url": f"http://127.0.0.1:{end.port}/pre", "api_key": "k9"})
        plan = await RemoteEngine().plan(remote, Place("i", "/s"))
        assert isinstance(plan, Attach)
        if ready:
            assert (await RemoteEngine().wait_ready(remote, plan.endpoint)).slots == 64
        else:
            with pytest.raises(StartFailed, match=says):
                await RemoteEngine().wait_ready(remote, plan.endpoint)
    assert {key for _, key in server.seen} == {"k9"}


# --- the binary and the wheel mean the same ------------------------------------------------------------------------

SAMPLING = {
    "temperature": 0, "top_k": 0, "top_p": 0.5, "min_p": 0.0, "repeat_penalty": 1.1, "presence_penalty": 0.5,
    "frequency_penalty": 0.25, "seed": 7, "n_predict": 33, "repeat_last_n": 0, "typical_p": 0.9,
    "xtc_probability": 0.1, "xtc_threshold": 0.2, "dry_multiplier": 0.8, "dry_base": 2.0, "dry_allowed_length": 3,
    "dry_penalty_last_n": 10, "dynatemp_range": 0.5, "dynatemp_exp": 1.5, "mirostat": 2, "mirostat_lr": 0.2,
    "mirostat_ent": 4.0, "ignore_eos": True, "keep": 5, "samplers": "top_k;temperature",
}  # fmt: skip
LOADING_OPTIONS = {
    "flash_attn": "off", "cache_type_k": "bf16", "cache_type_v": "f32", "threads": 1, "batch_size": 64,
    "ubatch_size": 32, "mlock": True, "mmap": False, "warmup": False, "repack": False, "n_gpu_layers": 0,
    "kv_unified": False, "cache_ram": 0, "ctx_checkpoints": 2, "swa_full": True, "check_tensors": True,
}  # fmt: skip
CHAT = {
    "chat_template": "chatml", "reasoning": "off", "reasoning_format": "none", "reasoning_budget": 0,
    "reasoning_effort": "low", "chat_template_kwargs": '{"a": 1}', "skip_chat_parsing": True,
    "prefill_assistant": False,
}  # fmt: skip
PLACEMENT = {
    "rope_scaling": "yarn", "rope_scale": 2.0, "yarn_orig_ctx": 256, "rope_freq_base": 20000.0, "fit": "off",
    "tensor_split": ("1", "2"), "split_mode": "layer", "override_tensor": ("nothing=CPU",), "op_offload": False,
    "kv_offload": False, "context_shift": True, "threads": 2, "threads_batch": 1, "load_mode": "mmap", "poll": 0,
}  # fmt: skip
SAME = {
    "defaults": {},
    "slots": {"ctx_size": 1024, "parallel": 2, "kv_unified": False},
    "model's own context": {"ctx_size": 0, "parallel": 1},
    "sampling": {"ctx_size": 512, **SAMPLING},
    "loading": {"ctx_size": 512, **LOADING_OPTIONS},
    "chat": {"ctx_size": 512, **CHAT},
    "placement": {"ctx_size": 512, **PLACEMENT},
    "speculation": {"ctx_size": 512, "spec_type": ("ngram-simple",), "draft_max": 5, "draft_min": 1},
}
_TELLING = re.compile(
    r"llama_context:|llama_kv_cache|load_mode =|n_threads = \d+ \(n_threads_batch = \d+\)|load_model: |prompt cache|"
    r"pooling|freq_|rope|thinking|spec "
)


@pytest.mark.llama_server
@pytest.mark.parametrize("options", SAME.values(), ids=SAME.keys())
async def test_the_same_options_mean_the_same(options: dict[str, Any], short_tmp: Path) -> None:
    file = model(ADA)
    binary = await _told(spec(file, BINARY, options=options, args=(("lv", 4),)), short_tmp)
    wheel = await _told(spec(file, EMBEDDED, options=options, args=(("lv", 4),)), short_tmp)
    assert wheel == binary


@pytest.mark.llama_server
async def test_embeddings_mean_the_same(short_tmp: Path) -> None:
    options = {"ctx_size": 512, "embeddings": True, "pooling": "cls", "embd_normalize": -1}
    told = []
    for program in (BINARY, EMBEDDED):
        async with started(spec(model(EMBED), program, options=options), short_tmp) as engine:
            await engine.ready()
            _, answer = await engine.post("/v1/embeddings", {"input": "hello", "model": "tiny"})
            told.append(answer["data"][0]["embedding"])
    assert told[0] == pytest.approx(told[1], rel=1e-3, abs=1e-4)
    assert abs(sum(value * value for value in told[0]) - 1) > 0.01  # -1 means: not normalised


async def _told(model: ModelSpec, folder: Path) -> tuple[dict[str, Any], list[str]]:
    """What an engine says of itself in /props and in its log, without what differs between any two starts."""
    async with started(model, folder) as engine:
        await engine.ready()
        props = await engine.get("/props")
        for name in ("media_marker", "build_info", "ui", "ui_settings"):
            props.pop(name, None)
        return props, sorted({_plain(line) for line in await engine.settled_log() if _TELLING.search(line)})


def _plain(line: str) -> str:
    line = re.sub(r"^[\d.]+ \w ", "", line)
    line = re.sub(r"\| CPU : .*", "", line)  # compiled for other processors
    return re.sub(r"0x[0-9a-f]+|[\d.]+ ms", "#", line)
