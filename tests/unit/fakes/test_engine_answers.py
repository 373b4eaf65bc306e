"""The fake engine's words and wishes, without a socket."""

from __future__ import annotations

import json

import pytest

from corral.fakes import engine_answers as answers
from corral.fakes.engine_behaviour import Behaviour
from corral.fakes.engine_http import Request


def request(*headers: tuple[str, str]) -> Request:
    return Request(1, 1, "POST", "/v1/chat/completions?x=1", list(headers), b"{}")


@pytest.mark.parametrize(
    ("count", "said"),
    [(None, "I am Ada."), (2, "I am"), (0, ""), (7, "I am Ada. I am Ada. I")],
)
def test_a_reply_is_cut_or_said_again(count: int | None, said: str) -> None:
    words = answers.tokens("I am Ada.", count)
    assert "".join(words) == said
    assert count is None or len(words) == count


def test_a_request_can_wish_in_its_body_and_in_headers() -> None:
    usual = Behaviour(delay_s=1.0, chunks=9)
    body = {"fake": {"chunks": 3, "half_close": True}}
    wished = usual.changed(request(("X-Fake-Delay-S", "0.5"), ("x-fake-reply", "no JSON")), body)
    assert wished == Behaviour(delay_s=0.5, chunks=3, half_close=True, reply="no JSON")
    assert usual.changed(request(), {}) == usual


@pytest.mark.parametrize(("headers", "body"), [((), {"fake": {"nope": 1}}), ((("x-fake-no", "1"),), {})])
def test_a_wish_that_does_not_exist_is_an_error(headers: tuple[tuple[str, str], ...], body: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="unknown fake fields: no"):
        Behaviour().changed(request(*headers), body)


COUNTS = {"usage": answers.usage(2, 3), "timings": answers.timings(2, 3, 1.0, 2.0)}


def _events(*data: bytes) -> list[dict[str, object]]:
    return [json.loads(each.removeprefix(b"data: ")) for each in data if each != b"data: [DONE]\n\n"]


def test_usage_is_where_llama_server_puts_it() -> None:
    *_, last = _events(*answers.closing("chat", "m", 1, "stop", COUNTS, with_usage=True))
    assert last["choices"] == []
    assert "usage" in last and "timings" in last
    (last,) = _events(*answers.closing("chat", "m", 1, "stop", COUNTS, with_usage=False))
    assert "usage" not in last and "timings" in last
    (last,) = _events(*answers.closing("text", "m", 1, "stop", COUNTS, with_usage=False))
    assert "usage" in last and "timings" in last
    assert b"data: [DONE]\n\n" not in list(answers.closing("native", "m", 1, "stop", COUNTS, with_usage=True))


def test_a_report_holds_no_body() -> None:
    asked = request(("Authorization", "Bearer k"))
    asked.body = b'{"messages":"secret"}'
    report = asked.report()
    assert "secret" not in json.dumps(report)
    assert report["body_bytes"] == 21
    assert report["headers"] == [["Authorization", "Bearer k"]]
    assert asked.path == "/v1/chat/completions"


def test_equal_texts_have_equal_vectors() -> None:
    data = answers.embeddings({"input": ["a", "b", "a"]}, "m")["data"]
    first, second, third = (each["embedding"] for each in data)
    assert first == third != second
