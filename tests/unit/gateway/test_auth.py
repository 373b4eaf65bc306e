"""Keys, credentials, and the address that must not be served."""

from __future__ import annotations

import base64
import hashlib

import pytest

from corral.domain.errors import BadRequest
from corral.domain.serving import Caller, KeySpec, Scope, ServerSpec
from corral.gateway.auth import KeyRing, bind_problem, token_of
from corral.kit.addresses import is_loopback

KEY = KeySpec("ci", hashlib.sha256(b"sk-1").hexdigest().upper())


def holder(ring: KeyRing, token: str) -> Caller | None:
    """Who holds this key."""
    return ring.caller(ring.fingerprint(token))


def test_a_key_is_known_by_its_hash() -> None:
    ring = KeyRing(ServerSpec(keys=(KEY,)))
    assert ring.required
    found = holder(ring, "sk-1")
    assert found is not None and (found.name, found.may(Scope.INFERENCE), found.may(Scope.ADMIN)) == ("ci", True, False)
    for wrong in ("", "sk-2", "SK-1", "sk-1 ", KEY.sha256, KEY.sha256.lower(), "\udcff"):
        assert holder(ring, wrong) is None
    assert not KeyRing(ServerSpec()).required


def test_what_a_key_says_of_its_holder_goes_with_every_request_of_it() -> None:
    key = KeySpec("batch", KEY.sha256, priority=-5, max_concurrent=2, max_waiting=30)
    found = holder(KeyRing(ServerSpec(keys=(key,))), "sk-1")
    assert found is not None
    assert (found.priority, found.max_concurrent, found.max_waiting) == (-5, 2, 30)
    assert holder(KeyRing(ServerSpec(keys=(key,))), "sk-1") == found


@pytest.mark.parametrize(
    ("fields", "token"),
    [
        ({}, None),
        ({b"authorization": b"Bearer a b"}, "a b"),
        ({b"authorization": b"bearer  a"}, "a"),
        ({b"authorization": b"a"}, "a"),
        ({b"authorization": b"Basic " + base64.b64encode(b"user:pa:ss")}, "pa:ss"),
        ({b"authorization": b"Basic !!!"}, ""),
        ({b"authorization": b"Basic " + base64.b64encode(b"\xff:x")}, ""),
        ({b"x-api-key": b"a"}, "a"),
        ({b"x-api-key": b"a", b"authorization": b"Bearer a"}, "a"),
    ],
)
def test_credentials(fields: dict[bytes, bytes], token: str | None) -> None:
    assert token_of(fields) == token


def test_two_credentials() -> None:
    with pytest.raises(BadRequest):
        token_of({b"x-api-key": b"a", b"authorization": b"Bearer b"})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.4.5", "::1", "localhost", "LOCALHOST."])
def test_loopback_needs_no_keys(host: str) -> None:
    assert is_loopback(host)
    assert bind_problem(ServerSpec(host=host)) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.1", "box.lan", "localhost.evil.example"])
def test_everywhere_else_needs_keys_or_a_word(host: str) -> None:
    problem = bind_problem(ServerSpec(host=host))
    assert problem is not None and "server.keys" in problem and "server.open" in problem
    assert bind_problem(ServerSpec(host=host, keys=(KEY,))) is None
    assert bind_problem(ServerSpec(host=host, open=True)) is None
