"""Conversations of /v1/responses: items as turns, functions in namespaces, and what comes back of an answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from corral.dialects.openai.requests import encode
from corral.dialects.openai.responses_answers import ResponseWriter
from corral.dialects.openai.responses_requests import ResponseRequest, response
from corral.domain.chat import Delta, Finished, Reason, TextDelta, ThinkingDelta, ToolCallDelta
from corral.domain.errors import BadRequest

PIXEL = "data:image/png;base64,iVBORw0KGgoAAAAA"


def read(**fields: Any) -> ResponseRequest:
    return response(json.dumps({"model": "m", "input": "hi", **fields}).encode())


def sent(**fields: Any) -> dict[str, Any]:
    """As llama.cpp gets it."""
    made: dict[str, Any] = json.loads(encode(read(**fields).chat, "m", extensions=True))
    return made


def turns(*items: dict[str, Any]) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = sent(input=[user("go"), *items])["messages"]
    assert said[0] == {"role": "user", "content": "go"}
    return said[1:]


def user(words: str) -> dict[str, Any]:
    return {"role": "user", "content": words}


def says(words: str) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": words}]}


def calls(call_id: str, name: str = "look", **more: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": '{"at":1}', **more}


def result(call_id: str, output: Any = "done") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": output}


def thinks(**fields: Any) -> dict[str, Any]:
    return {"type": "reasoning", "id": "rs_1", "summary": [], **fields}


def turn(words: str | None, *made: str, thought: str = "", name: str = "look") -> dict[str, Any]:
    """One turn of the model, as chat completions have it."""
    told: dict[str, Any] = {"role": "assistant", "content": words}
    if made:
        function = {"name": name, "arguments": '{"at":1}'}
        told["tool_calls"] = [{"id": each, "type": "function", "function": function} for each in made]
    return {**told, "reasoning_content": thought} if thought else told


def tool(call_id: str, content: Any = "done", name: str = "look") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content, "name": name}


TURNS: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "words and then a call": ([says("I look."), calls("1")], [turn("I look.", "1")]),
    "calls that follow each other": ([calls("1"), calls("2")], [turn(None, "1", "2")]),
    "a call and then words": (
        [calls("1"), says("I look."), result("1")],
        [turn("I look.", "1"), tool("1")],
    ),
    "second words": (
        [says("First."), calls("1"), calls("2"), says("Second."), calls("3")],
        [turn("First.", "1", "2"), turn("Second.", "3")],
    ),
    "empty words": (
        [thinks(content=[{"type": "reasoning_text", "text": "Hm"}]), says(""), calls("1"), says("More."), calls("2")],
        [turn(None, "1", thought="Hm"), turn("More.", "2")],
    ),
    "a thought belongs to what follows": (
        [thinks(encrypted_content="corral:Hm"), calls("1"), result("1"),
         thinks(encrypted_content="corral:So"), says("x")],
        [turn(None, "1", thought="Hm"), tool("1"), turn("x", thought="So")],
    ),
    "a thought is the last": ([thinks(encrypted_content="corral:Hm")], [turn("", thought="Hm")]),
    "a thought that others sealed": (
        [thinks(encrypted_content="gAAAA"), says("x"), user("and?"),
         thinks(encrypted_content="gAAAA", summary=[{"type": "summary_text", "text": "In short"}]), says("y")],
        [turn("x"), user("and?"), turn("y", thought="In short")],
    ),
    "a search that others made": (
        [{"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}},
         says("x"), user("and?")],
        [turn("x"), user("and?")],
    ),
    "a search within a turn": (
        [thinks(encrypted_content="corral:Hm"), {"type": "web_search_call", "id": "ws_1"}, calls("1"), result("1")],
        [turn(None, "1", thought="Hm"), tool("1")],
    ),
    "a result in parts": (
        [calls("1"), result("1", [{"type": "input_text", "text": "sun"}, {"type": "input_text", "text": "ny"}])],
        [turn(None, "1"), tool("1", "sunny")],
    ),
    "a result with an image": (
        [calls("1"), result("1", [{"type": "input_text", "text": "see"}, {"type": "input_image", "image_url": PIXEL}])],
        [turn(None, "1"),
         tool("1", [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": PIXEL}}])],
    ),
    "a call within a namespace": (
        [calls("1", namespace="crm"), result("1")],
        [turn(None, "1", name="crm__look"), tool("1", name="crm__look")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TURNS)
def test_items_become_turns(name: str) -> None:
    items, said = TURNS[name]
    assert turns(*items) == said


def function(name: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "function",
        "name": name,
        "description": f"What {name} does",
        "parameters": {"type": "object"},
        **more,
    }


CRM = {"type": "namespace", "name": "crm", "description": "Customers.", "tools": [function("find"), function("drop")]}


def names(**fields: Any) -> list[str]:
    return [each["function"]["name"] for each in sent(**fields)["tools"]]


def test_functions_of_a_namespace_are_offered_by_both_names() -> None:
    offered = sent(tools=[CRM, function("find", strict=True)])["tools"]
    assert [each["function"]["name"] for each in offered] == ["crm__find", "crm__drop", "find"]
    assert offered[0]["function"] == {
        "name": "crm__find", "description": "What find does", "parameters": {"type": "object"},
    }  # fmt: skip
    qualified = {**CRM, "tools": [function("crm.find"), function("crm__drop"), {"type": "custom", "name": "x"}]}
    assert names(tools=[qualified, {"type": "web_search"}]) == ["crm.find", "crm__drop"]
    assert names(tools=[{**CRM, "name": "mcp__crm__"}]) == ["mcp__crm__find", "mcp__crm__drop"]


def test_the_response_repeats_the_namespace() -> None:
    echo = json.loads(
        json.dumps(read(tools=[CRM, {"type": "web_search"}]).echo["tools"], default=lambda raw: json.loads(bytes(raw)))
    )
    assert [each["type"] for each in echo] == ["namespace"]
    assert echo[0]["name"] == "crm" and [each["name"] for each in echo[0]["tools"]] == ["find", "drop"]


@pytest.mark.parametrize(
    ("choice", "offered"),
    [
        ({"type": "function", "name": "drop"}, ["crm__drop"]),
        ({"type": "function", "name": "crm__drop"}, ["crm__drop"]),
        ({"type": "function", "name": "find"}, ["find"]),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "namespace", "name": "crm"}]},
         ["crm__find", "crm__drop"]),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "drop"}]}, ["crm__drop"]),
    ],
)  # fmt: skip
def test_a_choice_among_them(choice: Any, offered: list[str]) -> None:
    assert names(tools=[CRM, function("find")], tool_choice=choice) == offered


@pytest.mark.parametrize("tools", [
    [function("crm__find"), CRM], [CRM, function("crm__find")], [CRM, CRM],
    [{**CRM, "name": None}], [{**CRM, "tools": [function("")]}], [{**CRM, "tools": 7}],
    [{**CRM, "tools": [function("find", parameters=[1])]}],
])  # fmt: skip
def test_namespaces_that_are_wrong(tools: list[Any]) -> None:
    with pytest.raises(BadRequest, match="tools"):
        read(tools=tools)


def test_a_name_in_two_namespaces_must_be_said_in_full() -> None:
    tools = [CRM, {**CRM, "name": "shop"}]
    with pytest.raises(BadRequest, match="tool_choice"):
        read(tools=tools, tool_choice={"type": "function", "name": "find"})
    assert names(tools=tools, tool_choice={"type": "function", "name": "shop__find"}) == ["shop__find"]


@pytest.mark.parametrize("stream", [True, False])
def test_what_comes_back_is_understood(stream: bool) -> None:
    """A call of a namespace by both its names, and a thought of which a client sends back only what is sealed."""
    asked = read(tools=[CRM])
    writer = ResponseWriter("m", "u", asked.echo, wall=lambda: 1.0, namespaces=asked.namespaces)
    deltas: list[Delta] = [
        ThinkingDelta('H"m'), ThinkingDelta("m"), TextDelta("I drop."),
        ToolCallDelta(0, "1", "crm__drop", '{"at":1}'), ToolCallDelta(1, "2", "other", '{"at":1}'),
        Finished(Reason.STOP),
    ]  # fmt: skip
    if stream:
        told = (writer.stream(deltas) + writer.end()).decode()
        events = [json.loads(line[6:]) for line in told.splitlines() if line.startswith("data: ")]
        added = [each["item"] for each in events if each["type"] == "response.output_item.added"]
        assert "encrypted_content" not in added[0] and added[2]["namespace"] == "crm" and "namespace" not in added[3]
        done = [each["name"] for each in events if each["type"] == "response.function_call_arguments.done"]
        assert done == ["drop", "other"]
        output = events[-1]["response"]["output"]
    else:
        output = json.loads(writer.whole(deltas))["output"]
    assert (output[2]["namespace"], output[2]["name"]) == ("crm", "drop")
    kept = [
        {name: value for name, value in item.items() if item["type"] != "reasoning" or name != "content"}
        for item in output
    ]
    said = turns(*kept)
    assert [each["function"]["name"] for each in said[0]["tool_calls"]] == ["crm__drop", "other"]
    assert (said[0]["content"], said[0]["reasoning_content"]) == ("I drop.", 'H"mm')


@pytest.mark.parametrize("wrong", [
    {"input": 123}, {"input": [{"type": "unheard_of"}]}, {"input": [{"content": "x"}]}, {"input": [{"type": ""}]},
    {"input": [{"role": "user", "content": [{"type": "unheard_of"}]}]}, {"reasoning": {"effort": "ultra"}},
    {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:;base64,AAAA"}]}]},
])  # fmt: skip
def test_what_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        read(**wrong)
