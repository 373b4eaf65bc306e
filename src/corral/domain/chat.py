"""
One chat, in nobody's dialect: what was asked, and what comes of it piece by piece.

Dialects meet here. A client's request is decoded into a `ChatRequest` and encoded for the engine; the engine's answer
is decoded into `Delta`s and encoded for the client. What only one dialect knows goes along in `extra`, under the name
that OpenAI-speaking engines give it. None always means "not said", never a default: zero is a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

# --- what was asked ---------------------------------------------------------------------------------------------------


class Role(StrEnum):
    """Who speaks. `tool` messages hold one ToolResult each."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class Text(msgspec.Struct, frozen=True, gc=False):
    """Plain text."""

    text: str


class MediaKind(StrEnum):
    """What a Media part is."""

    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"


class Media(msgspec.Struct, frozen=True, gc=False):
    """An image, sound or film: `data` is base64 with its `media_type` (image/png), else `url` says where it is."""

    kind: MediaKind
    media_type: str = ""
    data: str = ""
    url: str = ""


class Thinking(msgspec.Struct, frozen=True, gc=False):
    """What the model thought in an earlier turn."""

    text: str


class ToolCall(msgspec.Struct, frozen=True, gc=False):
    """A call that the model made in an earlier turn; `arguments` is the text of a JSON object."""

    id: str
    name: str
    arguments: str


class ToolResult(msgspec.Struct, frozen=True):
    """What a tool gave back for the call with this id."""

    call_id: str
    parts: tuple[Text | Media, ...]
    name: str = ""


Part = Text | Media | Thinking | ToolCall | ToolResult


class Message(msgspec.Struct, frozen=True):
    """One turn."""

    role: Role
    parts: tuple[Part, ...]


class Tool(msgspec.Struct, frozen=True):
    """A function that the model may call; `parameters` is its JSON schema, as text."""

    name: str
    description: str | None = None
    parameters: msgspec.Raw | None = None
    strict: bool | None = None


class Choice(StrEnum):
    """Whether the model has to call a tool."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"
    NAMED = "named"


class ToolChoice(msgspec.Struct, frozen=True, gc=False):
    """`name` with Choice.NAMED alone."""

    choice: Choice
    name: str = ""


class Format(msgspec.Struct, frozen=True):
    """The answer is JSON: any object, or (`schema`) one that this JSON schema describes."""

    schema: msgspec.Raw | None = None
    name: str = "answer"


class Think(msgspec.Struct, frozen=True, gc=False):
    """
    Whether the model thinks before it answers.

    `effort` (low, medium, high, max) and `budget_tokens` bound how much; each None where the client did not say.
    """

    enabled: bool
    effort: str | None = None
    budget_tokens: int | None = None


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """
    One request for the next turn of a chat. `extra` are fields for the engine, by their OpenAI names. `forgets`: where
    all of it is too long, what was said first may be left out.
    """

    messages: tuple[Message, ...]
    stream: bool = False
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    format: Format | None = None
    think: Think | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    forgets: bool = False
    extra: Mapping[str, Any] = {}


# --- what comes of it -------------------------------------------------------------------------------------------------


class TextDelta(msgspec.Struct, frozen=True, gc=False):
    """A piece of the answer."""

    text: str


class ThinkingDelta(msgspec.Struct, frozen=True, gc=False):
    """A piece of what the model thinks."""

    text: str


class ToolCallDelta(msgspec.Struct, frozen=True, gc=False):
    """A piece of a call. `index` tells calls apart; `id` and `name` come with its first piece."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


class LogProbs(msgspec.Struct, frozen=True):
    """Log probabilities of the tokens just given, as OpenAI writes their list."""

    content: msgspec.Raw


class Reason(StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    FILTERED = "content_filter"


class Finished(msgspec.Struct, frozen=True, gc=False):
    """The answer is complete. `stop_sequence` is the client's own that ended it, where the engine says so."""

    reason: Reason
    stop_sequence: str | None = None


class Counts(msgspec.Struct, frozen=True, gc=False):
    """Tokens: `prompt` all of them, `cached` those of the prompt that needed no work. None: the engine did not say."""

    prompt: int | None = None
    completion: int | None = None
    cached: int | None = None


class Timings(msgspec.Struct, frozen=True, gc=False):
    """Seconds that the engine measured; `own` is all that it says of them, in its words."""

    prompt_s: float | None = None
    completion_s: float | None = None
    own: Mapping[str, Any] = {}


Delta = TextDelta | ThinkingDelta | ToolCallDelta | LogProbs | Finished | Counts | Timings
