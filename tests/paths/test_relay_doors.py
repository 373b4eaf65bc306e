"""Who may come in, over real sockets: every form of a credential, every route, Host and Origin."""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from pathlib import Path

import pytest

from corral.domain.errors import PlaceFailed
from corral.domain.serving import Caller, KeySpec, Scope, ServerSpec
from corral.gateway.auth import KeyRing
from tests.paths.relay_kit import CHAT, Got, Raw, Stage, stage
from tests.paths.test_relay_control import FakeControl


def key(name: str, *scopes: Scope) -> KeySpec:
    """A key whose text is `sk-NAME`."""
    return KeySpec(name, hashlib.sha256(f"sk-{name}".encode()).hexdigest(), frozenset(scopes or {Scope.INFERENCE}))


KEYS = (key("user"), key("boss", Scope.ADMIN), key("nobody", Scope.ADMIN))
HOT = [("POST", CHAT), ("POST", "/tokenize"), ("GET", "/props?model=m"), ("GET", "/upstream/m/x")]
LISTINGS = [
    ("GET", "/v1/models"),
    ("GET", "/models"),
    ("GET", "/v1/models/m"),
    ("GET", "/running"),
    ("GET", "/metrics"),
]
VERBS = [
    ("POST", "/api/corral/load"),
    ("POST", "/api/corral/unload"),
    ("GET", "/api/corral/status"),
    ("GET", "/api/corral/queue"),
    ("GET", "/api/corral/logs?model=m"),
]
OPEN = [("GET", "/"), ("GET", "/health"), ("GET", "/ready"), ("GET", "/v1/health")]

FORMS = {
    "bearer": "Authorization: Bearer {}",
    "bearer in capitals": "authorization: BEARER {}",
    "x-api-key": "X-Api-Key: {}",
    "basic": "Authorization: Basic {basic}",
    "bare": "Authorization: {}",
}


def credential(form: str, token: str) -> str:
    """The header line."""
    return FORMS[form].format(token, basic=base64.b64encode(f"any:{token}".encode()).decode())


async def ask(scene: Stage, method: str, path: str, *headers: str) -> Got:
    """One request with a body that all POST routes accept."""
    client = await scene.client()
    if method == "POST":
        client.post(path, {"model": "m"}, *headers)
    else:
        client.get(path, *headers)
    return await client.got()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("method", "path"), HOT + LISTINGS + VERBS + OPEN)
async def test_every_route_with_every_form_of_a_credential(method: str, path: str, form: str) -> None:
    async with stage(keys=KEYS, control=FakeControl()) as scene:
        is_open, is_verb = (method, path) in OPEN, (method, path) in VERBS
        assert (await ask(scene, method, path)).status == (200 if is_open else 401)
        wrong = await ask(scene, method, path, credential(form, "sk-wrong"))
        assert (wrong.status, wrong.code) == (401, "invalid_api_key")
        assert wrong.headers["www-authenticate"].startswith("Bearer")
        user = await ask(scene, method, path, credential(form, "sk-user"))
        assert user.status == (403 if is_verb else 200)
        assert (await ask(scene, method, path, credential(form, "sk-boss"))).status == 200


async def test_keys_do_not_reach_the_engine_and_name_the_caller() -> None:
    async with stage(keys=KEYS) as scene:
        got = await ask(scene, "POST", CHAT, "Authorization: Bearer sk-user")
        assert got.status == 200
        heard = scene.upstream.heard[0]
        assert "sk-user" not in str(heard.headers) and heard.headers["authorization"] == "Bearer engine-key"
        assert scene.leases.callers == ["user"]
        assert (await scene.record.one()).caller == "user"


@pytest.mark.parametrize(
    "token", ["", " ", "' OR 1=1 --", "sk-user\x00", "sk-üser", "x" * 20_000, "sk-user,sk-boss", "*"]
)
async def test_strange_keys(token: str) -> None:
    async with stage(keys=KEYS) as scene:
        client = await scene.client()
        client.send(
            f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: {token}\r\nContent-Length: 0\r\n\r\n".encode()
        )
        assert (await client.got()).status in (400, 401)
        assert scene.leases.asked == 0


async def test_two_different_credentials_are_refused() -> None:
    async with stage(keys=KEYS) as scene:
        got = await ask(scene, "POST", CHAT, "Authorization: Bearer sk-user", "X-Api-Key: sk-boss")
        assert got.status == 400
        got = await ask(scene, "POST", CHAT, "Authorization: Bearer sk-user", "X-Api-Key: sk-user")
        assert got.status == 200


async def test_who_asks_is_judged_for_each_request_of_a_connection() -> None:
    async with stage(keys=KEYS) as scene:
        client = await scene.client()
        for token, status, caller in [
            ("sk-user", 200, "user"), ("sk-user", 200, "user"), ("sk-boss", 200, "boss"), ("sk-bosx", 401, ""),
            ("sk-boss", 200, "boss"), ("sk-boss", 200, "boss"),
        ]:  # fmt: skip
            before = scene.leases.asked
            client.post(CHAT, {"model": "m"}, f"Authorization: Bearer {token}")
            assert (await client.got()).status == status
            assert scene.leases.callers[before:] == ([caller] if caller else [])
        client.post(CHAT, {"model": "m"})
        assert (await client.got()).status == 401


class Revocable(KeyRing):
    """Keys that can be taken away, or become somebody else's."""

    taken = False
    other: Caller | None = None

    def caller(self, fingerprint: bytes) -> Caller | None:
        """Nobody, once taken."""
        return None if self.taken else self.other or super().caller(fingerprint)


class Counting(KeyRing):
    """Counts what is hashed and what is asked."""

    hashed = asked = 0

    def fingerprint(self, token: str) -> bytes:
        """Count it."""
        self.hashed += 1
        return super().fingerprint(token)

    def caller(self, fingerprint: bytes) -> Caller | None:
        """Count it."""
        self.asked += 1
        return super().caller(fingerprint)


async def test_the_key_of_a_head_that_repeats_is_hashed_once_and_asked_about_each_time() -> None:
    keys = Counting(ServerSpec(keys=KEYS))
    async with stage(key_ring=keys) as scene:
        client = await scene.client()
        for number in range(5):
            client.post(CHAT, {"model": "m", "text": "x" * 30 * number}, "Authorization: Bearer sk-user")
            assert (await client.got()).status == 200
        assert (keys.hashed, keys.asked) == (1, 5)


async def test_a_key_that_is_taken_away_opens_nothing_on_a_connection_that_it_opened() -> None:
    keys = Revocable(ServerSpec(keys=KEYS))
    async with stage(key_ring=keys) as scene:
        client = await scene.client()
        for taken, status in ((False, 200), (False, 200), (True, 401), (True, 401), (False, 200)):
            keys.taken = taken
            client.post(CHAT, {"model": "m"}, "Authorization: Bearer sk-user")
            assert (await client.got()).status == status


async def test_what_a_key_may_do_is_asked_again_on_a_connection_that_it_opened() -> None:
    keys = Revocable(ServerSpec(keys=KEYS))
    async with stage(key_ring=keys) as scene:
        client = await scene.client()
        new, watcher = Caller("new", frozenset({Scope.INFERENCE})), Caller("watcher", frozenset())
        # The last of them comes twice: a refusal must not be forgotten by the next request with the same head.
        for other, status in ((None, 200), (new, 200), (watcher, 403), (watcher, 403), (new, 200)):
            keys.other, before = other, scene.leases.asked
            client.post(CHAT, {"model": "m"}, "Authorization: Bearer sk-user")
            assert (await client.got()).status == status
            allowed = [other.name if other is not None else "user"] if status == 200 else []
            assert scene.leases.callers[before:] == allowed


async def test_without_a_key_the_body_is_not_even_read() -> None:
    async with stage(keys=KEYS) as scene:
        client = await scene.client()
        client.send(f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000000\r\n\r\n".encode())
        assert (await client.got()).status == 401
        assert scene.gateway.bodies.held == 0


HOSTS = {
    "localhost": 200,
    "localhost:11435": 200,
    "LOCALHOST": 200,
    "corral.localhost": 200,
    "127.0.0.1": 200,
    "127.9.9.9:1": 200,
    "[::1]:11435": 200,
    "box.lan": 200,
    "box.lan:80": 200,
    "evil.example": 403,
    "localhost.evil.example": 403,
    "127.0.0.1.evil.example": 403,
    "192.168.1.9": 403,
    "0x7f000001": 403,
    "2130706433": 403,
    "xlocalhost": 403,
}


@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/health", "/"])
@pytest.mark.parametrize("host", HOSTS)
async def test_names_that_are_not_ours_are_refused(host: str, path: str) -> None:
    """DNS rebinding: a page makes its own name point to 127.0.0.1."""
    async with stage(allowed_hosts=("box.lan",), control=FakeControl()) as scene:
        client = await scene.client()
        if path == CHAT:
            body = b'{"model":"m"}'
            client.send(f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 13\r\n\r\n".encode() + body)
        else:
            client.get(path, host=host)
        assert (await client.got()).status == HOSTS[host]


ORIGINS = {
    "Origin: http://localhost": 200,  # the same origin: Host is localhost
    "Origin: https://good.example": 200,
    "Origin: https://good.example:444": 403,
    "Origin: http://good.example": 403,
    "Origin: http://evil.example": 403,
    "Origin: http://localhost:3000": 403,
    "Origin: null": 403,
    "Origin: ": 403,
    "Sec-Fetch-Site: cross-site": 403,
    "Sec-Fetch-Site: same-site": 403,
    "Sec-Fetch-Site: same-origin": 200,
    "Sec-Fetch-Site: none": 200,
}


@pytest.mark.parametrize("keys", [(), KEYS])
@pytest.mark.parametrize("header", ORIGINS)
async def test_pages_of_other_sites_are_refused(header: str, keys: tuple[KeySpec, ...]) -> None:
    async with stage(cors_origins=("https://good.example",), keys=keys, control=FakeControl()) as scene:
        for method, path in (("POST", CHAT), ("GET", "/v1/models"), ("GET", "/upstream/m/x"), ("GET", "/health")):
            got = await ask(scene, method, path, header, "X-Api-Key: sk-user")
            assert got.status == ORIGINS[header], path
            named = got.headers.get("access-control-allow-origin")
            assert named == ("https://good.example" if header[8:] == "https://good.example" else None)


@pytest.mark.parametrize("path", [CHAT, "/v1/responses", "/v1/messages", "/api/chat", "/upstream/m/x"])
async def test_a_body_that_is_compressed_is_refused_with_words(path: str) -> None:
    async with stage() as scene:
        for encoding in ("zstd", "GZIP"):
            got = await scene.post(path, b"(\xb5/\xfd", f"Content-Encoding: {encoding}")
            assert got.status == 400 and b"compressed (%b)" % encoding.encode() in got.body
        assert (await scene.post(path, b"{", "Content-Encoding: identity")).body.find(b"compressed") < 0


async def test_preflights() -> None:
    ask_for = ("Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization")
    async with stage(cors_origins=("https://good.example",), keys=KEYS, control=FakeControl()) as scene:
        for path in (CHAT, "/v1/models", "/upstream/m/x"):
            got = await scene.get(path, "Origin: https://good.example", *ask_for, method="OPTIONS")
            assert got.status == 204
            assert got.headers["access-control-allow-origin"] == "https://good.example"
            assert "authorization" in got.headers["access-control-allow-headers"]
            assert "access-control-allow-credentials" not in got.headers
            got = await scene.get(path, "Origin: https://evil.example", *ask_for, method="OPTIONS")
            assert got.status == 403 and "access-control-allow-origin" not in got.headers
    async with stage(control=FakeControl()) as scene:
        got = await scene.get(CHAT, "Origin: https://good.example", *ask_for, method="OPTIONS")
        assert got.status == 403


BROWSER_SDKS = {
    "/v1/messages": "anthropic-beta,anthropic-dangerous-direct-browser-access,anthropic-version,authorization,"
    "content-type,x-api-key,x-stainless-arch,x-stainless-helper-method,x-stainless-lang,x-stainless-os,"
    "x-stainless-package-version,x-stainless-retry-count,x-stainless-runtime,x-stainless-runtime-version,"
    "x-stainless-timeout",
    CHAT: "authorization,content-type,openai-beta,openai-organization,openai-project,x-stainless-arch,"
    "x-stainless-lang,x-stainless-poll-helper",
    "/api/chat": "content-type, accept , x-title",
    "/v1/models": "anthropic-version,x-app",
}
"""What pages ask for before they call, as the official clients' requests make browsers ask."""


@pytest.mark.parametrize("path", BROWSER_SDKS)
async def test_pages_may_send_what_official_clients_send(path: str) -> None:
    asked = BROWSER_SDKS[path]
    ask_for = ("Access-Control-Request-Method: POST", f"Access-Control-Request-Headers: {asked}")
    async with stage(cors_origins=("https://good.example",), keys=KEYS, control=FakeControl()) as scene:
        got = await scene.get(path, "Origin: https://good.example", *ask_for, method="OPTIONS")
        allowed = {each.strip() for each in got.headers["access-control-allow-headers"].split(",")}
        assert got.status == 204 and allowed == {each.strip() for each in asked.split(",")}


@pytest.mark.parametrize("asked", ["", ",", "a b", "x:y", "x" * 5000, "a,,b", '"a"', "(x)"])
async def test_a_preflight_that_makes_no_sense_is_told_the_usual(asked: str) -> None:
    ask_for = ("Access-Control-Request-Method: POST", f"Access-Control-Request-Headers: {asked}")
    async with stage(cors_origins=("*",), keys=KEYS) as scene:
        got = await scene.get(CHAT, "Origin: https://good.example", *ask_for, method="OPTIONS")
        allowed = got.headers["access-control-allow-headers"]
        assert got.status == 204 and "x-api-key" in allowed and (not asked or asked not in allowed.split(", "))


async def test_errors_can_be_read_by_allowed_pages() -> None:
    async with stage(cors_origins=("*",)) as scene:
        got = await scene.post(CHAT, {"model": 1}, "Origin: https://any.example")
        assert (got.status, got.headers["access-control-allow-origin"]) == (400, "https://any.example")


async def test_behind_a_proxy_nobody_is_an_administrator_without_a_key() -> None:
    async with stage(control=FakeControl(), trusted_proxies=("127.0.0.1",)) as scene:
        assert (await ask(scene, "GET", "/api/corral/status")).status == 200
        for line in ("X-Forwarded-For: 127.0.0.1", "Forwarded: for=1.2.3.4", "Via: 1.1 proxy", "X-Real-IP: 127.0.0.1"):
            assert (await ask(scene, "GET", "/api/corral/status", line)).status == 403
        await ask(scene, "POST", CHAT, "X-Forwarded-For: 6.6.6.6, 9.9.9.9, 127.0.0.1")
        assert scene.leases.callers == ["9.9.9.9"]
    async with stage() as scene:
        await ask(scene, "POST", CHAT, "X-Forwarded-For: 9.9.9.9")
        assert scene.leases.callers == ["127.0.0.1"]


async def test_the_control_socket_needs_no_key(short_tmp: Path) -> None:
    path = str(short_tmp / "s.sock")
    async with stage(keys=KEYS, control=FakeControl()) as scene:
        await scene.gateway.serve_unix(path)
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        import asyncio

        client = Raw(*await asyncio.open_unix_connection(path))
        client.get("/api/corral/status", host="anything")
        assert (await client.got()).status == 200
        client.post(CHAT, {"model": "m"})
        assert (await client.got()).status == 200
        assert scene.leases.callers == ["owner"]
        with pytest.raises(PlaceFailed, match="Another Corral"):
            await scene.gateway.serve_unix(path)
        client.writer.close()
    assert not os.path.exists(path)


async def test_a_dead_control_socket_is_replaced_and_a_file_is_not(short_tmp: Path) -> None:
    import socket

    path = short_tmp / "s.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with stage() as scene:
        await scene.gateway.serve_unix(str(path))
    path.write_text("precious")
    async with stage() as scene:
        with pytest.raises(PlaceFailed, match="not a socket"):
            await scene.gateway.serve_unix(str(path))
    assert path.read_text() == "precious"


async def test_an_occupied_port_is_a_sentence() -> None:
    async with stage() as scene:
        with pytest.raises(PlaceFailed, match=f"Cannot listen on 127.0.0.1:{scene.gateway.port}"):
            async with stage(port=scene.gateway.port):
                pass
