"""
Reading the bodies of /v1/responses into a ChatRequest.

Nothing is kept between requests: what leads to an earlier one (`previous_response_id`, `conversation`, items by their
id, `background`) is refused with words. Tools that a server would have to run itself are not offered to the model; a
request that insists on one is refused. The functions of a namespace are offered by one name of both: in that way Codex
has the tools of an MCP server. What this API does not know goes to the engine as it is (`top_k`, `seed`, ...).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from corral.dialects.openai.responses_items import Item, messages, within
from corral.domain.bodies import UNREADABLE, unreadable
from corral.domain.chat import ChatRequest, Choice, Format, Think, Tool, ToolChoice
from corral.domain.errors import BadRequest

LOGPROBS: Final = "message.output_text.logprobs"
_EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_REFUSED: Final = {
    "previous_response_id": "Responses are not kept here: send the whole conversation as `input`",
    "conversation": "Conversations are not kept here: send the whole conversation as `input`",
    "prompt": "Prompts are not kept here: send it as `instructions` and `input`",
}


class _Tool(msgspec.Struct):
    type: str
    name: str | None = None
    description: str | None = None
    parameters: msgspec.Raw = msgspec.Raw()
    strict: bool | None = None
    tools: list[_Tool] | None = None  # of a namespace


class _Chosen(msgspec.Struct):
    type: str
    name: str = ""
    mode: str = "auto"
    tools: list[_Tool] | None = None


class _Format(msgspec.Struct):
    type: str
    name: str = "answer"
    schema: msgspec.Raw = msgspec.Raw()


class _TextOptions(msgspec.Struct):
    format: _Format | None = None


class _Reasoning(msgspec.Struct):
    effort: str | None = None
    summary: str | None = None


class _Asked(msgspec.Struct):
    model: str | None = None
    input: str | list[Item] | None = None
    instructions: str | None = None
    stream: bool | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | _Chosen | None = None
    parallel_tool_calls: bool | None = None
    text: _TextOptions | None = None
    reasoning: _Reasoning | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: int | None = None
    include: list[str] | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None
    background: bool | None = None


_DROPPED: Final = frozenset(_Asked.__struct_fields__) | {
    "store", "truncation", "service_tier", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options",
    "safety_identifier", "max_tool_calls", "stream_options", "client_metadata", "context_management", "moderation",
    *_REFUSED,
}  # fmt: skip
_asked = msgspec.json.Decoder(_Asked).decode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class ResponseRequest(NamedTuple):
    """
    What is asked of the model, and what the response says of its request.

    `namespaces` has the namespace and the name of those functions that the model knows by one name of both.
    """

    chat: ChatRequest
    echo: dict[str, Any]
    namespaces: dict[str, tuple[str, str]]


def response(body: bytes) -> ResponseRequest:
    """Raises BadRequest."""
    try:
        asked, fields = _asked(body), _fields(body)
    except UNREADABLE as error:
        raise unreadable(error) from None
    _refuse(asked, fields)
    tools, choice = _offered(asked)
    chat = ChatRequest(
        messages=messages(asked.instructions, _items(asked.input)),
        stream=bool(asked.stream),
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=asked.parallel_tool_calls,
        format=_format(asked.text),
        think=_think(asked.reasoning),
        max_tokens=asked.max_output_tokens,
        extra=_extra(asked, fields),
    )
    return ResponseRequest(chat, _echo(asked, fields), _namespaces(asked.tools or ()))


def _refuse(asked: _Asked, fields: dict[str, msgspec.Raw]) -> None:
    for name, words in _REFUSED.items():
        if bytes(fields.get(name, b"null")) != b"null":
            raise BadRequest(f"{words}; `{name}` cannot be answered.")
    if asked.background:
        raise BadRequest("Responses are not kept here, so there is no `background` to answer in.")


def _items(given: str | list[Item] | None) -> list[Item]:
    if isinstance(given, str):
        return [Item(role="user", content=given)]
    if not given:
        raise BadRequest("`input` is missing or empty: there is nothing to answer.")
    return given


def _offered(asked: _Asked) -> tuple[tuple[Tool, ...], ToolChoice | None]:
    tools = _functions(asked.tools or (), "tools")
    chosen = asked.tool_choice
    if chosen is None or chosen == "":
        return tuple(tools), None
    names = {tool.name for tool in tools}
    if isinstance(chosen, _Chosen):
        if chosen.type == "function" and chosen.name in names:
            return tuple(tools), ToolChoice(Choice.NAMED, chosen.name)
        if chosen.type != "allowed_tools":
            words = f"`{chosen.name[:100] or chosen.type[:50]}`"
            raise BadRequest(f"`tool_choice` wants {words}, which is none of the functions in `tools`.")
        allowed = {each.name for each in chosen.tools or ()}
        tools, chosen = [tool for tool in tools if tool.name in allowed], chosen.mode
    if chosen not in (Choice.AUTO, Choice.NONE, Choice.REQUIRED):
        raise BadRequest(f"`tool_choice` is auto, none, required, or names a function, not {chosen[:50]!r}.")
    if chosen == Choice.REQUIRED and not tools:
        raise BadRequest("`tool_choice` wants a call, and `tools` has no function that could be called.")
    return tuple(tools), ToolChoice(Choice(chosen))


def _functions(given: Sequence[_Tool], where: str, namespace: str | None = None) -> list[Tool]:
    """Those among the tools that a client runs."""
    out = []
    for number, tool in enumerate(given):
        place = f"{where}[{number}]"
        if tool.type not in ("function", "namespace"):
            continue
        if not tool.name:
            raise BadRequest(f"{place} is a {tool.type} and wants a `name`.")
        if tool.type == "function":
            parameters = _object(tool.parameters, f"{place}.parameters")
            out.append(Tool(within(namespace, tool.name), tool.description, parameters, tool.strict))
        elif namespace is None:
            out += _functions(tool.tools or (), f"{place}.tools", tool.name)
    return out


def _namespaces(given: Sequence[_Tool]) -> dict[str, tuple[str, str]]:
    return {
        within(space.name, tool.name or ""): (space.name or "", tool.name or "")
        for space in given
        if space.type == "namespace"
        for tool in space.tools or ()
        if tool.type == "function"
    }


def _object(given: msgspec.Raw, where: str) -> msgspec.Raw | None:
    text = bytes(given).strip()
    if text in (b"", b"null"):
        return None
    if not text.startswith(b"{"):
        raise BadRequest(f"{where} is a JSON schema, an object.")
    return msgspec.Raw(text)


def _format(options: _TextOptions | None) -> Format | None:
    wanted = options.format if options is not None else None
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return Format()
    schema = _object(wanted.schema, "text.format.schema") if wanted.type == "json_schema" else None
    if schema is None:
        raise BadRequest("`text.format` is text, json_object, or json_schema with its `schema`.")
    return Format(schema, wanted.name)


def _think(reasoning: _Reasoning | None) -> Think | None:
    effort = reasoning.effort if reasoning is not None else None
    if effort is None:
        return None
    if effort not in _EFFORTS:
        raise BadRequest(f"`reasoning.effort` is one of {', '.join(_EFFORTS)}.")
    return Think(False) if effort == "none" else Think(True, effort)


def _extra(asked: _Asked, fields: dict[str, msgspec.Raw]) -> dict[str, Any]:
    extra: dict[str, Any] = {name: value for name, value in fields.items() if name not in _DROPPED}
    if "chat_template_kwargs" in extra:
        extra["chat_template_kwargs"] = _kwargs(extra["chat_template_kwargs"])
    for name in ("temperature", "top_p", "user"):
        value = getattr(asked, name)
        if value is not None:
            extra[name] = value
    if asked.top_logprobs or LOGPROBS in (asked.include or ()):
        extra["logprobs"] = True
        extra["top_logprobs"] = asked.top_logprobs or 0
    return extra


def _kwargs(given: msgspec.Raw) -> dict[str, Any]:
    try:
        return msgspec.json.decode(given, type=dict[str, Any])
    except msgspec.ValidationError:
        raise BadRequest("`chat_template_kwargs` is an object.") from None


def _in_one_line(given: msgspec.Raw) -> msgspec.Raw | None:
    """As it was written but for the space around its values: a line's end would be the end of an event."""
    return msgspec.Raw(msgspec.json.format(bytes(given), indent=-1)) if bytes(given) else None


def _echo(asked: _Asked, fields: dict[str, msgspec.Raw]) -> dict[str, Any]:
    """What OpenAI's own answers repeat of their request; defaults where it did not say."""

    def said(name: str, default: Any) -> Any:
        return _in_one_line(fields[name]) if bytes(fields.get(name, b"null")) != b"null" else default

    reasoning = asked.reasoning or _Reasoning()
    return {
        "instructions": asked.instructions,
        "max_output_tokens": asked.max_output_tokens,
        "metadata": asked.metadata or {},
        "parallel_tool_calls": asked.parallel_tool_calls is not False,
        "previous_response_id": None,
        "reasoning": {"effort": reasoning.effort, "summary": reasoning.summary},
        "store": False,
        "background": False,
        "temperature": asked.temperature,
        "text": said("text", {"format": {"type": "text"}}),
        "tool_choice": said("tool_choice", "auto"),
        "tools": [_repeated(each) for each in asked.tools or () if each.type in ("function", "namespace")],
        "top_p": asked.top_p,
        "truncation": "disabled",
        "user": asked.user,
    }  # fmt: skip


def _repeated(tool: _Tool) -> dict[str, Any]:
    said = {"type": tool.type, "name": tool.name, "description": tool.description}
    if tool.type == "namespace":
        return {**said, "tools": [_repeated(each) for each in tool.tools or () if each.type == "function"]}
    return {**said, "parameters": _in_one_line(tool.parameters), "strict": tool.strict}
