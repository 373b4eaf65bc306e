"""The table of errors is complete, and what a client sees has OpenAI's shape."""

from __future__ import annotations

import json

import pytest

import corral.domain.errors as domain
from corral.domain.errors import CorralError, QueueFull, StartFailed, Unauthorized, UnknownModel, WrongMethod
from corral.gateway import errors


def tree(kind: type[CorralError] = CorralError) -> list[type[CorralError]]:
    """Every class of the tree in domain.errors."""
    return [
        kind,
        *(leaf for child in kind.__subclasses__() if child.__module__ == domain.__name__ for leaf in tree(child)),
    ]


@pytest.mark.parametrize("kind", tree())
def test_every_error_has_its_own_row(kind: type[CorralError]) -> None:
    row = errors.TABLE[kind]
    assert 400 <= row.status < 600
    if kind is not domain.ConfigError:  # the server's own fault when it is met while serving
        assert row.status == kind.status
    error = kind("x") if kind is not UnknownModel else UnknownModel("x")
    body = json.loads(errors.body(error))["error"]
    assert set(body) == {"message", "type", "param", "code", "source"}
    assert (body["code"], body["type"], body["source"]) == (kind.code, row.type, kind.source)
    assert dict(errors.headers(error))[b"x-corral-source"].decode() == kind.source in ("corral", "engine")


def test_an_error_of_a_plug_in_is_shown_like_its_parent() -> None:
    class Odd(QueueFull):
        """Odd."""

    assert errors.shape(Odd()) == errors.TABLE[QueueFull]


def test_headers_that_some_errors_have() -> None:
    assert dict(errors.headers(QueueFull(retry_after_s=0.2)))[b"retry-after"] == b"1"
    assert dict(errors.headers(QueueFull(retry_after_s=7.1)))[b"retry-after"] == b"8"
    assert b"retry-after" not in dict(errors.headers(QueueFull(retry_after_s=None)))
    assert b"www-authenticate" in dict(errors.headers(Unauthorized()))
    assert dict(errors.headers(WrongMethod(allow="POST")))[b"allow"] == b"POST"


def test_the_event_of_a_broken_stream() -> None:
    event = errors.event(StartFailed("It crashed.", log_tail=("a",)))
    assert event.startswith(b"data: {") and event.endswith(b"}\n\n") and event.count(b"\n") == 2
    assert json.loads(event[6:])["error"]["log_tail"] == ["a"]
