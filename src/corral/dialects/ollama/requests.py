"""
Reading the bodies of /api/chat into a ChatRequest.

Ollama's calls have an object as arguments and, in the older form, no ids: a result names its tool, and belongs to the
first call of that tool that has none yet.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from corral.dialects.ollama.media import media
from corral.dialects.ollama.options import Options
from corral.domain.chat import (
    ChatRequest,
    Format,
    Message,
    Part,
    Role,
    Text,
    Think,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from corral.domain.errors import BadRequest


class _Function(msgspec.Struct):
    name: str
    arguments: dict[str, Any] | str | None = None


class _Call(msgspec.Struct):
    function: _Function
    id: str = ""


class _Message(msgspec.Struct):
    role: str
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[_Call] | None = None
    tool_name: str = ""
    tool_call_id: str = ""


class _ToolFunction(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: msgspec.Raw = msgspec.Raw()


class _Tool(msgspec.Struct):
    function: _ToolFunction
    type: str = "function"


class _Chat(msgspec.Struct):
    model: str = ""
    messages: list[_Message] | None = None
    stream: bool | None = None
    format: msgspec.Raw = msgspec.Raw()
    keep_alive: str | int | float | None = None
    tools: list[_Tool] | None = None
    options: Options | None = None
    think: bool | str | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None


_chat = msgspec.json.Decoder(_Chat).decode
_EFFORTS: Final = ("low", "medium", "high", "max")


def chat(body: bytes) -> ChatRequest:
    """Raises BadRequest."""
    try:
        asked = _chat(body)
    except msgspec.ValidationError as error:
        raise BadRequest(f"The request body is wrong: {error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"The request body is not valid JSON: {error}.") from None
    options = asked.options or Options()
    extra = options.sampling()
    if asked.logprobs:
        extra["logprobs"] = True
        if asked.top_logprobs:
            extra["top_logprobs"] = asked.top_logprobs
    return ChatRequest(
        messages=_messages(asked.messages or []),
        stream=asked.stream is not False,
        tools=tuple(_tool(each) for each in asked.tools or ()),
        format=format_of(asked.format),
        think=think_of(asked.think),
        max_tokens=options.max_tokens(),
        stop=options.stops(),
        extra=extra,
    )


def format_of(given: msgspec.Raw) -> Format | None:
    """`"json"`, a JSON schema, or nothing said. Raises BadRequest."""
    text = bytes(given).strip()
    if text in (b"", b"null", b'""'):
        return None
    if text == b'"json"':
        return Format()
    if text.startswith(b"{"):
        return Format(msgspec.Raw(text))
    raise BadRequest('`format` is "json" or a JSON schema.')


def think_of(given: bool | str | None) -> Think | None:
    """True, false, an effort, or nothing said. Raises BadRequest."""
    if given is None or given == "":
        return None
    if isinstance(given, bool):
        return Think(given)
    if given not in _EFFORTS:
        raise BadRequest(f"`think` is true, false, or one of {', '.join(_EFFORTS)}.")
    return Think(True, effort=given)


def _tool(tool: _Tool) -> Tool:
    if tool.type != "function":
        raise BadRequest(f"A tool has the type `function`, not {tool.type[:50]!r}.")
    return Tool(tool.function.name, tool.function.description, tool.function.parameters or None)


def _messages(given: list[_Message]) -> tuple[Message, ...]:
    open_calls: list[ToolCall] = []
    messages: list[Message] = []
    for number, each in enumerate(given):
        try:
            role = Role(each.role)
        except ValueError:
            raise BadRequest(
                f"messages[{number}].role is system, user, assistant or tool, not {each.role[:50]!r}."
            ) from None
        if role is Role.TOOL:
            messages.append(_result(each, open_calls))
            continue
        parts: list[Part] = []
        if each.thinking:
            parts.append(Thinking(each.thinking))
        if each.content:
            parts.append(Text(each.content))
        parts += [media(image, f"messages[{number}].images") for image in each.images or ()]
        for place, call in enumerate(each.tool_calls or ()):
            made = _call(call, f"call_{number}_{place}")
            open_calls.append(made)
            parts.append(made)
        messages.append(Message(role, tuple(parts)))
    return tuple(messages)


def _call(call: _Call, own_id: str) -> ToolCall:
    arguments = call.function.arguments
    text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments or {}).decode()
    return ToolCall(call.id or own_id, call.function.name, text)


def _result(message: _Message, open_calls: list[ToolCall]) -> Message:
    found = next(
        (
            call
            for call in open_calls
            if (call.id == message.tool_call_id if message.tool_call_id else call.name == message.tool_name)
        ),
        None,
    )
    if found is None and not message.tool_call_id and not message.tool_name and open_calls:
        found = open_calls[0]  # the oldest clients name nothing: results come in the order of the calls
    if found is not None:
        open_calls.remove(found)
    call_id = found.id if found is not None else message.tool_call_id
    name = found.name if found is not None else message.tool_name
    return Message(Role.TOOL, (ToolResult(call_id, (Text(message.content or ""),), name),))
