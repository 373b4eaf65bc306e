"""
Writing a ChatRequest as the body of /v1/chat/completions.

`chat_template_kwargs` and `thinking_budget_tokens` are what local engines read to turn thinking on and off; an engine
that does not take such fields gets `reasoning_effort` alone, which is OpenAI's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from corral.dialects.openai.rules import told_once
from corral.domain.chat import (
    ChatRequest,
    Choice,
    Format,
    Media,
    MediaKind,
    Message,
    Part,
    Role,
    Text,
    Think,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)

CHAT: Final = b"/v1/chat/completions"
COUNT: Final = b"/v1/chat/completions/input_tokens"
EARLY_COUNTS: Final[dict[str, Any]] = {"return_progress": True}
"""Asked of llama.cpp: a stream tells the size of its prompt before the first word."""
STOP_WORD: Final[dict[str, Any]] = {"verbose": True, "response_fields": ["stopping_word"]}
"""Asked of llama.cpp: which of the stop sequences it was."""


def encode(request: ChatRequest, model: str, *, extensions: bool) -> bytes:
    """The body; `extensions`: the engine takes llama.cpp's own fields."""
    fields: dict[str, Any] = {"model": model, "messages": [_message(each) for each in told_once(request.messages)]}
    if request.stream:
        fields["stream"] = True
        fields["stream_options"] = {"include_usage": True}
    if request.tools:
        _tools(request, fields, extensions=extensions)
    if request.parallel_tool_calls is not None and request.tools:
        fields["parallel_tool_calls"] = request.parallel_tool_calls
    if request.format is not None:
        fields["response_format"] = _format(request.format)
    if request.max_tokens is not None:
        fields["max_tokens"] = request.max_tokens
    if request.stop:
        fields["stop"] = list(request.stop)
    fields = {**request.extra, **fields}  # what was read goes before what was only passed on
    if request.think is not None:
        _think(request.think, fields, extensions=extensions)
    return msgspec.json.encode(fields)


def _message(message: Message) -> dict[str, Any]:
    if message.role is Role.TOOL:
        return _tool_message(message)
    fields: dict[str, Any] = {"role": message.role.value}
    calls, thoughts, shown = [], [], []
    for part in message.parts:
        if isinstance(part, ToolCall):
            function = {"name": part.name, "arguments": part.arguments}
            calls.append({"id": part.id, "type": "function", "function": function})
        elif isinstance(part, Thinking):
            thoughts.append(part.text)
        else:
            shown.append(part)
    fields["content"] = _content(shown)
    if calls:
        fields["tool_calls"] = calls
        fields["content"] = fields["content"] or None
    if thoughts:
        fields["reasoning_content"] = "".join(thoughts)
    return fields


def _tool_message(message: Message) -> dict[str, Any]:
    result = next(part for part in message.parts if isinstance(part, ToolResult))
    fields: dict[str, Any] = {"role": "tool", "tool_call_id": result.call_id, "content": _content(result.parts)}
    if result.name:
        fields["name"] = result.name
    return fields


def _content(parts: Sequence[Part]) -> str | list[dict[str, Any]]:
    """A string where it is text alone: templates of many models know nothing else."""
    if all(isinstance(part, Text) for part in parts):
        return "".join(part.text for part in parts if isinstance(part, Text))
    return [_part(part) for part in parts]


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    assert isinstance(part, Media)
    if part.kind is MediaKind.AUDIO:
        return {"type": "input_audio", "input_audio": {"data": part.data, "format": part.media_type.partition("/")[2]}}
    url = part.url or f"data:{part.media_type};base64,{part.data}"
    kind = "image_url" if part.kind is MediaKind.IMAGE else "input_video"
    return {"type": kind, kind: {"url": url}}


def _tools(request: ChatRequest, fields: dict[str, Any], *, extensions: bool) -> None:
    """llama.cpp takes a named tool for any: it is offered that one alone, and has to call it."""
    tools, choice = request.tools, request.tool_choice
    if extensions and choice is not None and choice.choice is Choice.NAMED:
        tools = tuple(each for each in tools if each.name == choice.name)
        choice = ToolChoice(Choice.REQUIRED)
    fields["tools"] = [_tool(each) for each in tools]
    if choice is not None:
        fields["tool_choice"] = _choice(choice)


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    for key in ("description", "parameters", "strict"):
        value = getattr(tool, key)
        if value is not None:
            function[key] = value
    return {"type": "function", "function": function}


def _choice(choice: ToolChoice) -> object:
    if choice.choice is Choice.NAMED:
        return {"type": "function", "function": {"name": choice.name}}
    return choice.choice.value


def _format(wanted: Format) -> dict[str, Any]:
    if wanted.schema is None:
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": wanted.name, "schema": wanted.schema}}


def _think(think: Think, fields: dict[str, Any], *, extensions: bool) -> None:
    if extensions:
        kwargs = {"enable_thinking": think.enabled, **fields.get("chat_template_kwargs", {})}
        if think.effort is not None:
            kwargs.setdefault("reasoning_effort", think.effort)
        fields["chat_template_kwargs"] = kwargs
        if think.budget_tokens is not None:
            fields["thinking_budget_tokens"] = think.budget_tokens
    if not think.enabled:
        fields["reasoning_effort"] = "none"
    elif think.effort is not None:
        fields["reasoning_effort"] = think.effort
