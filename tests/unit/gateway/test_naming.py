"""What an engine calls its Model and its routes."""

from __future__ import annotations

import json

import pytest

from corral.domain.launch import Endpoint
from corral.gateway.naming import addressed
from corral.gateway.routes.table import HOT, ModelFrom, Route
from corral.kit.http_heads import RequestHead

CHAT, AUDIO = HOT[b"/v1/chat/completions"], HOT[b"/v1/audio/transcriptions"]
RAW = Route("/upstream", b"POST", ModelFrom.PATH)


def head(content_type: bytes = b"application/json") -> RequestHead:
    head = RequestHead.__new__(RequestHead)
    head.fields = {b"content-type": content_type}
    return head


def test_only_the_name_changes() -> None:
    body = (
        b'{ "model":"fast" , "n": 1.0e3, "big": 12345678901234567890123, "text": "\\u00e9\xc3\xa9", "messages": [ ] }'
    )
    _, changed = addressed(Endpoint(model_name="Qwen/Qwen3"), CHAT, head(), b"/v1/chat/completions", body)
    assert json.loads(changed) == {**json.loads(body), "model": "Qwen/Qwen3"}
    for kept in (b"1.0e3", b"12345678901234567890123", b'"\\u00e9\xc3\xa9"'):
        assert kept in changed


def test_a_body_with_the_right_name_is_not_touched() -> None:
    body = b'{ "model": "a" ,  "x": 1 }'
    assert addressed(Endpoint(model_name="a"), CHAT, head(), b"/v1/chat/completions", body)[1] is body


def test_a_body_without_a_name_gets_one() -> None:
    assert json.loads(addressed(Endpoint(model_name="a"), CHAT, head(), b"/v1/x", b'{"x":1}')[1]) == {
        "x": 1,
        "model": "a",
    }


@pytest.mark.parametrize(
    ("v1", "path", "becomes"),
    [
        ("/v3", b"/v1/chat/completions", b"/v3/chat/completions"),
        ("", b"/v1/chat/completions", b"/chat/completions"),
        ("/api/v1", b"/v1/embeddings?x=1", b"/api/v1/embeddings?x=1"),
        ("/v3", b"/tokenize", b"/tokenize"),
        ("/v3", b"/v10/chat", b"/v10/chat"),
    ],
)
def test_v1_becomes_what_the_engine_has_there(v1: str, path: bytes, becomes: bytes) -> None:
    assert addressed(Endpoint(v1=v1), CHAT, head(), path, b"{}") == (becomes, b"{}")


def test_forms_are_named_too() -> None:
    body = b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nx\r\n--B--\r\n'
    _, changed = addressed(Endpoint(model_name="w"), AUDIO, head(b"multipart/form-data; boundary=B"), b"/v1/a", body)
    assert changed == body.replace(b"\r\nx\r\n", b"\r\nw\r\n")


def test_raw_requests_are_left_alone() -> None:
    assert addressed(Endpoint(model_name="w", v1="/v3"), RAW, head(), b"/v1/x", b'{"model":"y"}') == (
        b"/v1/x",
        b'{"model":"y"}',
    )
