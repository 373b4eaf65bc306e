"""
Where clients and engines of /v1/chat/completions use other words for the same, and everything else passes untouched.

    requests   for llama.cpp, measured at b11434: a named `tool_choice` counts as `required`, `allowed_tools` as
               `required` of all, a schema that is not within `json_schema` as none, and `reasoning`, `thinking` and
               `enable_thinking` are passed over, as are earlier thoughts under the name `reasoning`
    answers    thoughts have both names, `reasoning_content` and `reasoning`: each client reads one
    errors     what the client asked wrongly is a 400 and no 500, which official clients send again and again
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from corral.dialects.openai.mistakes import TYPE, is_mistake
from corral.domain.bodies import UNREADABLE, unreadable
from corral.domain.errors import BadRequest

THOUGHT: Final = b'"reasoning'
"""What is in every chunk with a thought, under either name, and in hardly any other."""

REQUESTS: Final = ("tool_choice", "response_format", "reasoning", "thinking", "enable_thinking")
"""The fields that `for_llama` looks at: `tool_choice` where it is no word, the others wherever they are."""

REPLAYED: Final = "reasoning"
"""The field of a message with an earlier thought: the name that some clients read, and send back."""
_REPLAYED_KEY: Final = b'"reasoning"'

_NULL: Final = (b"", b"null")
_EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_failure = msgspec.json.Decoder(dict[str, dict[str, Any]]).decode


# --- requests ---------------------------------------------------------------------------------------------------------


class _Name(msgspec.Struct):
    name: str = ""


class _Tool(msgspec.Struct):
    type: str = "function"
    name: str = ""
    function: _Name | None = None


class _Allowed(msgspec.Struct):
    mode: str = "auto"
    tools: list[_Tool] = []


class _Choice(_Tool):
    mode: str = "auto"
    tools: list[_Tool] = []
    allowed_tools: _Allowed | None = None


class _Format(msgspec.Struct):
    type: str = ""
    schema: msgspec.Raw = msgspec.Raw()
    json_schema: msgspec.Raw = msgspec.Raw()


class _Reasoning(msgspec.Struct):
    effort: str | None = None
    enabled: bool | None = None
    max_tokens: int | None = None


class _Thinking(msgspec.Struct):
    type: str = ""
    budget_tokens: int | None = None


def for_llama(body: bytes) -> bytes:
    """The body as llama.cpp understands it, the same one where nothing needs mending. Raises BadRequest."""
    try:
        fields = _fields(body)
        mended = {**_tools(fields), **_format(fields), **_thinking(fields), **_earlier_thoughts(fields)}
    except UNREADABLE as error:
        raise unreadable(error) from None
    return msgspec.json.encode({**fields, **mended}) if mended else body


def _said(fields: dict[str, msgspec.Raw], name: str) -> bytes:
    text = bytes(fields.get(name, b""))
    return b"" if text in _NULL else text


def _tools(fields: dict[str, msgspec.Raw]) -> dict[str, Any]:
    """Only the tools that may be called are offered: that is all that binds the model to them."""
    said = _said(fields, "tool_choice")
    if not said.startswith(b"{"):
        return {}
    choice = msgspec.json.decode(said, type=_Choice)
    if choice.type == "function":
        names, mode = {_name(choice)}, "required"
    elif choice.type == "allowed_tools":
        allowed = choice.allowed_tools or _Allowed(choice.mode, choice.tools)
        names, mode = {_name(tool) for tool in allowed.tools}, allowed.mode
    else:
        return {}
    offered = msgspec.json.decode(_said(fields, "tools") or b"[]", type=list[msgspec.Raw])
    kept = [tool for tool in offered if _name(msgspec.json.decode(tool, type=_Tool)) in names]
    if not kept:
        raise BadRequest(f"`tool_choice` names {', '.join(sorted(names))[:200]!r}, which is none of `tools`.")
    return {"tools": kept, "tool_choice": mode}


def _name(tool: _Tool) -> str:
    return tool.function.name if tool.function is not None else tool.name


def _format(fields: dict[str, msgspec.Raw]) -> dict[str, Any]:
    said = _said(fields, "response_format")
    if not said.startswith(b"{"):
        return {}
    wanted = msgspec.json.decode(said, type=_Format)
    if wanted.type != "json_schema" or bytes(wanted.json_schema) not in _NULL or bytes(wanted.schema) in _NULL:
        return {}
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": wanted.schema}}}


def _thinking(fields: dict[str, msgspec.Raw]) -> dict[str, Any]:
    """What the client says in llama.cpp's own words goes before all others."""
    enabled, effort, budget = _thinking_of(fields)
    mended: dict[str, Any] = {}
    kwargs = _said(fields, "chat_template_kwargs")
    if enabled is not None:
        own = msgspec.json.decode(kwargs or b"{}", type=dict[str, msgspec.Raw])
        mended["chat_template_kwargs"] = {"enable_thinking": enabled, **own}
        effort = effort if enabled else "none"
    if effort is not None and not _said(fields, "reasoning_effort"):
        mended["reasoning_effort"] = effort
    if budget is not None and not _said(fields, "thinking_budget_tokens"):
        mended["thinking_budget_tokens"] = budget
    return mended


def _thinking_of(fields: dict[str, msgspec.Raw]) -> tuple[bool | None, str | None, int | None]:
    """Whether, how hard, and for how many tokens."""
    enabled, effort, budget = None, None, None
    flag = _said(fields, "enable_thinking")
    if flag in (b"true", b"false"):
        enabled = flag == b"true"
    said = _said(fields, "thinking")
    if said.startswith(b"{"):
        thinking = msgspec.json.decode(said, type=_Thinking)
        if thinking.type in ("enabled", "disabled"):
            enabled = thinking.type == "enabled"
        budget = thinking.budget_tokens
    said = _said(fields, "reasoning")
    if said.startswith(b"{"):
        reasoning = msgspec.json.decode(said, type=_Reasoning)
        if reasoning.effort is not None and reasoning.effort not in _EFFORTS:
            raise BadRequest(f"`reasoning.effort` is one of {', '.join(_EFFORTS)}.")
        effort, budget = reasoning.effort, reasoning.max_tokens if budget is None else budget
        if reasoning.enabled is not None or effort == "none":
            enabled = reasoning.enabled is not False and effort != "none"
    return enabled, effort, budget


def _earlier_thoughts(fields: dict[str, msgspec.Raw]) -> dict[str, Any]:
    said = _said(fields, "messages")
    if _REPLAYED_KEY not in said or not said.startswith(b"["):
        return {}
    messages = [bytes(each) for each in msgspec.json.decode(said, type=list[msgspec.Raw])]
    mended = [_in_llama_s_name(each) if _REPLAYED_KEY in each else each for each in messages]
    return {"messages": [msgspec.Raw(each) for each in mended]} if mended != messages else {}


def _in_llama_s_name(message: bytes) -> bytes:
    more = _missing(message)
    return message[:-1] + more + b"}" if more.startswith(b',"reasoning_content"') else message


# --- answers ----------------------------------------------------------------------------------------------------------


class _Thoughts(msgspec.Struct, gc=False):
    reasoning_content: msgspec.Raw = msgspec.Raw()
    reasoning: msgspec.Raw = msgspec.Raw()


class _Said(msgspec.Struct, gc=False):
    delta: msgspec.Raw = msgspec.Raw()
    message: msgspec.Raw = msgspec.Raw()


class _Answer(msgspec.Struct, gc=False):
    choices: list[_Said] | None = None


_answer = msgspec.json.Decoder(_Answer).decode
_thoughts = msgspec.json.Decoder(_Thoughts).decode


def both_names(events: bytes) -> bytes:
    """Of whole events those lines are written anew that have a thought under one name; all others stay as they are."""
    lines = events.split(b"\n")
    for place, line in enumerate(lines):
        if THOUGHT in line and line.startswith(b"data:"):
            lines[place] = b"data:" + in_both_names(line[5:])
    return b"\n".join(lines)


def in_both_names(answer: bytes) -> bytes:
    """The same of one chunk, or one whole answer; as it is where it is no such thing."""
    try:
        choices = _answer(answer).choices or ()
        since = 0
        for choice in choices:
            for said in (choice.delta, choice.message):
                more = _missing(bytes(said)) if said else b""
                if more:
                    end = answer.index(bytes(said), since) + len(said) - 1
                    answer = answer[:end] + more + answer[end:]
                    since = end
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    return answer


def error(status: int, body: bytes) -> tuple[int, bytes]:
    """The status and body of an engine's error: as they are, but where it takes the client's mistake for its own."""
    if not is_mistake(status, body.decode("utf-8", "replace")):
        return status, body
    try:
        told = _failure(body)
    except (msgspec.MsgspecError, RecursionError):
        return 400, body
    told["error"] = {**told.get("error", {}), "code": 400, "type": TYPE}
    return 400, msgspec.json.encode(told)


def _missing(said: bytes) -> bytes:
    """The other name and the same thought, to be put before the closing brace: the last of two keys counts."""
    if THOUGHT not in said or not said.startswith(b"{"):
        return b""
    found = _thoughts(said)
    one, other = bytes(found.reasoning_content), bytes(found.reasoning)
    if one.startswith(b'"') and other in _NULL:
        return b',"reasoning":' + one
    if other.startswith(b'"') and one in _NULL:
        return b',"reasoning_content":' + other
    return b""
