"""`server.root: engine`: an engine's own page at `/`, with its files as they are and everything else as ever."""

from __future__ import annotations

import asyncio
import gzip
import hashlib

import pytest

from corral.domain.fleet import ModelSpec
from corral.domain.requests import DefaultModels
from corral.domain.serving import KeySpec, Scope
from tests.paths.relay_kit import Heard, answer, stage

PAGE = gzip.compress(b"<html><script src=./bundle.js></script></html>")


async def page(request: Heard, writer: asyncio.StreamWriter) -> None:
    """As llama-server: files only for who takes gzip."""
    if "gzip" not in request.headers.get("accept-encoding", ""):
        writer.write(answer(b"{}", status="415 Unsupported Media Type"))
        return
    headers = "content-type: text/html\r\ncontent-encoding: gzip\r\naccess-control-allow-origin: https://evil\r\n"
    writer.write(answer(PAGE, headers=f"{headers}set-cookie: a=b\r\n"))


async def test_the_page_and_its_files() -> None:
    async with stage(page, engine_root=True) as scene:
        for path in ("/", "/index.html", "/?new_chat=true", "/bundle.js", "/_app/version.json", "/favicon.svg"):
            got = await scene.get(path, "Accept-Encoding: gzip, br", "Cookie: x=y")
            assert (got.status, got.body, got.headers["content-encoding"]) == (200, PAGE, "gzip")
            assert "set-cookie" not in got.headers and "access-control-allow-origin" not in got.headers
            heard = scene.upstream.heard[-1]
            assert heard.line == f"GET {path} HTTP/1.1" and "cookie" not in heard.headers
        assert (await scene.get("/")).status == 415
        assert (await scene.get("/", "Accept-Encoding: gzip", method="HEAD")).status == 200
        assert scene.at_rest()


async def test_everything_else_is_as_ever() -> None:
    async with stage(page, engine_root=True) as scene:
        for path in ("/health", "/v1/models", "/tools", "/cors-proxy", "/models/load", "/v1/x.js", "/api/x.js"):
            await scene.get(path, "Accept-Encoding: gzip")
        assert (await scene.get("/_app/%2e%2e/lora-adapters")).status == 400
        assert (await scene.post("/", {})).status == 404
        assert not scene.upstream.heard


async def test_not_at_the_root_unless_it_is_wanted() -> None:
    async with stage(page) as scene:
        await scene.get("/", "Accept-Encoding: gzip")
        assert not scene.upstream.heard


async def test_keys_and_scopes_hold() -> None:
    def spec(name: str, scope: Scope) -> KeySpec:
        return KeySpec(name, hashlib.sha256(name.encode() * 20).hexdigest(), frozenset({scope}))

    keys = (spec("a", Scope.INFERENCE),)
    async with stage(page, engine_root=True, keys=keys) as scene:
        got = await scene.get("/", "Accept-Encoding: gzip")
        assert got.status == 401 and got.headers["www-authenticate"].startswith('Basic realm="corral", Bearer')
        assert (await scene.post("/v1/chat/completions", {})).headers["www-authenticate"].startswith("Bearer")
        assert not scene.upstream.heard
        got = await scene.get("/", "Accept-Encoding: gzip", "Authorization: Basic eDphYWFhYWFhYWFhYWFhYWFhYWFhYQ==")
        assert got.status == 200


@pytest.mark.parametrize("default", ["", "b"])
async def test_whose_page_it_is(default: str) -> None:
    async with stage(page, engine_root=True, models=(ModelSpec("a"), ModelSpec("b"))) as scene:
        scene.directory.replace(
            scene.directory.models.values(), None, DefaultModels({"chat": default} if default else {})
        )
        got = await scene.get("/", "Accept-Encoding: gzip")
        assert got.status == (200 if default else 404)
        assert (await scene.record.one()).model == default
