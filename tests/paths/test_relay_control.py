"""The routes that are not hot: health, listings, metrics, the operator's verbs, and how the gateway ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping

import pytest

from corral.contracts.control import Unloading
from corral.domain.errors import Conflict, StartFailed
from corral.domain.events import Evicted, Notice
from corral.domain.fleet import ModelSpec
from corral.domain.instance import InstanceState, InstanceView
from tests.paths.relay_kit import CHAT, SSE_HEAD, Heard, answer, chunk, delta, stage, until


class FakeControl:
    """Does as it is told and remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.load_takes_s = 0.0
        self.load_fails: StartFailed | None = None
        self.cancelled = 0
        self.lines = ["one", "two", "drei ü"]
        self.notices: asyncio.Queue[Notice] = asyncio.Queue()
        self.readers = 0

    async def load(self, model: str, *, timeout_s: float) -> InstanceView:
        """Wait, then succeed or fail."""
        self.calls.append(("load", model, timeout_s))
        try:
            await asyncio.sleep(self.load_takes_s)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.load_fails is not None:
            raise self.load_fails
        return InstanceView(model=model, instance="i", state=InstanceState.READY)

    async def unload(self, model: str, *, force: bool, timeout_s: float) -> Unloading:
        """Say what was there."""
        self.calls.append(("unload", model, force))
        return Unloading((model or "everything",), ("small",) if not model else ())

    async def logs(self, model: str, *, tail: int | None, follow: bool) -> AsyncIterator[str]:
        """The lines, then with `follow` for ever."""
        self.calls.append(("logs", model, tail, follow))
        if not self.lines:
            raise Conflict("It has not been started.")
        self.readers += 1
        try:
            for line in self.lines[-tail:] if tail else self.lines:
                yield line
            while follow:
                await asyncio.sleep(10)
        finally:
            self.readers -= 1

    async def events(self) -> AsyncIterator[Notice]:
        """What the test puts in."""
        self.readers += 1
        try:
            while True:
                yield await self.notices.get()
        finally:
            self.readers -= 1

    async def status(self) -> Mapping[str, object]:
        """Something."""
        return {"version": "1", "models": []}


MODELS = (
    ModelSpec("org/big:Q4", aliases=("big",), title="Big", description="A big one.", metadata={"context_length": 4096}),
    ModelSpec("small"),
    ModelSpec("hidden", unlisted=True),
)


async def test_listings() -> None:
    async with stage(models=MODELS, control=FakeControl()) as scene:
        del scene.leases.endpoints["small"]
        listed = (await scene.get("/v1/models")).json()
        assert listed["object"] == "list"
        assert [card["id"] for card in listed["data"]] == ["org/big:Q4", "small"]
        big, small = listed["data"]
        assert (big["object"], big["owned_by"], big["state"], small["state"]) == ("model", "corral", "ready", "stopped")
        assert isinstance(big["created"], int)
        assert (big["name"], big["description"], big["context_length"]) == ("Big", "A big one.", 4096)
        assert big["aliases"] == ["big"]
        assert (await scene.get("/models")).json() == listed
        for path in ("/v1/models/org/big:Q4", "/v1/models/org%2Fbig%3AQ4"):
            assert (await scene.get(path)).json()["id"] == "org/big:Q4"
        assert (await scene.get("/v1/models/big")).json()["id"] == "big"
        got = await scene.get("/v1/models/bigg")
        assert (got.status, got.code) == (404, "model_not_found")
        assert [row["model"] for row in (await scene.get("/running")).json()["running"]] == ["org/big:Q4", "hidden"]


async def test_health_ready_metrics_and_the_root() -> None:
    models = (ModelSpec("a", pin=True), ModelSpec("b", preload=True), ModelSpec("c"))
    async with stage(models=models, control=FakeControl()) as scene:
        health = await scene.get("/health")
        assert (health.json(), health.headers["x-corral-source"]) == ({"status": "ok"}, "corral")
        assert (await scene.get("/ready")).status == 200
        scene.leases.endpoints.clear()
        got = await scene.get("/ready")
        assert (got.status, got.json()["missing"]) == (503, {"a": "stopped", "b": "stopped"})
        got = await scene.get("/metrics")
        assert (got.body, got.headers["content-type"]) == (
            b"corral_up 1\n",
            "text/plain; version=0.0.4; charset=utf-8",
        )
        got = await scene.get("/")
        assert got.status == 200 and b"Corral is running" in got.body
        head = await scene.get("/health", method="HEAD")
        assert (head.status, head.headers["content-length"]) == (200, str(len(b'{"status":"ok"}')))


async def test_routes_that_are_not_there() -> None:
    async with stage(control=FakeControl()) as scene:
        for path in ("/tools", "/cors-proxy", "/models/load", "/lora-adapters", "/nope", "/v1/chat%2Fcompletions"):
            got = await scene.post(path, {"model": "m"})
            assert (got.status, got.code) == (404, "not_found"), path
        got = await scene.get(CHAT)
        assert (got.status, got.code, got.headers["allow"]) == (405, "method_not_allowed", "POST")
        got = await scene.post("/health", {})
        assert (got.status, got.code) == (405, "method_not_allowed") and "GET" in got.headers["allow"]
        assert scene.upstream.heard == []
        assert got.headers["x-request-id"]


async def test_load_and_unload() -> None:
    control = FakeControl()
    async with stage(models=MODELS, control=control) as scene:
        got = await scene.post("/api/corral/load", {"model": "big"})
        assert (got.status, got.json()["model"], got.json()["state"]) == (200, "org/big:Q4", "ready")
        control.load_takes_s = 0.2
        began = time.monotonic()
        got = await scene.post("/api/corral/load", {"model": "small", "wait": False})
        assert got.status == 202 and time.monotonic() - began < 0.15
        control.load_takes_s, control.load_fails = 0, StartFailed("It crashed.", log_tail=("last words",))
        got = await scene.post("/api/corral/load", {"model": "small"})
        assert (got.status, got.json()["error"]["log_tail"]) == (503, ["last words"])
        got = await scene.post("/api/corral/unload", {"model": "big", "force": True})
        assert got.json() == {"unloaded": ["org/big:Q4"], "fetches_ended": []}
        got = await scene.post("/api/corral/unload", {"all": True})
        assert got.json() == {"unloaded": ["everything"], "fetches_ended": ["small"]}
        assert (await scene.post("/api/corral/unload", {"model": ""})).status == 200
        assert [call for call in control.calls if call[0] == "unload"] == [
            ("unload", "org/big:Q4", True),
            ("unload", "", False),
            ("unload", "", False),
        ]
        for verb, body in (("load", {"model": "nope"}), ("unload", {"model": "nope"})):
            assert (await scene.post(f"/api/corral/{verb}", body)).status == 404
        small = {"model": "small"}
        wrong: list[object] = [{}, [], {"model": 1}, {**small, "timeout_s": -1}, {**small, "timeout_s": "x"}]
        for each in wrong:
            assert (await scene.post("/api/corral/load", each)).status == 400
        assert (await scene.post("/api/corral/unload", {})).status == 400


async def test_a_client_that_leaves_ends_its_load_request() -> None:
    control = FakeControl()
    control.load_takes_s = 30
    async with stage(control=control) as scene:
        client = await scene.client()
        client.post("/api/corral/load", {"model": "m"})
        await until(lambda: bool(control.calls))
        client.writer.close()
        assert await until(lambda: control.cancelled == 1) < 0.2


async def test_logs() -> None:
    control = FakeControl()
    async with stage(control=control) as scene:
        got = await scene.get("/api/corral/logs?model=m")
        assert (got.body.decode(), got.headers["content-type"]) == ("one\ntwo\ndrei ü\n", "text/plain; charset=utf-8")
        assert (await scene.get("/api/corral/logs?model=m&tail=1")).body.decode() == "drei ü\n"
        client = await scene.client()
        client.get("/api/corral/logs?model=m&follow=1&tail=1")
        await client.head()
        assert (await client.chunk()).decode() == "drei ü\n"
        assert control.readers == 1
        client.writer.close()
        await until(lambda: control.readers == 0)
        control.lines.clear()
        assert (await scene.get("/api/corral/logs?model=m")).status == 409
        assert (await scene.get("/api/corral/logs?model=m&tail=x")).status == 400
        assert (await scene.get("/api/corral/logs")).status == 404


async def test_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corral.gateway.app.HEARTBEAT_S", 0.05)
    control = FakeControl()
    async with stage(control=control) as scene:
        client = await scene.client()
        client.get("/api/corral/events")
        assert (await client.head())[1]["content-type"].startswith("text/event-stream")
        await client.chunk()
        assert await client.chunk() == b":\n\n"
        control.notices.put_nowait(Evicted("m", "ttl"))
        while (event := await client.chunk()) == b":\n\n":
            pass
        assert event == b'data: {"type":"Evicted","model":"m","why":"ttl","for_model":""}\n\n'
        client.writer.close()
        await until(lambda: control.readers == 0)


async def test_a_handler_that_breaks_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    control = FakeControl()
    control.status = None  # type: ignore[method-assign, assignment]
    async with stage(control=control) as scene:
        got = await scene.get("/api/corral/status")
        assert (got.status, got.json()["error"]["code"]) == (500, "error")
        assert "NoneType" not in got.body.decode() and "TypeError" in caplog.text
        assert (await scene.get("/health")).status == 200


async def test_bodies_of_control_routes_have_a_small_cap() -> None:
    async with stage(control=FakeControl()) as scene:
        assert (await scene.post("/api/corral/load", b"x" * 1_100_000)).status == 413


async def test_drain_lets_answers_end_and_refuses_the_rest() -> None:
    go = asyncio.Event()

    async def script(request: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD + chunk(delta("a")))
        await go.wait()
        writer.write(chunk(delta("b")) + b"0\r\n\r\n")

    async with stage(script, control=FakeControl()) as scene:
        busy, idle, later = [await scene.client() for _ in range(3)]
        busy.post(CHAT, {"model": "m", "stream": True})
        later.send(b"POST ")
        await busy.head()
        scene.gateway.drain()
        assert await idle.closed(1) == b""
        later.send(f"{CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode())
        got = await later.got()
        assert (got.status, got.code) == (503, "shutting_down")
        asking = await scene.client()
        asking.send(b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await asking.got()).status == 503
        ending = asyncio.get_running_loop().create_task(scene.gateway.close(5))
        await asyncio.sleep(0.05)
        assert not ending.done()
        go.set()
        assert [await busy.chunk() for _ in range(3)] == [delta("a"), delta("b"), b""]
        assert await busy.closed(1) == b""
        await asyncio.wait_for(ending, 1)


async def test_close_cuts_what_does_not_end() -> None:
    async def script(request: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD + chunk(delta("a")))
        await request.until_closed()

    async with stage(script) as scene:
        client = await scene.client()
        client.post(CHAT, {"model": "m", "stream": True})
        await client.head()
        began = time.monotonic()
        await scene.gateway.close(0.2)
        assert 0.15 < time.monotonic() - began < 1
        assert scene.at_rest() and scene.gateway.connections == 0
        await scene.gateway.close()  # harmless


async def test_answers_while_draining_say_that_the_connection_ends() -> None:
    async def script(request: Heard, writer: asyncio.StreamWriter) -> None:
        scene.gateway.drain()
        writer.write(answer(b"{}"))

    async with stage(script) as scene:
        got = await scene.post(CHAT, {"model": "m"})
        assert (got.status, got.headers["connection"]) == (200, "close")


class TestRaw:
    """`/upstream/{model}/{path}`."""

    async def test_path_and_query_pass_as_they_came(self) -> None:
        async with stage(models=MODELS) as scene:
            for sent, heard in {
                "/upstream/small/v1/x%2Fy?a=%20b&c": "/v1/x%2Fy?a=%20b&c",
                "/upstream/org/big:Q4/props": "/props",
                "/upstream/org%2Fbig%3AQ4/props": "/props",
                "/upstream/big/": "/",
            }.items():
                assert (await scene.get(sent)).status == 200
                assert scene.upstream.heard[-1].line == f"GET {heard} HTTP/1.1"

    async def test_the_longest_name_wins(self) -> None:
        async with stage(models=(ModelSpec("a"), ModelSpec("a/b"), ModelSpec("a/b/c"))) as scene:
            await scene.get("/upstream/a/b/x")
            assert scene.upstream.heard[-1].line == "GET /x HTTP/1.1"
            await scene.get("/upstream/a/x/b/c")
            assert scene.upstream.heard[-1].line == "GET /x/b/c HTTP/1.1"
            assert [done.model for done in scene.record.finished] == ["a/b", "a"]

    async def test_all_methods_and_weights(self) -> None:
        async with stage() as scene:
            client = await scene.client()
            for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"):
                client.get("/upstream/m/x", method=method)
                assert (await client.got(bodiless=method == "HEAD")).status == 200
            client.post("/upstream/m/tokenize", b"{}")
            assert (await client.got()).status == 200
            assert scene.leases.weights == [0, 1, 1, 1, 1, 0, 0]
            assert [heard.line.split()[0] for heard in scene.upstream.heard] == [
                "GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "POST",
            ]  # fmt: skip

    async def test_assets_never_load(self) -> None:
        async with stage() as scene:
            assert (await scene.get("/upstream/m/a.js?v=1")).status == 200
            scene.leases.endpoints.clear()
            for path in ("/upstream/m/a.js", "/upstream/m/favicon.ICO", "/upstream/m/x/y.woff2?q=1"):
                assert (await scene.get(path)).status == 409
            assert scene.leases.asked == 1
            await scene.get("/upstream/m/index.html")
            assert scene.leases.asked == 2

    async def test_a_name_without_a_path_is_sent_on(self) -> None:
        async with stage() as scene:
            got = await scene.get("/upstream/m?x=1")
            assert (got.status, got.headers["location"]) == (308, "/upstream/m/?x=1")

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("POST", "/tools", 404),
            ("GET", "/tools", 404),
            ("GET", "/tools/", 404),
            ("GET", "//tools", 404),
            ("GET", "/%74ools", 404),
            ("GET", "/x%2F..%2Ftools", 400),
            ("GET", "/x/../tools", 400),
            ("GET", "/./tools", 400),
            ("GET", "/..%5ctools", 400),
            ("POST", "/cors-proxy", 404),
            ("GET", "/cors-proxy?url=http://169.254.169.254/", 404),
            ("POST", "/models/load", 404),
            ("POST", "/lora-adapters", 404),
            ("GET", "/lora-adapters", 200),
            ("POST", "/props", 404),
            ("POST", "/slots/0?action=save", 404),
            ("GET", "/props", 200),
        ],
    )
    async def test_what_would_change_the_engine_is_refused(self, method: str, path: str, status: int) -> None:
        async with stage() as scene:
            assert (await scene.get(f"/upstream/m{path}", method=method)).status == status
            assert len(scene.upstream.heard) == (status == 200)

    async def test_an_unknown_name(self) -> None:
        async with stage(models=MODELS) as scene:
            got = await scene.get("/upstream/smal/x")
            assert (got.status, got.code) == (404, "model_not_found")
            assert "'small'" in got.json()["error"]["message"]

    async def test_files_pass_with_their_encoding(self) -> None:
        async def script(request: Heard, writer: asyncio.StreamWriter) -> None:
            assert request.headers["accept-encoding"] == "gzip"
            writer.write(answer(b"\x1f\x8b", headers="content-type: text/css\r\ncontent-encoding: gzip\r\netag: x\r\n"))

        async with stage(script) as scene:
            got = await scene.get("/upstream/m/a.css", "Accept-Encoding: gzip")
            assert (got.body, got.headers["content-encoding"], got.headers["etag"]) == (b"\x1f\x8b", "gzip", "x")
