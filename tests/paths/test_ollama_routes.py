"""Ollama's routes that ask no engine, over sockets: who may, what comes, and every way to ask wrongly."""

from __future__ import annotations

import asyncio
import json
import socket
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from corral.domain.errors import PlaceFailed
from corral.domain.facts import ModelFacts
from corral.domain.fleet import ModelSpec
from corral.domain.instance import InstanceState, InstanceView
from corral.domain.serving import KeySpec, Scope
from corral.fakes.leases import FakeLeases
from corral.kit.clock import SystemClock
from tests.paths.relay_kit import Got, Stage, stage
from tests.paths.test_relay_control import FakeControl
from tests.paths.test_relay_doors import KEYS

FACTS = ModelFacts(
    architecture="qwen3",
    capabilities=("chat", "completion", "tools"),
    parameters=7_615_616_512,
    size_bytes=4_700_000_000,
    context_tokens=4096,
    trained_context_tokens=32768,
    modified_at=1_700_000_000.0,
    file_digest="cd" * 32,
)
MODELS = (
    ModelSpec("Big", aliases=("coder", "hf.co/org/big:Q4"), listed_aliases=True),
    ModelSpec("m", aliases=("quiet",), capabilities=("chat", "vision")),
    ModelSpec("secret", unlisted=True),
)
READS: list[tuple[str, str, Any]] = [
    ("GET", "/api/tags", None),
    ("GET", "/api/ps", None),
    ("GET", "/api/version", None),
    ("GET", "/api/status", None),
    ("POST", "/api/show", {"model": "m"}),
    ("POST", "/api/pull", {"model": "m"}),
]
WRITES: list[tuple[str, str, Any]] = [
    ("POST", "/api/copy", {"source": "m", "destination": "n"}),
    ("DELETE", "/api/delete", {"model": "m"}),
]
REFUSED = [
    "/api/create", "/api/push", "/api/me", "/api/signout", "/api/web_search", "/api/web_fetch",
    "/api/experimental/web_search", "/api/experimental/web_fetch", f"/api/blobs/sha256:{'0' * 64}",
]  # fmt: skip


class Changing:
    """Notes what it is asked to change."""

    def __init__(self) -> None:
        self.made: list[tuple[str, ...]] = []

    async def add_alias(self, model: str, alias: str) -> None:
        self.made.append(("add", model, alias))

    async def remove_alias(self, model: str, alias: str) -> None:
        self.made.append(("remove", model, alias))

    async def remove_model(self, model: str) -> None:
        self.made.append(("remove", model))


async def ask(scene: Stage, method: str, path: str, body: Any = None, *headers: str) -> Got:
    """One request, with a body where there is one."""
    client = await scene.client()
    text = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = "".join(f"{line}\r\n" for line in (*headers, f"Content-Length: {len(text)}"))
    client.send(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode() + text)
    return await client.got(bodiless=method == "HEAD")


@pytest.mark.parametrize(("method", "path", "body"), READS + WRITES)
async def test_who_may(method: str, path: str, body: Any) -> None:
    async with stage(models=MODELS, keys=KEYS, control=FakeControl(), changes=Changing()) as scene:
        got = await ask(scene, method, path, body)
        assert got.status == 401 and got.json()["code"] == "invalid_api_key"
        got = await ask(scene, method, path, body, "Authorization: Bearer sk-user")
        assert got.status == (403 if (method, path, body) in WRITES else 200)
        assert (await ask(scene, method, path, body, "Authorization: Bearer sk-boss")).status == 200


async def test_a_page_of_another_site_may_not() -> None:
    async with stage(models=MODELS, control=FakeControl(), changes=Changing()) as scene:
        for method, path, body in READS + WRITES:
            assert (await ask(scene, method, path, body, "Origin: https://evil.example")).status == 403
            got = await ask(scene, method, path, body, "Host: evil.example")
            assert got.status in (400, 403), "the Host twice, or one that is not ours"


async def test_a_page_that_may_may_delete() -> None:
    page = "http://chat.example"
    async with stage(models=MODELS, control=FakeControl(), changes=Changing(), cors_origins=(page,)) as scene:
        wish = ("Access-Control-Request-Method: DELETE", f"Origin: {page}")
        got = await ask(scene, "OPTIONS", "/api/delete", None, *wish)
        assert got.status == 204 and "DELETE" in got.headers["access-control-allow-methods"]
        assert (await ask(scene, "DELETE", "/api/delete", {"model": "m"}, wish[1])).status == 200


async def test_tags() -> None:
    async with stage(models=MODELS, control=FakeControl()) as scene:
        scene.directory.learn({"Big": FACTS})
        got = await scene.get("/api/tags")
        found = got.json()["models"]
        assert [each["name"] for each in found] == ["Big", "coder", "hf.co/org/big:Q4", "m"]
        assert all(each["model"] == each["name"] for each in found)
        assert (found[0]["size"], found[0]["details"]["parameter_size"]) == (4_700_000_000, "7.6B")
        assert found[0]["digest"] == found[1]["digest"] != found[3]["digest"]
        assert found[3]["capabilities"] == ["completion", "vision"], "the operator's word goes before the file's"
        head = await scene.get("/api/tags", method="HEAD")
        assert (head.status, head.headers["content-length"]) == (200, str(len(got.body)))


@pytest.mark.parametrize("name", ["Big", "big", "BIG:latest", "coder", "registry.ollama.ai/library/big:latest"])
async def test_show_by_any_spelling(name: str) -> None:
    async with stage(models=MODELS, control=FakeControl()) as scene:
        scene.directory.learn({"Big": FACTS})
        for field in ("model", "name"):
            got = await scene.post(
                "/api/show", {field: name, "verbose": True, "system": "x", "options": {}, "template": None}
            )
            assert got.status == 200
            assert got.json()["model_info"]["qwen3.context_length"] == 32768
            assert got.json()["capabilities"] == ["completion", "tools"]
        assert (await scene.post("/api/show", {"model": "secret", "name": None, "verbose": None})).status == 200


async def test_ps(monkeypatch: pytest.MonkeyPatch) -> None:
    now = SystemClock().now()
    async with stage(models=MODELS, control=FakeControl()) as scene:
        scene.directory.learn({"Big": FACTS})
        views = [
            InstanceView(
                "Big", "i1", InstanceState.READY, ttl_s=99.0, expires_at=now + 60, devices={"ram": 1000, "CUDA0": 4000}
            ),
            InstanceView("m", "i2", InstanceState.READY, pinned=True, ram_bytes=7),
            InstanceView("secret", "i3", InstanceState.STARTING),
            InstanceView("gone", "i4", InstanceState.READY),
        ]
        monkeypatch.setattr(FakeLeases, "views", lambda self: views)
        found = (await scene.get("/api/ps")).json()["models"]
        assert [each["name"] for each in found] == ["m", "Big"], "what stays longest comes first"
        assert (found[1]["size"], found[1]["size_vram"], found[1]["context_length"]) == (5000, 4000, 4096)
        left = datetime.fromisoformat(found[1]["expires_at"]) - datetime.now(UTC)
        assert timedelta(seconds=50) < left <= timedelta(seconds=61)
        assert found[0]["size"] == 7 and datetime.fromisoformat(found[0]["expires_at"]).year > 2100
        views[:] = [InstanceView("Big", "i1", InstanceState.READY, ttl_s=600.0, leases=1)]  # it answers: no end yet
        found = (await scene.get("/api/ps")).json()["models"]
        left = datetime.fromisoformat(found[0]["expires_at"]) - datetime.now(UTC)
        assert timedelta(seconds=590) < left <= timedelta(seconds=601)


async def test_version_is_one_that_clients_accept() -> None:
    async with stage(control=FakeControl()) as scene:
        found = (await scene.get("/api/version")).json()
        assert tuple(map(int, found["version"].split("."))) >= (0, 6, 4) and found["corral"]
        assert (await scene.get("/api/version", method="HEAD")).status == 200


async def test_pull() -> None:
    async with stage(models=MODELS, control=FakeControl()) as scene:
        got = await scene.post("/api/pull", {"model": "m:latest"})
        assert got.headers["content-type"].startswith("application/x-ndjson")
        lines = [json.loads(line) for line in got.body.splitlines()]
        assert [line["status"] for line in lines] == ["pulling manifest", "success"]
        assert (await scene.post("/api/pull", {"name": "m", "stream": False})).json() == {"status": "success"}
        for stream in (True, False):
            got = await scene.post("/api/pull", {"model": "llama3", "stream": stream})
            assert (got.status, got.json()["code"]) == (501, "not_offered"), "this gateway has no store"


async def test_copy_and_delete_change_what_they_say() -> None:
    changing = Changing()
    async with stage(models=MODELS, control=FakeControl(), changes=changing) as scene:
        got = await scene.post("/api/copy", {"source": "CODER", "destination": "mine:latest"})
        assert (got.status, got.body) == (200, b"")
        assert (await scene.post("/api/copy", {"source": "big", "destination": "Coder"})).status == 200, "so it is"
        got = await scene.post("/api/copy", {"source": "big", "destination": "quiet"})
        assert got.status == 409 and "'m'" in got.json()["error"]
        got = await scene.post("/api/copy", {"source": "big", "destination": "M:latest"})
        assert got.status == 409 and "a Model" in got.json()["error"]
        assert (await scene.post("/api/copy", {"source": "nobody", "destination": "x"})).status == 404
        assert (await ask(scene, "DELETE", "/api/delete", {"name": "QUIET"})).status == 200
        assert (await ask(scene, "DELETE", "/api/delete", {"model": "m:latest"})).status == 200
        assert changing.made == [("add", "Big", "mine"), ("remove", "m", "quiet"), ("remove", "m")]
    async with stage(models=MODELS, control=FakeControl()) as scene:
        assert (await ask(scene, "DELETE", "/api/delete", {"name": "m"})).status == 409


BAD_BODIES: list[Any] = [
    b"", b"{", b"\xff\xfe", b"[]", b"null", b'"m"', b"7", b"[" * 100_000, {}, {"model": ""}, {"model": None},
    {"model": 7}, {"model": ["m"]}, {"model": {"name": "m"}},
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), [("POST", "/api/show"), ("POST", "/api/pull"), ("DELETE", "/api/delete")])
async def test_bodies_that_are_wrong(method: str, path: str) -> None:
    changing = Changing()
    async with stage(models=MODELS, control=FakeControl(), changes=changing) as scene:
        for body in BAD_BODIES:
            got = await ask(scene, method, path, body)
            assert (got.status, got.json()["code"]) == (400, "bad_request"), body
            assert isinstance(got.json()["error"], str)
        assert changing.made == []


@pytest.mark.parametrize(
    "name", ["nobody", "../../etc/passwd", "m/../m", "m\x00", "x\n", "a//b", "m" * 100_000, ":latest", "é", " m"]
)
async def test_names_that_nobody_has(name: str) -> None:
    changing = Changing()
    async with stage(models=MODELS, control=FakeControl(), changes=changing) as scene:
        for method, path in (("POST", "/api/show"), ("DELETE", "/api/delete")):
            got = await ask(scene, method, path, {"model": name})
            assert (got.status, got.json()["code"]) == (404, "model_not_found")
            assert got.json()["error"] == f"model '{name[:100]}' not found"
        got = await scene.post("/api/pull", {"model": name, "stream": False})
        assert got.status == (501 if name == "nobody" else 400) and len(got.body) < 1000
        got = await scene.post("/api/copy", {"source": name, "destination": "x"})
        assert got.status == 404
        if name != "nobody":
            got = await scene.post("/api/copy", {"source": "m", "destination": name})
            assert got.status == 400 and len(got.body) < 1000, "../x and the like are no names"
        assert changing.made == []


@pytest.mark.parametrize(
    "body", [{}, {"source": "m"}, {"destination": "x"}, {"source": "", "destination": "x"},
             {"source": "m", "destination": ""}, {"source": 1, "destination": "x"}, {"source": "m", "destination": []},
             b"nonsense"],
)  # fmt: skip
async def test_copies_that_are_wrong(body: Any) -> None:
    changing = Changing()
    async with stage(models=MODELS, control=FakeControl(), changes=changing) as scene:
        got = await scene.post("/api/copy", body)
        assert (got.status, got.json()["code"]) == (400, "bad_request") and changing.made == []


@pytest.mark.parametrize("path", REFUSED)
async def test_what_means_nothing_here_says_so(path: str) -> None:
    async with stage(keys=KEYS, control=FakeControl()) as scene:
        assert (await ask(scene, "POST", path, {"model": "m"})).status == 401
        got = await ask(scene, "POST", path, {"model": "m"}, "Authorization: Bearer sk-user")
        assert (got.status, got.json()["code"]) == (501, "not_offered") and "Corral" in got.json()["error"]


async def test_a_blob_is_refused_before_it_is_sent() -> None:
    async with stage(control=FakeControl()) as scene:
        client = await scene.client()
        digest = f"/api/blobs/sha256:{'0' * 64}"
        client.send(f"POST {digest} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40000000000\r\n\r\n".encode())
        assert (await client.got()).status == 501
        assert (await scene.get(digest, method="HEAD")).status == 404
        assert (await scene.get("/api/blobs/sha256:../../x", method="HEAD")).status == 400


async def test_routes_and_methods_that_are_not_there() -> None:
    async with stage(control=FakeControl()) as scene:
        for path in ("/api/nope", "/api/", "/api/tags/x", "/api/generate/../tags"):
            got = await scene.get(path)
            assert got.status == 404 and set(got.json()) == {"error", "code", "source"}, path
        got = await scene.post("/api/tags", {})
        assert got.status == 405 and "GET" in got.headers["allow"]
        got = await scene.get("/api/delete")
        assert (got.status, got.headers["allow"]) == (405, "DELETE")


async def test_the_second_port_is_the_same_gateway() -> None:
    key = KeySpec("k", KEYS[0].sha256, frozenset({Scope.INFERENCE}))
    async with stage(models=MODELS, control=FakeControl(), ollama_port=0, keys=(key,)) as scene:
        main, second = scene.gateway.port, scene.gateway.ollama_port
        assert second and second != main
        scene.gateway.listeners.port = second  # the kit's clients go there
        for method in ("GET", "HEAD"):
            got = await scene.get("/", method=method)
            assert (got.status, got.headers["content-length"]) == (200, str(len("Ollama is running")))
        assert (await scene.get("/")).body == b"Ollama is running"
        assert (await scene.get("/api/tags")).status == 401
        assert (await scene.get("/health", "Origin: https://evil.example")).status == 403
        scene.gateway.listeners.port = main
        assert b"Ollama is running" in (await scene.get("/")).body
        browser = await scene.get("/", "Accept: text/html,application/xhtml+xml")
        assert b"Ollama" not in browser.body and b"Corral is running" in browser.body


async def test_a_second_port_that_is_taken_names_ollama() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PlaceFailed, match=f"{port} for Ollama's clients") as caught:
            async with stage(control=FakeControl(), ollama_port=port):
                pass
        assert "server.ollama_port" in caught.value.hint
    await asyncio.sleep(0)
