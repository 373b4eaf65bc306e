"""/v1/responses over an engine that knows chat alone: whole, in pieces, cut, broken, refused, and asked badly."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from tests.paths.relay_kit import CHAT, SSE_HEAD, Script, answer, chunk, say, stage, write
from tests.paths.test_translated import ANSWER, event, piece

ASKED: dict[str, Any] = {"model": "m", "input": "hello", "stream": True}
HEARD = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "stream": True,
         "stream_options": {"include_usage": True}}  # fmt: skip
EVENTS: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)


def events(body: bytes) -> list[dict[str, Any]]:
    """What the stream says; every event is one of those that the official client knows, to the last field."""
    found = []
    for block in body.decode().split("\n\n")[:-1]:
        name, data = block.split("\n")
        told = json.loads(data.removeprefix("data: "))
        assert name == f"event: {told['type']}"
        EVENTS.validate_python(told)
        found.append(told)
    assert [told["sequence_number"] for told in found] == list(range(len(found)))
    return found


def told(body: bytes) -> tuple[str, str, str]:
    """Text, thoughts and arguments by their pieces, which are those of the whole response at the end."""
    found = events(body)
    pieces = dict.fromkeys(("output_text", "reasoning_text", "function_call_arguments"), "")
    for each in found:
        kind = each["type"].removeprefix("response.").removesuffix(".delta")
        if kind in pieces:
            pieces[kind] += each["delta"]
    thought, text, call = found[-1]["response"]["output"]
    assert [text["content"][0]["text"], thought["content"][0]["text"], call["arguments"]] == list(pieces.values())
    return pieces["output_text"], pieces["reasoning_text"], pieces["function_call_arguments"]


def streamed(*pieces: bytes) -> Script:
    return write(SSE_HEAD, *map(chunk, pieces), b"0\r\n\r\n")


async def test_a_stream() -> None:
    async with stage(streamed(*ANSWER)) as scene:
        got = await scene.post("/v1/responses", ASKED)
        assert (got.status, got.headers["content-type"]) == (200, "text/event-stream")
        assert told(got.body) == ("Grüß ", "Hm", '{"a": 1}')
        found = events(got.body)
        assert found[-1]["type"] == "response.completed" and b"[DONE]" not in got.body
        usage = found[-1]["response"]["usage"]
        assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (7, 3, 10)
        assert usage["input_tokens_details"]["cached_tokens"] == 2
        call = found[-1]["response"]["output"][2]
        assert (call["call_id"], call["name"], call["status"]) == ("c1", "add", "completed")
        assert scene.upstream.heard[0].line == "POST /v1/chat/completions HTTP/1.1"
        assert json.loads(scene.upstream.heard[0].body) == HEARD
        record = await scene.record.one()
        assert (record.route, record.prompt_tokens, record.completion_tokens) == ("/v1/responses", 7, 3)
        assert scene.at_rest()


@pytest.mark.parametrize("stream", [True, False])
async def test_the_timings_of_llama_cpp(stream: bool) -> None:
    """They stand where its own route has them; in a whole answer it has none."""
    timings = {"prompt_n": 7, "prompt_ms": 1.5, "predicted_ms": 2.25, "draft": {"n": [1]}}
    choice = {"index": 0, "finish_reason": "stop"}
    whole = {"choices": [{**choice, "message": {"role": "assistant", "content": "Hi"}}], "timings": timings}
    pieces = [piece(content="Hi"), event(choices=[{**choice, "delta": {}}], timings=timings), b"data: [DONE]\n\n"]
    async with stage(streamed(*pieces) if stream else say(whole)) as scene:
        got = await scene.post("/v1/responses", {**ASKED, "stream": stream})
        last = events(got.body)[-1] if stream else got.json()
        assert last["timings"] == timings and "timings" not in (last["response"] if stream else {})
    none = json.dumps({**whole, "timings": None}).encode()
    async with stage(write(answer(none))) as scene:
        assert "timings" not in (await scene.post("/v1/responses", {**ASKED, "stream": False})).json()
    wrong = json.dumps({**whole, "timings": {"prompt_ms": "soon"}}).encode()
    async with stage(write(answer(wrong))) as scene:
        assert (await scene.post("/v1/responses", {**ASKED, "stream": False})).code == "engine_protocol_error"


@pytest.mark.parametrize(("reason", "status", "why"), [
    ("stop", "completed", None), ("length", "incomplete", "max_output_tokens"),
    ("content_filter", "incomplete", "content_filter"),
])  # fmt: skip
async def test_how_an_answer_ends(reason: str, status: str, why: str | None) -> None:
    message = {"role": "assistant", "content": "Hi", "reasoning": "Hm"}
    said = {"choices": [{"index": 0, "message": message, "finish_reason": reason}]}
    async with stage(say(said)) as scene:
        body = (await scene.post("/v1/responses", {**ASKED, "stream": False})).json()
        Response.model_validate(body)
        assert body["status"] == status and (body["incomplete_details"] or {}).get("reason") == why
        assert [item["type"] for item in body["output"]] == ["reasoning", "message"] and body["usage"] is None
    end = event(choices=[{"index": 0, "delta": {}, "finish_reason": reason}])
    async with stage(streamed(piece(content="Hi"), end)) as scene:
        last = events((await scene.post("/v1/responses", ASKED)).body)[-1]
        assert last["type"] == f"response.{status}" and last["response"]["status"] == status
        assert last["response"]["output"][0]["status"] == status


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
async def test_a_request_that_is_written_over_many_lines_is_repeated_in_one(ends: str) -> None:
    """A line's end in an event would be the end of the event."""
    schema = {"type": "object", "properties": {}}
    asked = {
        **ASKED,
        "text": {"format": {"type": "json_schema", "name": "n", "schema": schema}},
        "tools": [{"type": "function", "name": "f", "parameters": schema}],
        "tool_choice": {"type": "function", "name": "f"},
    }
    pretty = json.dumps(asked, indent=2).replace("\n", ends).encode()
    async with stage(streamed(*ANSWER)) as scene:
        client = await scene.client()
        head = f"POST /v1/responses HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(pretty)}\r\n\r\n"
        client.send(head.encode() + pretty)
        last = events((await client.got()).body)[-1]["response"]
        assert last["text"] == asked["text"] and last["tools"][0]["parameters"] == schema


async def test_calls_that_come_interleaved() -> None:
    def calls(index: int, **function: str) -> bytes:
        return piece(tool_calls=[{"index": index, "function": function}])

    said = [calls(0, name="a", arguments="{"), calls(1, name="b", arguments='{"x"'), calls(0, arguments="}"),
            calls(1, arguments=":1}"),
            event(choices=[{"index": 0, "delta": {}, "finish_reason": "tool_calls"}])]  # fmt: skip
    async with stage(streamed(*said)) as scene:
        last = events((await scene.post("/v1/responses", ASKED)).body)[-1]["response"]
        assert [(call["name"], call["arguments"]) for call in last["output"]] == [("a", "{}"), ("b", '{"x":1}')]
        assert len({call["call_id"] for call in last["output"]}) == 2


CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {
    "type": "function",
    "name": "the_weather",
    "description": "The weather.",
    "strict": False,
    "parameters": CITY,
}
SPACE = {"type": "namespace", "name": "mcp__tiny", "description": "Tools of tiny.", "tools": [WEATHER]}


@pytest.mark.parametrize("stream", [True, False])
async def test_the_functions_of_a_namespace(stream: bool) -> None:
    """As Codex offers the tools of an MCP server: the model knows them by one name of both, the client by two."""
    call = {"id": "c1", "type": "function", "function": {"name": "mcp__tiny__the_weather", "arguments": "{}"}}
    end = event(choices=[{"index": 0, "delta": {}, "finish_reason": "tool_calls"}])
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    whole = {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    script = streamed(piece(tool_calls=[{"index": 0, **call}]), end) if stream else say(whole)
    before = [
        {"role": "user", "content": "hello"},
        {"type": "function_call", "name": "the_weather", "namespace": "mcp__tiny", "arguments": "{}", "call_id": "c0"},
        {"type": "function_call_output", "call_id": "c0", "output": [{"type": "input_text", "text": "It is sunny."}]},
    ]
    async with stage(script) as scene:
        asked = {**ASKED, "stream": stream, "input": before, "tools": [SPACE, {"type": "web_search"}]}
        got = await scene.post("/v1/responses", asked)
        told = events(got.body)[-1]["response"] if stream else got.json()
        Response.model_validate(told)
        (said,) = told["output"]
        assert (said["namespace"], said["name"], said["call_id"]) == ("mcp__tiny", "the_weather", "c1")
        assert told["tools"] == [SPACE]
        heard = json.loads(scene.upstream.heard[0].body)
        (tool,) = heard["tools"]
        function = {
            "name": "mcp__tiny__the_weather",
            "description": "The weather.",
            "parameters": CITY,
            "strict": False,
        }
        assert tool == {"type": "function", "function": function}
        assert heard["messages"][1]["tool_calls"][0]["function"]["name"] == "mcp__tiny__the_weather"


@pytest.mark.parametrize(("tools", "words"), [
    ([{"type": "namespace", "tools": [WEATHER]}], "tools[0] is a namespace and wants a `name`"),
    ([{**SPACE, "tools": [{"type": "function"}]}], "tools[0].tools[0] is a function and wants a `name`"),
    ([{**SPACE, "tools": [{**WEATHER, "parameters": 3}]}], "tools[0].tools[0].parameters is a JSON schema"),
])  # fmt: skip
async def test_namespaces_that_are_wrong(tools: list[Any], words: str) -> None:
    async with stage(streamed(*ANSWER)) as scene:
        got = await scene.post("/v1/responses", {**ASKED, "tools": tools})
        assert got.status == 400 and words in got.json()["error"]["message"] and not scene.upstream.heard


@pytest.mark.parametrize("stream", [True, False])
async def test_what_the_engine_refuses(stream: bool) -> None:
    refusal = {"error": {"code": 400, "message": "too long", "type": "exceed_context_size_error"}}
    async with stage(say(refusal, status="400 Bad Request")) as scene:
        got = await scene.post("/v1/responses", {**ASKED, "stream": stream})
        assert got.status == 400 and got.json()["error"]["message"] == "too long"
        assert got.json()["error"]["type"] == "exceed_context_size_error" and scene.at_rest()
        assert got.json()["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize("path", ["/v1/responses", CHAT])
async def test_a_broken_call_of_an_earlier_turn_is_not_sent_again_and_again(path: str) -> None:
    """Models and token limits leave arguments that are no JSON; llama-server takes them for its own failure."""
    words = "Failed to parse tool call arguments as JSON: parse error"
    refusal = {"error": {"code": 500, "message": words, "type": "server_error"}}
    async with stage(say(refusal, status="500 Internal Server Error")) as scene:
        got = await scene.post(path, {**ASKED, "messages": []})
        error = got.json()["error"]
        assert (got.status, error["message"], error["type"]) == (400, words, "invalid_request_error")
        assert scene.at_rest()


BROKEN = [
    ([chunk(ANSWER[2])], "ended in the middle"),
    ([chunk(ANSWER[2]), b"0\r\n\r\n"], "ended before its answer did"),
    ([chunk(ANSWER[2]), chunk(b'data: {"error":{"message":"out of memory"}}\n\n'), b"0\r\n\r\n"], "out of memory"),
    ([chunk(b'data: {"error":{"message":"out of memory"}}\n\n'), b"0\r\n\r\n"], "out of memory"),
    ([chunk(ANSWER[2]), chunk(b"data: nonsense\n\n"), b"0\r\n\r\n"], "no chat completion"),
]


@pytest.mark.parametrize(("pieces", "words"), BROKEN)
async def test_a_stream_that_breaks(pieces: list[bytes], words: str) -> None:
    async with stage(write(SSE_HEAD, *pieces, close=True)) as scene:
        got = await scene.post("/v1/responses", ASKED)
        assert got.status == 200 and got.complete
        last = events(got.body)[-1]
        assert last["type"] == "response.failed" and words in last["response"]["error"]["message"]
        assert last["error"]["source"] == "engine" and got.body.count(b"event: response.failed") == 1
        assert b"response.completed" not in got.body and scene.at_rest()
        said = [item["content"][0]["text"] for item in last["response"]["output"] if item["status"] == "incomplete"]
        assert said == (["Grüß "] if b"Gr" in b"".join(pieces) else [])


@pytest.mark.parametrize(("pieces", "words"), BROKEN)
async def test_the_official_client_raises_what_broke(pieces: list[bytes], words: str) -> None:
    async with stage(write(SSE_HEAD, *pieces, close=True)) as scene:
        base = f"http://127.0.0.1:{scene.gateway.port}/v1"
        async with AsyncOpenAI(base_url=base, api_key="x", max_retries=0) as client:
            with pytest.raises(openai.APIError, match=words):
                async for _ in await client.responses.create(model="m", input="hello", stream=True):
                    pass


DEEP = b'{"model":"m","input":' + b"[" * 20_000 + b"]" * 20_000 + b"}"
WRONG: list[Any] = [
    b"", b"[]", b"{", b"\xff", b'{"model":"m"}', DEEP, b'{"model":"m","input":"x","metadata":' + DEEP + b"}",
    {"input": 7}, {"input": []}, {"input": None}, {"input": "x", "stream": "yes"}, {"input": "x", "tools": {}},
    {"input": "x", "previous_response_id": "resp_1"}, {"input": "x", "conversation": {"id": "c"}},
    {"input": "x", "background": True}, {"input": "x", "prompt": {"id": "p"}},
    {"input": "x", "tools": [{"type": "function"}]}, {"input": "x", "tool_choice": "any"},
    {"input": "x", "tool_choice": "required"}, {"input": "x", "tool_choice": {"type": "function", "name": "nobody"}},
    {"input": "x", "tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search"}},
    {"input": "x", "tools": [{"type": "function", "name": "f", "parameters": [1]}]},
    {"input": "x", "text": {"format": {"type": "json_schema", "name": "n"}}},
    {"input": "x", "text": {"format": {"type": "grammar"}}}, {"input": "x", "reasoning": {"effort": "heroic"}},
    {"input": "x", "max_output_tokens": "many"}, {"input": "x", "chat_template_kwargs": 7},
    {"input": [{"role": "nobody", "content": "x"}]}, {"input": [{"role": "user"}]}, {"input": ["x"]},
    {"input": [{"type": "item_reference", "id": "msg_1"}]}, {"input": [{"type": "computer_call", "call_id": "1"}]},
    {"input": [{"type": "function_call", "name": "f"}]},
    {"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]},
    *({"input": [{"role": "user", "content": [part]}]} for part in (
        {"type": "input_image", "image_url": "file:///etc/passwd"}, {"type": "input_image", "file_id": "f"},
        {"type": "input_image", "image_url": "data:text/html;base64,AAAA"}, {"type": "input_video", "url": "x"},
        {"type": "input_file", "file_url": "http://x/y"}, {"type": "input_audio"},
        {"type": "input_file", "file_data": "data:application/pdf;base64,AAAA"},
        {"type": "input_file", "file_data": "data:text/plain;base64,/w=="},
    )),
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_body_that_is_wrong_costs_no_lease(wrong: Any) -> None:
    body = wrong if isinstance(wrong, bytes) else {"model": "m", **wrong}
    async with stage() as scene:
        for path in ("/v1/responses", "/v1/responses/input_tokens"):
            got = await scene.post(path, body)
            assert got.status == 400 and not scene.upstream.heard, got.body
            error = got.json()["error"]
            assert (error["type"], error["code"], error["source"]) == ("invalid_request_error", "bad_request", "corral")
            assert error["message"]


async def test_a_thousand_tools_and_a_huge_image() -> None:
    tools = [{"type": "function", "name": f"f{number}", "parameters": {"type": "object"}} for number in range(1000)]
    image = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 4_000_000, "detail": "auto"}
    asked = {**ASKED, "tools": [*tools, {"type": "web_search"}], "input": [{"role": "user", "content": [image]}]}
    async with stage(streamed(*ANSWER)) as scene:
        got = await scene.post("/v1/responses", asked)
        assert len(events(got.body)[-1]["response"]["tools"]) == 1000
        sent = json.loads(scene.upstream.heard[0].body)
        assert len(sent["tools"]) == 1000 and sent["messages"][0]["content"][0]["type"] == "image_url"


async def test_functions_in_a_namespace() -> None:
    """Offered by both names in one, called by both apart, as the official client has them."""
    inner = {"type": "function", "name": "add", "parameters": {"type": "object"}, "strict": None}
    tools = [{"type": "namespace", "name": "sums", "description": "Sums.", "tools": [inner]}]
    said = [piece(tool_calls=[{"index": 0, "id": "c1", "function": {"name": "sums__add", "arguments": "{}"}}])]
    async with stage(streamed(*said, *ANSWER[-3:])) as scene:
        got = await scene.post("/v1/responses", {**ASKED, "tools": tools})
        response = Response.model_validate(events(got.body)[-1]["response"])
        call = response.output[0]
        assert call.type == "function_call" and (call.namespace, call.name) == ("sums", "add")
        tool = response.tools[0]
        assert tool.type == "namespace" and [each.name for each in tool.tools] == ["add"]
        assert json.loads(scene.upstream.heard[0].body)["tools"][0]["function"]["name"] == "sums__add"


async def test_null_says_nothing_and_what_was_read_goes_before_what_is_passed_on() -> None:
    """Items that clients kept come back with every field that they know, most of them null."""
    nothing = dict.fromkeys(("id", "status", "role", "name", "call_id", "arguments", "output", "content", "summary"))
    items = [
        {**nothing, "type": None, "role": "user", "content": [{"type": "input_text", "text": "x", "refusal": None}]},
        {**nothing, "type": "reasoning", "summary": [{"type": "summary_text", "text": None}]},
        {**nothing, "type": "function_call", "name": "f", "call_id": "c"},
        {**nothing, "type": "function_call_output", "call_id": "c", "output": "y"},
    ]
    schema = {"type": "json_schema", "name": "n", "schema": {"type": "object"}}
    asked = {**ASKED, "input": items, "text": {"format": schema}, "messages": [], "response_format": {}, "top_k": 3}
    async with stage(streamed(*ANSWER)) as scene:
        got = await scene.post("/v1/responses", asked)
        assert events(got.body)[-1]["type"] == "response.completed"
        sent = json.loads(scene.upstream.heard[0].body)
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        assert sent["messages"] == [
            {"role": "user", "content": "x"}, {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "name": "f", "content": "y"},
        ]  # fmt: skip
        assert sent["response_format"]["json_schema"]["name"] == "n" and sent["top_k"] == 3


async def test_counting() -> None:
    async with stage(say({"input_tokens": 12, "object": "x"})) as scene:
        got = await scene.post("/responses/input_tokens", {"model": "m", "input": "hello"})
        assert got.json() == {"object": "response.input_tokens", "input_tokens": 12}
        assert scene.upstream.heard[0].line == "POST /v1/chat/completions/input_tokens HTTP/1.1"
    async with stage(say({"error": {"message": "File Not Found"}}, status="404 Not Found")) as scene:
        assert (await scene.post("/responses/input_tokens", {"model": "m", "input": "hello"})).status == 501
