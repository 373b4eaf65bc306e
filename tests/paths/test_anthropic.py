"""
/v1/messages over sockets: what a client gets of an engine's stream, whole, cut, broken and refused.

Each against llama.cpp, which is asked for more and tells more, and against an engine that speaks plain OpenAI.
"""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from corral.domain.fleet import ModelSpec
from tests import messages
from tests.clients import CLIENTS
from tests.messages import events
from tests.paths.relay_kit import SSE_HEAD, Got, Heard, answer, chunk, say, stage, write
from tests.paths.test_relay_control import FakeControl

LLAMA = ("openai", "anthropic", "responses", "llama.cpp")
ENGINES = [pytest.param(LLAMA, id="llama.cpp"), pytest.param((), id="plain")]
USER = [{"role": "user", "content": "hello"}]
ASKED: dict[str, Any] = {"model": "m", "max_tokens": 50, "messages": USER}
STREAM = {**ASKED, "stream": True}
HEADERS = ("anthropic-version: 2023-06-01", "anthropic-beta: what-is-this-2026-01-01")
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()
TOOL = {"name": "add", "description": "Adds.", "input_schema": {"type": "object", "properties": {}}}


def event(**fields: Any) -> bytes:
    return b"data: %b\n\n" % json.dumps(fields, ensure_ascii=False).encode()


def piece(**delta: Any) -> bytes:
    return event(choices=[{"index": 0, "delta": delta, "finish_reason": None}])


def call(index: int, **fields: Any) -> bytes:
    return piece(tool_calls=[{"index": index, **fields}])


USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}}
PROGRESS = [
    event(choices=[{"index": 0, "delta": {}}], prompt_progress={"total": 7, "cache": 2, "processed": done})
    for done in (2, 7)
]


def end(reason: str = "stop", **more: Any) -> list[bytes]:
    last = event(choices=[{"index": 0, "delta": {}, "finish_reason": reason}], **more)
    return [last, event(choices=[], usage=USAGE), b"data: [DONE]\n\n"]


CALLS = [
    call(0, id="c1", type="function", function={"name": "add", "arguments": '{"a":'}),
    call(0, function={"arguments": " 1}"}),
    call(1, id="c2", type="function", function={"name": "stop", "arguments": ""}),
]
TEXT = [
    piece(role="assistant", content=None),
    piece(reasoning_content="Hm"),
    piece(content="Grüß "),
    piece(content="Gott"),
]
ANSWER = [*TEXT, *CALLS, *end("tool_calls")]


def message(got: Got) -> dict[str, Any]:
    return messages.message(got.body)


CONTENT = [
    {"type": "thinking", "thinking": "Hm", "signature": "Y29ycmFs"},
    {"type": "text", "text": "Grüß Gott"},
    {"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1}},
    {"type": "tool_use", "id": "c2", "name": "stop", "input": {}},
]
COUNTED = {
    "input_tokens": 5, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 2, "output_tokens": 3,
}  # fmt: skip


def stream_of(pieces: list[bytes]) -> Any:
    return write(SSE_HEAD, *map(chunk, pieces), b"0\r\n\r\n")


@pytest.mark.parametrize("speaks", ENGINES)
async def test_a_stream(speaks: tuple[str, ...]) -> None:
    progress = PROGRESS if speaks else []
    async with stage(stream_of(progress + ANSWER), speaks=speaks) as scene:
        got = await scene.post("/v1/messages?beta=true", STREAM, *HEADERS)
        assert (got.status, got.headers["content-type"]) == (200, "text/event-stream")
        assert got.headers["request-id"] == got.headers["x-request-id"]
        made = message(got)
        assert made["content"] == CONTENT and made["usage"] == COUNTED
        assert (made["stop_reason"], made["stop_sequence"], made["model"]) == ("tool_use", None, "m")
        assert made["id"].startswith("msg_") and (made["type"], made["role"]) == ("message", "assistant")
        began = next(each for each in events(got.body) if each["type"] == "message_start")["message"]["usage"]
        assert (began["input_tokens"], began["cache_read_input_tokens"]) == ((5, 2) if speaks else (0, 0))
        sent = json.loads(scene.upstream.heard[0].body)
        own = {"return_progress": True} if speaks else {}
        assert sent == {**STREAM, "stream_options": {"include_usage": True}, **own}
        assert scene.upstream.heard[0].line == "POST /v1/chat/completions HTTP/1.1"
        record = await scene.record.one()
        assert (record.route, record.outcome) == ("/v1/messages", "ok") and record.ttft_s is not None
        assert (record.prompt_tokens, record.completion_tokens, record.cached_tokens) == (7, 3, 2)
        assert scene.at_rest()


async def test_no_cut_of_the_stream_changes_the_answer() -> None:
    """Every place where a packet may end, within events, within UTF-8 and between chunks."""
    whole = b"".join(ANSWER)
    cut_at = 0

    async def script(request: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD + chunk(whole[:cut_at]))
        await writer.drain()
        writer.write(chunk(whole[cut_at:]) + b"0\r\n\r\n")

    async with stage(script) as scene:
        client = await scene.client()
        for cut_at in range(1, len(whole)):
            client.post("/v1/messages", STREAM)
            assert message(await client.got())["content"] == CONTENT, cut_at


@pytest.mark.parametrize("speaks", ENGINES)
async def test_a_whole_answer(speaks: tuple[str, ...]) -> None:
    said = {"role": "assistant", "content": "Grüß Gott", "reasoning_content": "Hm"}
    calls = [
        {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}},
        {"id": "c2", "type": "function", "function": {"name": "stop", "arguments": ""}},
    ]
    whole = {
        "choices": [{"index": 0, "message": {**said, "tool_calls": calls}, "finish_reason": "stop"}],
        "usage": USAGE,
    }
    async with stage(say(whole), speaks=speaks) as scene:
        got = await scene.post("/v1/messages", ASKED, *HEADERS)
        assert got.headers["content-type"] == "application/json"
        assert got.headers["request-id"] == got.headers["x-request-id"]
        body = got.json()
        assert body["content"] == CONTENT and body["usage"] == COUNTED and body["stop_reason"] == "tool_use"
        assert json.loads(scene.upstream.heard[0].body) == ASKED
        assert (await scene.record.one()).completion_tokens == 3


@pytest.mark.parametrize(
    ("finish", "more", "reason", "word"),
    [
        ("stop", {}, "end_turn", None),
        ("length", {}, "max_tokens", None),
        ("content_filter", {}, "refusal", None),
        ("stop", {"__verbose": {"stopping_word": "Ada"}}, "stop_sequence", "Ada"),
        ("stop", {"__verbose": {"stopping_word": ""}}, "end_turn", None),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_why_it_ended(stream: bool, finish: str, more: dict[str, Any], reason: str, word: str | None) -> None:
    whole = {"choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": finish}], "usage": USAGE, **more}
    script = stream_of([piece(content="Hi"), *end(finish, **more)]) if stream else say(whole)
    async with stage(script, speaks=LLAMA) as scene:
        got = await scene.post("/v1/messages", {**ASKED, "stream": stream, "stop_sequences": ["Ada"]})
        made = message(got) if stream else got.json()
        assert (made["stop_reason"], made["stop_sequence"]) == (reason, word)
        assert ("stop_details" in made) is (reason == "refusal")
        sent = json.loads(scene.upstream.heard[0].body)
        assert (sent["stop"], sent["verbose"], sent["response_fields"]) == (["Ada"], True, ["stopping_word"])


async def test_the_engine_that_says_which_sequence_it_was_in_its_own_way() -> None:
    last = event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop", "stop_reason": "Ada"}])
    async with stage(stream_of([piece(content="Hi"), last])) as scene:
        made = message(await scene.post("/v1/messages", {**STREAM, "stop_sequences": ["Ada"]}))
        assert (made["stop_reason"], made["stop_sequence"]) == ("stop_sequence", "Ada")
        assert "verbose" not in json.loads(scene.upstream.heard[0].body)


@pytest.mark.parametrize("stream", [True, False])
async def test_max_tokens_0_says_nothing(stream: bool) -> None:
    """The prompt is put into the cache, which is all that was asked."""
    whole = {"choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "length"}], "usage": USAGE}
    script = stream_of([piece(content="Hi"), *CALLS, *end("length")]) if stream else say(whole)
    async with stage(script) as scene:
        got = await scene.post("/v1/messages", {**ASKED, "stream": stream, "max_tokens": 0})
        made = message(got) if stream else got.json()
        assert (made["content"], made["stop_reason"], made["usage"]["output_tokens"]) == ([], "max_tokens", 0)
        assert json.loads(scene.upstream.heard[0].body)["max_tokens"] == 1


@pytest.mark.parametrize("stream", [True, False])
async def test_thoughts_that_shall_not_be_shown(stream: bool) -> None:
    said = {"content": "Hi", "reasoning_content": "Hm"}
    whole = {"choices": [{"index": 0, "message": said, "finish_reason": "stop"}]}
    script = stream_of([piece(reasoning_content="Hm"), piece(content="Hi"), *end()]) if stream else say(whole)
    async with stage(script) as scene:
        thinking = {"type": "adaptive", "display": "omitted"}
        got = await scene.post("/v1/messages", {**ASKED, "stream": stream, "thinking": thinking})
        thought, text = (message(got) if stream else got.json())["content"]
        assert thought == {"type": "thinking", "thinking": "", "signature": "Y29ycmFs"} and text["text"] == "Hi"


# --- what goes wrong ---


def error_of(got: Got) -> tuple[int, str, str, str]:
    """Status, type, code and source of an answer that is an error."""
    body = got.json()
    assert body["type"] == "error" and body["request_id"] == got.headers["request-id"] == got.headers["x-request-id"]
    assert got.headers["x-corral-source"] == body["error"]["source"]
    return got.status, body["error"]["type"], body["error"]["code"], body["error"]["source"]


DEEP = (
    b'{"model":"m","max_tokens":5,"messages":[{"role":"user","content":[{"type":"tool_use","id":"x","name":"n","input":'
)
WRONG: dict[str, tuple[Any, str]] = {
    "no JSON": (b"{", "not valid JSON"),
    "no UTF-8": (b'{"model":"\xff"}', "not valid JSON"),
    "a list": (b"[]", "wrong"),
    "the Model's name": ({**ASKED, "model": 1}, "$.model"),
    "no messages": ({"model": "m", "max_tokens": 1}, "messages"),
    "empty messages": ({**ASKED, "messages": []}, "at least one"),
    "messages of the wrong type": ({**ASKED, "messages": "hi"}, "$.messages"),
    "a role": ({**ASKED, "messages": [{"role": "tool", "content": "x"}]}, "$.messages[0].role"),
    "content": ({**ASKED, "messages": [{"role": "user", "content": 3}]}, "$.messages[0].content"),
    "no max_tokens": ({"model": "m", "messages": USER}, "max_tokens"),
    "negative max_tokens": ({**ASKED, "max_tokens": -1}, "$.max_tokens"),
    "max_tokens as text": ({**ASKED, "max_tokens": "9"}, "$.max_tokens"),
    "stream as text": ({**ASKED, "stream": "yes"}, "$.stream"),
    "an unknown block": ({**ASKED, "messages": [{"role": "user", "content": [{"type": "zork"}]}]}, "zork"),
    "a tool without a schema": ({**ASKED, "tools": [{"name": "a"}]}, "tools.0.input_schema"),
    "a tool of Anthropic's": ({**ASKED, "tools": [{"type": "web_search_20250305", "name": "a"}]}, "cannot be had"),
    "a set of tools of a server": (
        {**ASKED, "tools": [{"type": "mcp_toolset", "mcp_server_name": "a"}]},
        "cannot be had",
    ),
    "servers that Anthropic asks for tools": (
        {**ASKED, "mcp_servers": [{"type": "url", "url": "https://a", "name": "a"}]},
        "mcp_servers",
    ),
    "a summary": ({**ASKED, "compaction": {"type": "summarize"}}, "compaction"),
    "a tool without a name": ({**ASKED, "tools": [{"input_schema": {}}]}, "tools.0.name"),
    "an empty name": ({**ASKED, "tools": [{**TOOL, "name": ""}]}, "tools.0.name"),
    "a schema that is none": ({**ASKED, "tools": [{**TOOL, "input_schema": 3}]}, "object"),
    "an empty stop sequence": ({**ASKED, "stop_sequences": ["a", ""]}, "stop_sequences.1"),
    "a format that is none": (
        {**ASKED, "output_config": {"format": {"type": "json_schema", "schema": "x"}}},
        "format.schema",
    ),
    "a choice without tools": ({**ASKED, "tool_choice": {"type": "any"}}, "no tools"),
    "a choice of an unknown tool": ({**ASKED, "tools": [TOOL], "tool_choice": {"type": "tool", "name": "b"}}, "'b'"),
    "an unknown choice": ({**ASKED, "tools": [TOOL], "tool_choice": {"type": "some"}}, "some"),
    "thinking without a budget": ({**ASKED, "thinking": {"type": "enabled"}}, "budget_tokens"),
    "unknown thinking": ({**ASKED, "thinking": {"type": "hard"}}, "hard"),
    "an unknown effort": ({**ASKED, "output_config": {"effort": "huge"}}, "effort"),
    "deep JSON": (DEEP + b"[" * 50_000 + b"]" * 50_000 + b"}]}]}", "nested too deeply"),
}  # fmt: skip
BLOCKS: dict[str, tuple[dict[str, Any], str]] = {
    "a result without a call": ({"type": "tool_result", "tool_use_id": "x"}, "no tool_use before it"),
    "a call by the user": ({"type": "tool_use", "id": "x", "name": "a", "input": {}}, "only the assistant"),
    "no base64": ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "%%%"}}, "base64"),
    "base64 that is cut": ({"type": "image", "source": {"type": "base64", "data": PNG[:-1]}}, "base64"),
    "no image": ({"type": "image", "source": {"type": "base64", "data": "aGVsbG8gdGhlcmU="}}, "no PNG"),
    "huge and no image": ({"type": "image", "source": {"type": "base64", "data": "aGVs" * 2_000_000}}, "no PNG"),
    "no data": ({"type": "image", "source": {"type": "base64", "media_type": "image/png"}}, "`data`"),
    "a file": ({"type": "image", "source": {"type": "file", "file_id": "f"}}, "no uploaded files"),
    "an address that is none": ({"type": "image", "source": {"type": "url", "url": "file:///etc/passwd"}}, "address"),
    "a PDF": ({"type": "document", "source": {"type": "base64", "data": "aGk="}}, "plain text"),
}  # fmt: skip


@pytest.mark.parametrize("name", [*WRONG, *BLOCKS])
async def test_a_body_that_is_wrong_loads_nothing(name: str) -> None:
    if name in WRONG:
        body, words = WRONG[name]
    else:
        block, words = BLOCKS[name]
        body = {**ASKED, "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, block]}]}
    async with stage() as scene:
        got = await scene.post("/v1/messages", body)
        assert error_of(got) == (400, "invalid_request_error", "bad_request", "corral")
        assert words in got.json()["error"]["message"], got.json()
        assert name not in BLOCKS or "messages" in got.json()["error"]["message"]
        assert not scene.upstream.heard and scene.at_rest()


async def test_other_errors_before_an_engine() -> None:
    async with stage() as scene:
        got = await scene.post("/v1/messages", {**ASKED, "model": "nobody"})
        assert error_of(got) == (404, "not_found_error", "model_not_found", "corral")
        got = await scene.get("/v1/messages")
        assert error_of(got) == (405, "invalid_request_error", "method_not_allowed", "corral")
        got = await scene.post("/v1/messages/batches", ASKED)
        assert error_of(got) == (404, "not_found_error", "not_found", "corral")


TOO_LONG = {"error": {"code": 400, "message": "9 tokens exceed 5", "type": "exceed_context_size_error"}}
NO_EYES = {"error": {"code": 500, "message": "image input is not supported - hint: mmproj", "type": "server_error"}}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("status", "said", "shown", "kind", "words"),
    [
        ("400 Bad Request", TOO_LONG, 400, "invalid_request_error", "prompt is too long: 9 tokens exceed 5"),
        ("500 Internal Server Error", NO_EYES, 400, "invalid_request_error", "image input is not supported"),
        ("500 Internal Server Error", {"error": {"message": "out of memory"}}, 500, "api_error", "out of memory"),
        ("429 Too Many Requests", {"error": {"message": "slow down"}}, 429, "rate_limit_error", "slow down"),
        ("402 Payment Required", {"error": {"message": "no credit"}}, 402, "billing_error", "no credit"),
        ("529 Overloaded", {"error": {"message": "too many"}}, 529, "overloaded_error", "too many"),
        ("302 Found", {}, 502, "api_error", ""),
    ],
)
async def test_what_the_engine_refuses(
    stream: bool, status: str, said: dict[str, Any], shown: int, kind: str, words: str
) -> None:
    async with stage(say(said, status=status)) as scene:
        got = await scene.post("/v1/messages", {**ASKED, "stream": stream})
        assert error_of(got) == (shown, kind, "engine_refused", "engine")
        assert words in got.json()["error"]["message"]
        assert (await scene.record.one()).outcome == "engine_error" and scene.at_rest()


async def test_calls_that_are_mixed_break_the_stream() -> None:
    """Blocks are told one after the other: what a client has seen the end of cannot go on."""
    mixed = [chunk(ANSWER[2]), chunk(CALLS[0] + CALLS[2]), chunk(CALLS[1]), b"0\r\n\r\n"]
    async with stage(write(SSE_HEAD, *mixed)) as scene:
        got = await scene.post("/v1/messages", STREAM)
        assert got.status == 200 and got.complete
        told = CLIENTS["/v1/messages"].answer(got.body, stream=True)
        assert told.text == "Grüß " and told.failure is not None and told.failure.source == "engine"
        assert "begun something else" in told.failure.words
        assert events(got.body)[-1]["request_id"] == got.headers["request-id"] and scene.at_rest()


@pytest.mark.parametrize("again", [True, False])
async def test_an_engine_that_dies_before_its_first_word_is_asked_once_more(again: bool) -> None:
    """It has told how far it is with the prompt, and nothing of it has reached the client."""
    asked = 0

    async def script(request: Heard, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        writer.write(SSE_HEAD + chunk(PROGRESS[0]))
        await writer.drain()
        if asked == 2 and again:
            writer.write(b"".join(map(chunk, ANSWER)) + b"0\r\n\r\n")
        else:
            writer.close()

    async with stage(script, speaks=LLAMA) as scene:
        got = await scene.post("/v1/messages", STREAM)
        if again:
            assert got.status == 200 and message(got)["content"] == CONTENT
        else:
            assert error_of(got) == (502, "api_error", "engine_died", "engine")
        assert asked == 2 and scene.at_rest()
        assert (await scene.record.one()).outcome == ("ok" if again else "engine_died")


async def test_a_stream_that_fails_before_its_first_word_is_an_answer_with_its_status() -> None:
    broken = [chunk(PROGRESS[0]), chunk(b'data: {"error":{"message":"out of memory"}}\n\n'), b"0\r\n\r\n"]
    async with stage(write(SSE_HEAD, *broken), speaks=LLAMA) as scene:
        got = await scene.post("/v1/messages", STREAM)
        assert error_of(got) == (502, "api_error", "engine_failed", "engine") and scene.at_rest()
        assert "out of memory" in got.json()["error"]["message"]


# --- counting, and the listing ---


COUNT = {"model": "m", "messages": USER, "system": "Be kind.", "metadata": {"user_id": "u"}}


async def test_a_thread_is_refused_so_that_clients_send_all_messages() -> None:
    """`continue` comes with the new messages alone: to pass over it would be to forget the conversation silently."""
    said = {"choices": [{"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}
    asked = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "and then?"}]}
    async with stage(say(said)) as scene:
        for thread in ({"type": "create"}, {"type": "continue", "previous_message_id": "msg_1"}):
            for stream in (False, True):
                got = await scene.post("/v1/messages?beta=true", {**asked, "thread": thread, "stream": stream})
                error = got.json()["error"]
                assert (got.status, error["type"]) == (400, "invalid_request_error")
                assert error["details"] == {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
        assert not scene.upstream.heard
        assert (await scene.post("/v1/messages", {**asked, "thread": None})).status == 200


@pytest.mark.parametrize("speaks", ENGINES)
async def test_counting(speaks: tuple[str, ...]) -> None:
    async with stage(say({"object": "response.input_tokens", "input_tokens": 12}), speaks=speaks) as scene:
        got = await scene.post("/v1/messages/count_tokens?beta=true", COUNT, *HEADERS)
        assert (got.status, got.json()) == (200, {"input_tokens": 12}) and got.headers["request-id"]
        assert scene.upstream.heard[0].line == "POST /v1/chat/completions/input_tokens HTTP/1.1"
        sent = json.loads(scene.upstream.heard[0].body)
        assert sent == {"model": "m", "messages": [{"role": "system", "content": "Be kind."}, *USER]}
        wrong = await scene.post("/v1/messages/count_tokens", {"model": "m"})
        assert error_of(wrong) == (400, "invalid_request_error", "bad_request", "corral")


async def test_counting_by_an_old_llama_cpp_takes_two_steps() -> None:
    answers = {
        "/v1/chat/completions/input_tokens": answer(b"{}", status="404 Not Found"),
        "/apply-template": answer(b'{"prompt": "<user>hello"}'),
        "/tokenize": answer(b'{"tokens": [1, 2, 3]}'),
    }

    async def script(request: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(answers[request.line.split()[1]])

    async with stage(script, speaks=LLAMA) as scene:
        got = await scene.post("/v1/messages/count_tokens", COUNT)
        assert (got.status, got.json()) == (200, {"input_tokens": 3})
        sent = json.loads(scene.upstream.heard[-1].body)
        assert sent == {"content": "<user>hello", "add_special": True, "parse_special": True} and scene.at_rest()


@pytest.mark.parametrize("status", ["404 Not Found", "405 Method Not Allowed", "501 Not Implemented"])
async def test_an_engine_that_cannot_count(status: str) -> None:
    async with stage(say({}, status=status)) as scene:
        got = await scene.post("/v1/messages/count_tokens", COUNT)
        assert error_of(got) == (501, "api_error", "engine_refused", "engine")
        assert "cannot count tokens" in got.json()["error"]["message"] and scene.at_rest()


async def test_the_listing_page_by_page() -> None:
    models = tuple(ModelSpec(f"m{number}", title="The first" if number == 0 else "") for number in range(45))
    async with stage(models=models, control=FakeControl()) as scene:
        got = await scene.get("/v1/models", *HEADERS)
        page = got.json()
        assert got.headers["request-id"] and len(page["data"]) == 20 and page["has_more"]
        first = page["data"][0]
        assert (first["type"], first["id"], first["display_name"]) == ("model", "m0", "The first")
        assert first["created_at"].endswith("Z") and page["data"][1]["display_name"] == "m1"
        seen = [each["id"] for each in page["data"]]
        while page["has_more"]:
            page = (await scene.get(f"/v1/models?limit=20&after_id={page['last_id']}", *HEADERS)).json()
            assert page["first_id"] == page["data"][0]["id"]
            seen += [each["id"] for each in page["data"]]
        assert seen == [model.name for model in models]
        back = (await scene.get("/v1/models?limit=3&before_id=m10", *HEADERS)).json()
        assert [each["id"] for each in back["data"]] == ["m7", "m8", "m9"] and back["has_more"]
        none = (await scene.get("/v1/models?after_id=gone", *HEADERS)).json()
        assert none == {"data": [], "has_more": False, "first_id": None, "last_id": None}
        for query in ("limit=0", "limit=x", "limit=1001", "after_id=m1&before_id=m2"):
            assert error_of(await scene.get(f"/v1/models?{query}", *HEADERS))[0] == 400
        one = await scene.get("/v1/models/m3", *HEADERS)
        assert (one.json()["id"], one.json()["type"]) == ("m3", "model")
        assert error_of(await scene.get("/v1/models/nobody", *HEADERS))[:2] == (404, "not_found_error")
        assert (await scene.get("/v1/models")).json()["object"] == "list"
