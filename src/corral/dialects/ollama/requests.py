"""
Reading the bodies of /api/chat.

A field that is null says nothing: clients in languages that have null write what they leave out.

Ollama's calls have an object as arguments and, in the older form, no ids: a result names its tool, and belongs to the
first call of that tool that has none yet.
"""

from __future__ import annotations

from typing import Any

import msgspec

from corral.dialects.ollama.abilities import TEXT, check, media_needs
from corral.dialects.ollama.fields import (
    Generating,
    Staying,
    format_of,
    logprobs_of,
    staying,
    think_of,
)
from corral.dialects.ollama.media import media
from corral.dialects.ollama.options import options_of
from corral.domain.bodies import decoded
from corral.domain.chat import (
    ChatRequest,
    Media,
    Message,
    Part,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from corral.domain.errors import BadRequest
from corral.domain.facts import ModelFacts


class _Function(msgspec.Struct):
    name: str
    arguments: msgspec.Raw = msgspec.Raw()


class _Call(msgspec.Struct):
    function: _Function
    id: str | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[_Call] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class _ToolFunction(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: msgspec.Raw = msgspec.Raw()


class _Tool(msgspec.Struct):
    function: _ToolFunction
    type: str | None = None


class _Chat(Generating):
    messages: list[_Message] | None = None
    tools: list[_Tool] | None = None


_chat = msgspec.json.Decoder(_Chat).decode
_text = msgspec.json.Decoder(str).decode


def chat(body: bytes, model: str, facts: ModelFacts) -> tuple[ChatRequest | None, Staying]:
    """No request where there are no messages: then the Model is only to be loaded. Raises BadRequest."""
    asked = decoded(_chat, body)
    stays = staying(asked)
    if not asked.messages:
        return None, stays
    options = options_of(asked.options, context_tokens=facts.context_tokens)
    request = ChatRequest(
        messages=_messages(asked.messages),
        stream=asked.stream is not False,
        tools=tuple(_tool(each) for each in asked.tools or ()),
        format=format_of(asked.format),
        think=think_of(asked.think, facts),
        max_tokens=options.max_tokens,
        stop=options.stop,
        forgets=asked.truncate is not False,
        extra={**options.extra, **told_logprobs(logprobs_of(asked))},
    )
    check_chat(request, model, facts, "chat")
    return request, stays


def told_logprobs(most: int | None) -> dict[str, Any]:
    """As chats ask for them."""
    if most is None:
        return {}
    return {"logprobs": True, "top_logprobs": most} if most else {"logprobs": True}


def check_chat(request: ChatRequest, model: str, facts: ModelFacts, what: str) -> None:
    """Raises Lacking where its Model cannot do it."""
    parts = [part for message in request.messages for part in message.parts]
    parts += [shown for part in parts if isinstance(part, ToolResult) for shown in part.parts]
    needs = media_needs(part for part in parts if isinstance(part, Media))
    if request.tools:
        needs.add("tools")
    if request.think is not None and request.think.enabled:
        needs.add("reasoning")
    check(model, facts, what, task=TEXT, needs=sorted(needs))


def _tool(tool: _Tool) -> Tool:
    if tool.type not in ("function", "", None):
        raise BadRequest(f"A tool has the type `function`, not {tool.type[:50]!r}.")
    parameters = tool.function.parameters
    said = bytes(parameters).strip() not in (b"", b"null")
    return Tool(tool.function.name, tool.function.description, parameters if said else None)


def _messages(given: list[_Message]) -> tuple[Message, ...]:
    open_calls: list[ToolCall] = []
    messages: list[Message] = []
    for number, each in enumerate(given):
        try:
            role = Role(each.role.lower())
        except ValueError:
            raise BadRequest(
                f"messages[{number}].role is system, user, assistant or tool, not {each.role[:50]!r}."
            ) from None
        if role is Role.TOOL:
            messages.append(_result(each, open_calls, f"messages[{number}].images"))
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
    return ToolCall(call.id or own_id, call.function.name, _arguments(call.function))


def _arguments(function: _Function) -> str:
    """An object; as OpenAI's clients write it, in a text, too."""
    text = bytes(function.arguments).strip()
    if text in (b"", b"null"):
        return "{}"
    if text.startswith(b"{"):
        return text.decode()
    if text.startswith(b'"'):
        return decoded(_text, text)
    raise BadRequest(f"The arguments of a call of {function.name[:50]!r} are no object.")


def _result(message: _Message, open_calls: list[ToolCall], where: str) -> Message:
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
    call_id = found.id if found is not None else message.tool_call_id or ""
    name = found.name if found is not None else message.tool_name or ""
    shown = tuple(media(image, where) for image in message.images or ())
    return Message(Role.TOOL, (ToolResult(call_id, (Text(message.content or ""), *shown), name),))
