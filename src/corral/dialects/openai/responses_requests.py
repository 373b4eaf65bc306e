"""
Reading the bodies of /v1/responses into a ChatRequest.

Nothing is kept between requests: what leads to an earlier one (`previous_response_id`, `conversation`, items by their
id, `background`) is refused with words. What this API does not know goes to the engine as it is (`top_k`, `seed`, ...).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from corral.dialects.openai.responses_items import Item, messages
from corral.dialects.openai.responses_tools import Chosen, GivenTool, an_object, in_one_line, offered
from corral.domain.bodies import UNREADABLE, unreadable
from corral.domain.chat import ChatRequest, Format, Think
from corral.domain.errors import BadRequest

LOGPROBS: Final = "message.output_text.logprobs"
_EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_REFUSED: Final = {
    "previous_response_id": "Responses are not kept here: send the whole conversation as `input`",
    "conversation": "Conversations are not kept here: send the whole conversation as `input`",
    "prompt": "Prompts are not kept here: send it as `instructions` and `input`",
}


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
    tools: list[GivenTool] | None = None
    tool_choice: str | Chosen | None = None
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
    """What is asked of the model, what the response says of its request, and the functions that are in namespaces."""

    chat: ChatRequest
    echo: dict[str, Any]
    namespaces: Mapping[str, tuple[str, str]]


def response(body: bytes) -> ResponseRequest:
    """Raises BadRequest."""
    try:
        asked, fields = _asked(body), _fields(body)
    except UNREADABLE as error:
        raise unreadable(error) from None
    _refuse(asked, fields)
    tools = offered(asked.tools or [], asked.tool_choice)
    chat = ChatRequest(
        messages=messages(asked.instructions, _items(asked.input)),
        stream=bool(asked.stream),
        tools=tools.tools,
        tool_choice=tools.choice,
        parallel_tool_calls=asked.parallel_tool_calls,
        format=_format(asked.text),
        think=_think(asked.reasoning),
        max_tokens=asked.max_output_tokens,
        extra=_extra(asked, fields),
    )
    return ResponseRequest(chat, _echo(asked, fields, tools.echo), tools.namespaces)


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


def _format(options: _TextOptions | None) -> Format | None:
    wanted = options.format if options is not None else None
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return Format()
    schema = an_object(wanted.schema, "text.format.schema") if wanted.type == "json_schema" else None
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


def _echo(asked: _Asked, fields: dict[str, msgspec.Raw], tools: list[dict[str, Any]]) -> dict[str, Any]:
    """What OpenAI's own answers repeat of their request; defaults where it did not say."""

    def said(name: str, default: Any) -> Any:
        return in_one_line(fields[name]) if bytes(fields.get(name, b"null")) != b"null" else default

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
        "tools": tools,
        "top_p": asked.top_p,
        "truncation": "disabled",
        "user": asked.user,
    }
