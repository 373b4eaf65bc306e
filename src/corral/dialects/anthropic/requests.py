"""
Reading the bodies of /v1/messages and /v1/messages/count_tokens into a ChatRequest.

Types are held as strictly as Anthropic holds them, unknown fields and versions never refused. Tools that Anthropic
runs or describes itself (web_search, bash, ...) cannot be had here and are an error: a model would never learn of them.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, NamedTuple

import msgspec

from corral.dialects.anthropic import blocks
from corral.dialects.anthropic.errors import NoThreads
from corral.domain.bodies import decoded
from corral.domain.chat import (
    ChatRequest,
    Choice,
    Format,
    Message,
    Part,
    Role,
    Text,
    Think,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from corral.domain.errors import BadRequest

BILLING: Final = "x-anthropic-billing-header:"
"""
A line that Claude Code begins its system prompt with. It changes with every request, so that with it no request would
find the prefix of the last one in the engine's cache; it tells the model nothing.
"""


class _Message(msgspec.Struct):
    role: Literal["user", "assistant", "system"]
    content: str | list[blocks.Block]


class _Tool(msgspec.Struct):
    name: str = ""
    type: str | None = None
    description: str | None = None
    input_schema: msgspec.Raw = msgspec.Raw()
    strict: bool | None = None


class _Auto(msgspec.Struct, tag_field="type", tag="auto"):
    disable_parallel_tool_use: bool | None = None


class _Any(msgspec.Struct, tag_field="type", tag="any"):
    disable_parallel_tool_use: bool | None = None


class _Named(msgspec.Struct, tag_field="type", tag="tool"):
    name: str
    disable_parallel_tool_use: bool | None = None


class _None(msgspec.Struct, tag_field="type", tag="none"):
    disable_parallel_tool_use: bool | None = None


class _Thinking(msgspec.Struct):
    type: Literal["enabled", "disabled", "adaptive", "between_tools"]
    budget_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    display: str | None = None


class _JsonFormat(msgspec.Struct, tag_field="type", tag="json_schema"):
    schema: msgspec.Raw


class _Output(msgspec.Struct):
    effort: str | None = None
    format: _JsonFormat | None = None


class _Count(msgspec.Struct, kw_only=True):
    messages: list[_Message]
    system: str | list[blocks.TextBlock] | None = None
    tools: list[_Tool] | None = None
    tool_choice: _Auto | _Any | _Named | _None | None = None
    thinking: _Thinking | None = None
    output_config: _Output | None = None
    output_format: _JsonFormat | None = None
    thread: msgspec.Raw = msgspec.Raw()
    mcp_servers: list[msgspec.Raw] | None = None
    compaction: msgspec.Raw = msgspec.Raw()


class _Create(_Count, kw_only=True):
    max_tokens: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None


_count = msgspec.json.Decoder(_Count).decode
_create = msgspec.json.Decoder(_Create).decode
_EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")
_NULL: Final = (b"", b"null")
_SAMPLING: Final = ("temperature", "top_p", "top_k")


class Asked(NamedTuple):
    """
    What was asked. `hides_thinking`: thinking blocks come without their text; `silent`: the prompt alone is wanted, to
    be in the cache.
    """

    chat: ChatRequest
    hides_thinking: bool = False
    silent: bool = False


def messages(body: bytes) -> Asked:
    """The body of /v1/messages. Raises BadRequest."""
    asked = decoded(_create, body)
    chat = _chat(asked)
    for place, sequence in enumerate(asked.stop_sequences or ()):
        if not sequence:
            raise BadRequest(f"stop_sequences.{place}: it is empty, and every answer would end before it begins.")
    extra = dict(chat.extra)
    extra.update((name, value) for name in _SAMPLING if (value := getattr(asked, name)) is not None)
    chat = msgspec.structs.replace(
        chat,
        stream=bool(asked.stream),
        max_tokens=max(1, asked.max_tokens),
        stop=tuple(asked.stop_sequences or ()),
        extra=extra,
    )
    hides = asked.thinking is not None and asked.thinking.display == "omitted"
    return Asked(chat, hides_thinking=hides, silent=asked.max_tokens == 0)


def count(body: bytes) -> ChatRequest:
    """The body of /v1/messages/count_tokens. Raises BadRequest."""
    return _chat(decoded(_count, body))


def _chat(asked: _Count) -> ChatRequest:
    _refuse(asked)
    if not asked.messages:
        raise BadRequest("messages: there must be at least one.")
    tools = tuple(_tool(each, place) for place, each in enumerate(asked.tools or ()))
    output = asked.output_config or _Output()
    form = output.format or asked.output_format
    choice = asked.tool_choice
    return ChatRequest(
        messages=(*_system(asked.system), *_messages(asked.messages)),
        tools=tools,
        tool_choice=_choice(asked, {tool.name for tool in tools}),
        parallel_tool_calls=False if choice is not None and choice.disable_parallel_tool_use else None,
        format=_format(form),
        think=_think(asked.thinking, output.effort),
        extra={"reasoning_effort": output.effort} if output.effort and asked.thinking is None else {},
    )


def _refuse(asked: _Count) -> None:
    """What would make the answer another one than is waited for, were it passed over."""
    if bytes(asked.thread) not in _NULL:
        raise NoThreads("thread: conversations are not held here; send all messages, and no `thread`.")
    if asked.mcp_servers:
        raise BadRequest("mcp_servers: no server is asked for its tools here; send them as `tools`.")
    if bytes(asked.compaction) not in _NULL:
        raise BadRequest("compaction: conversations are not made shorter here; ask for a summary in a message.")


def _format(given: _JsonFormat | None) -> Format | None:
    if given is None:
        return None
    if not bytes(given.schema).startswith(b"{"):
        raise BadRequest("output_config.format.schema: this must be an object.")
    return Format(given.schema)


def _system(given: str | list[blocks.TextBlock] | None) -> tuple[Message, ...]:
    texts = [given] if isinstance(given, str) else [each.text for each in given or ()]
    text = "\n".join(kept for each in texts if (kept := _without_billing(each)))
    return (Message(Role.SYSTEM, (Text(text),)),) if text else ()


def _without_billing(text: str) -> str:
    return text.partition("\n")[2].lstrip("\n") if text.startswith(BILLING) else text


def _messages(given: list[_Message]) -> list[Message]:
    out: list[Message] = []
    calls: dict[str, str] = {}  # id -> name
    for number, each in enumerate(given):
        where = f"messages.{number}.content"
        if isinstance(each.content, str):
            out.append(Message(Role(each.role), (Text(each.content),)))
            continue
        shown: list[Part] = []
        for place, block in enumerate(each.content):
            for part in blocks.parts_of(block, f"{where}.{place}"):
                _check_place(part, each.role, f"{where}.{place}", calls)
                if isinstance(part, ToolResult):
                    named = msgspec.structs.replace(part, name=calls[part.call_id])  # some templates want the name
                    out.append(Message(Role.TOOL, (named,)))
                else:
                    shown.append(part)
        if shown or not any(isinstance(block, blocks.ToolResultBlock) for block in each.content):
            out.append(Message(Role(each.role), tuple(blocks.joined(shown))))
    return out


def _check_place(part: Part, role: str, where: str, calls: dict[str, str]) -> None:
    """A call is the model's, a result the user's, and belongs to a call that was made before it."""
    if isinstance(part, ToolCall):
        if role != "assistant":
            raise BadRequest(f"{where}: only the assistant can use tools.")
        calls[part.id] = part.name
    elif isinstance(part, ToolResult):
        if role != "user":
            raise BadRequest(f"{where}: a tool_result is for a message of the user.")
        if part.call_id not in calls:
            raise BadRequest(f"{where}.tool_use_id: no tool_use before it has the id {part.call_id[:80]!r}.")


def _tool(tool: _Tool, place: int) -> Tool:
    schema = bytes(tool.input_schema)
    if not schema or not tool.name:
        raise BadRequest(
            f"tools.{place}.{'name' if schema else 'input_schema'}: it is missing.",
            hint="Tools that Anthropic runs or describes itself cannot be had here."
            if tool.type not in (None, "custom")
            else "",
        )
    if not schema.startswith(b"{"):
        raise BadRequest(f"tools.{place}.input_schema: this must be an object.")
    return Tool(tool.name, tool.description, msgspec.Raw(schema), tool.strict)


def _choice(asked: _Count, names: set[str]) -> ToolChoice | None:
    choice = asked.tool_choice
    if choice is None:
        return None
    if isinstance(choice, _Auto):
        return ToolChoice(Choice.AUTO)
    if isinstance(choice, _None):
        return ToolChoice(Choice.NONE)
    if not names:
        raise BadRequest("tool_choice: it wants a tool, and there are no tools.")
    if isinstance(choice, _Any):
        return ToolChoice(Choice.REQUIRED)
    if choice.name not in names:
        raise BadRequest(f"tool_choice.name: there is no tool {choice.name[:80]!r} among the tools.")
    return ToolChoice(Choice.NAMED, choice.name)


def _think(given: _Thinking | None, effort: str | None) -> Think | None:
    if effort is not None and effort not in _EFFORTS:
        raise BadRequest(f"output_config.effort is one of {', '.join(_EFFORTS)}.")
    if given is None:
        return None
    if given.type == "disabled":
        return Think(False)
    if given.type == "enabled" and given.budget_tokens is None:
        raise BadRequest("thinking.budget_tokens: it is missing.")
    return Think(True, effort, given.budget_tokens if given.type == "enabled" else None)
