"""Chats that pass untouched but for what clients and engines call by other names (dialects/openai/mends)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from corral.engines.llamacpp.requests import OWN_FIELDS
from tests.paths.relay_kit import CHAT, SSE_HEAD, answer, chunk, say, stage, write
from tests.paths.test_translated import END, piece

NAMES = ("reasoning_content", "reasoning")
ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "stream": True}


def deltas(body: bytes) -> list[dict[str, Any]]:
    found = [json.loads(line[5:]) for line in body.splitlines() if line.startswith(b"data: {")]
    return [each["choices"][0]["delta"] for each in found if each["choices"]]


@pytest.mark.parametrize("name", NAMES)
async def test_thoughts_of_a_stream_have_both_names_however_it_is_cut(name: str) -> None:
    said = [piece(role="assistant", content=None), piece(**{name: "Grüß \\"}), piece(content='"reasoning": "x"'), *END]
    whole = b"".join(said)
    for at in range(1, len(whole), 11):
        parts = [chunk(whole[:at]), chunk(whole[at:])]
        async with stage(write(SSE_HEAD, *parts, b"0\r\n\r\n")) as scene:
            got = await scene.post(CHAT, ASKED)
            assert deltas(got.body)[1] == dict.fromkeys(NAMES, "Grüß \\"), at
            assert got.body.startswith(said[0]) and got.body.endswith(b"".join(said[2:]))
            record = await scene.record.one()
            assert record.ttft_s is not None and record.completion_tokens == 3  # a thought is a first token


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pieces", [1, 2, 3, 50])
async def test_thoughts_of_a_whole_answer_have_both_names(name: str, pieces: int) -> None:
    message = {"role": "assistant", "content": '"reasoning": "x"', name: "Hm " * 1000}
    usage = {"prompt_tokens": 7, "completion_tokens": 3}
    raw = answer(json.dumps({"choices": [{"message": message}], "usage": usage}).encode())
    step = len(raw) // pieces + 1
    script = write(*(raw[at : at + step] for at in range(0, len(raw), step)), pause_s=0.001)
    async with stage(script) as scene:
        got = await scene.post(CHAT, {**ASKED, "stream": False})
        assert got.json()["choices"][0]["message"] == {**message, **dict.fromkeys(NAMES, "Hm " * 1000)}
        assert int(got.headers["content-length"]) == len(got.body)
        record = await scene.record.one()
        assert (record.prompt_tokens, record.completion_tokens, record.bytes_out) == (7, 3, len(got.body))
        assert scene.at_rest()


async def test_an_engine_that_dies_within_a_whole_answer() -> None:
    raw = answer(json.dumps({"choices": [{"message": {"content": "x" * 1000}}]}).encode())
    async with stage(write(raw[:-10], close=True)) as scene:
        got = await scene.post(CHAT, {**ASKED, "stream": False})
        assert (got.status, got.code) == (502, "engine_died") and scene.at_rest()


async def test_other_routes_pass_as_they_are() -> None:
    said = {"choices": [{"message": {"reasoning": "a"}}]}
    async with stage(say(said)) as scene:
        for path in ("/v1/completions", "/upstream/m/v1/chat/completions"):
            assert (await scene.post(path, ASKED)).body == json.dumps(said).encode()


TOOLS = [{"type": "function", "function": {"name": name}} for name in ("a", "b")]
ODD: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "b"}}},
     {"tools": TOOLS[1:], "tool_choice": "required"}),
    ({"reasoning": {"effort": "low"}}, {"reasoning": {"effort": "low"}, "reasoning_effort": "low"}),
    ({"messages": [{"role": "assistant", "content": "x", "reasoning": "Hm"}]},
     {"messages": [{"role": "assistant", "content": "x", "reasoning": "Hm", "reasoning_content": "Hm"}]}),
    ({"response_format": {"type": "json_schema", "schema": {"type": "object"}}},
     {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}}}),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "wanted"), ODD)
async def test_requests_are_mended_for_llama_alone(fields: dict[str, Any], wanted: dict[str, Any]) -> None:
    body = json.dumps({**ASKED, **fields}).encode()
    for speaks, heard in (("llama.cpp",), {**ASKED, **wanted}), ((), {**ASKED, **fields}):
        async with stage(say({"choices": []}), own_fields=OWN_FIELDS, speaks=speaks) as scene:
            assert (await scene.post(CHAT, body)).status == 200
            sent = scene.upstream.heard[0].body
            assert json.loads(sent) == heard and (speaks or sent == body)


async def test_a_tool_that_is_not_there_costs_no_lease() -> None:
    body = {**ASKED, "tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "nobody"}}}
    async with stage(own_fields=OWN_FIELDS) as scene:
        got = await scene.post(CHAT, body)
        assert got.status == 400 and "nobody" in got.json()["error"]["message"] and not scene.upstream.heard
