"""The tables of errors are complete, and what a client sees has the shape of its dialect."""

from __future__ import annotations

import json

import pytest

import corral.domain.errors as domain
from corral.contracts.dialect import Dialect
from corral.dialects.anthropic import errors as anthropic
from corral.dialects.ollama import errors as ollama
from corral.dialects.openai import errors as openai
from corral.domain.errors import (
    CorralError,
    EngineRefused,
    QueueFull,
    StartFailed,
    Unauthorized,
    UnknownModel,
    WrongMethod,
)
from corral.gateway import errors
from corral.gateway.routes.table import Route

ID = "req-1"


def tree(kind: type[CorralError] = CorralError) -> list[type[CorralError]]:
    """Every class of the tree in domain.errors."""
    return [
        kind,
        *(leaf for child in kind.__subclasses__() if child.__module__ == domain.__name__ for leaf in tree(child)),
    ]


def made(kind: type[CorralError]) -> CorralError:
    if kind is EngineRefused:
        return EngineRefused("x", engine_status=502)
    return UnknownModel("x") if kind is UnknownModel else kind("x")


@pytest.mark.parametrize("kind", tree())
def test_every_error_has_its_own_row_in_every_dialect(kind: type[CorralError]) -> None:
    assert kind in openai.TABLE and kind in anthropic.TABLE and kind in ollama.STATUS
    statuses = {dialect.error_status(made(kind)) for dialect in errors.DIALECTS.values()}
    assert len(statuses) == 1 and 400 <= min(statuses) < 600
    if kind is not domain.ConfigError:  # the server's own fault when it is met while serving
        assert statuses == {kind.status}
    assert dict(errors.headers(made(kind)))[b"x-corral-source"].decode() == kind.source in ("corral", "engine")


@pytest.mark.parametrize("kind", tree())
def test_the_shape_of_openai(kind: type[CorralError]) -> None:
    body = json.loads(errors.OPENAI.error_body(made(kind), ID))["error"]
    assert set(body) == {"message", "type", "param", "code", "source"}
    assert (body["code"], body["type"], body["source"]) == (kind.code, openai.TABLE[kind].type, kind.source)


@pytest.mark.parametrize("kind", tree())
def test_the_shape_of_anthropic(kind: type[CorralError]) -> None:
    body = json.loads(errors.DIALECTS["anthropic"].error_body(made(kind), ID))
    assert (body["type"], body["request_id"]) == ("error", ID)
    assert set(body["error"]) == {"type", "message", "code", "source"}
    assert body["error"]["type"] in {
        "invalid_request_error", "authentication_error", "permission_error", "not_found_error", "request_too_large",
        "rate_limit_error", "api_error", "overloaded_error", "timeout_error",
    }  # fmt: skip


@pytest.mark.parametrize("kind", tree())
def test_the_shape_of_ollama(kind: type[CorralError]) -> None:
    body = json.loads(errors.DIALECTS["ollama"].error_body(made(kind), ID))
    assert set(body) == {"error", "code", "source"} and isinstance(body["error"], str) and body["error"]


def test_an_error_of_a_plug_in_is_shown_like_its_parent() -> None:
    class Odd(QueueFull):
        """Odd."""

    assert openai.shape(Odd()) == openai.TABLE[QueueFull]
    assert anthropic.shape(Odd()) == anthropic.TABLE[QueueFull]
    assert errors.DIALECTS["ollama"].error_status(Odd()) == 503


@pytest.mark.parametrize("dialect", errors.DIALECTS.values(), ids=errors.DIALECTS)
def test_an_engine_that_refuses_keeps_its_status_and_words(dialect: Dialect) -> None:
    error = EngineRefused("the request exceeds the context", engine_status=400, engine_type="exceed_context_size_error")
    assert dialect.error_status(error) == 400
    body = dialect.error_body(error, ID)
    assert b"the request exceeds the context" in body and b'"source":"engine"' in body


def test_headers_that_some_errors_have() -> None:
    assert dict(errors.headers(QueueFull(retry_after_s=0.2)))[b"retry-after"] == b"1"
    assert dict(errors.headers(QueueFull(retry_after_s=7.1)))[b"retry-after"] == b"8"
    assert b"retry-after" not in dict(errors.headers(QueueFull(retry_after_s=None)))
    assert b"www-authenticate" in dict(errors.headers(Unauthorized()))
    assert dict(errors.headers(WrongMethod(allow="POST")))[b"allow"] == b"POST"


def test_the_event_of_a_broken_stream() -> None:
    error = StartFailed("It crashed.", log_tail=("a",))
    event = errors.OPENAI.error_event(error, ID)
    assert event.startswith(b"data: {") and event.endswith(b"}\n\n") and event.count(b"\n") == 2
    assert json.loads(event[6:])["error"]["log_tail"] == ["a"]
    event = errors.DIALECTS["anthropic"].error_event(error, ID)
    assert event.startswith(b"event: error\ndata: {") and event.endswith(b"}\n\n") and event.count(b"\n") == 3
    event = errors.DIALECTS["ollama"].error_event(error, ID)
    assert event.endswith(b"}\n") and event.count(b"\n") == 1 and json.loads(event)["error"] == "It crashed."


def test_who_speaks_which_dialect() -> None:
    def name(path: bytes, fields: dict[bytes, bytes] | None = None, route: Route | None = None) -> str:
        return errors.spoken(route, path, fields or {}).name

    assert name(b"/v1/chat/completions") == name(b"/") == name(b"/api/corral/status") == "openai"
    assert name(b"/api/chat") == name(b"/api/nothing") == "ollama"
    assert name(b"/v1/messages") == name(b"/v1/models", {b"anthropic-version": b"2023-06-01"}) == "anthropic"
    assert name(b"/x", route=Route("/x", b"POST", dialect="ollama")) == "ollama"
