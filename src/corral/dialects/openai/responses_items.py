"""
The items of a response's `input` as the messages of a chat.

A model's turn comes as several items (its reasoning, its text, each of its calls) and becomes one message, as templates
know it; a reasoning item belongs to what follows it. Nothing is kept between requests, so an item must be there whole:
a thought is in its `encrypted_content` as well, for some clients send back nothing else of it.
"""

from __future__ import annotations

import binascii
import re
from typing import Final

import msgspec

from corral.dialects.openai.responses_tools import within
from corral.domain.chat import Media, MediaKind, Message, Part, Role, Text, Thinking, ToolCall, ToolResult
from corral.domain.errors import BadRequest

_ROLES: Final = {"user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM, "developer": Role.SYSTEM}
SEAL: Final = "corral:"
"""What `encrypted_content` begins with where it is a thought as it was told here; what others have sealed stays so."""
_PASSED_OVER: Final = ("web_search_call",)
"""What a server did by itself: it says only that it did. What came of it is in the words that follow."""
_TEXTS: Final = ("input_text", "output_text", "text", "reasoning_text", "summary_text")
_DATA_URL: Final = re.compile(r"data:([^;,]*)[^,]*;base64,", re.IGNORECASE)
_TEXT_TYPES: Final = ("text/", "application/json", "application/xml", "application/yaml", "application/x-yaml")


class _Audio(msgspec.Struct):
    data: str
    format: str


class _Content(msgspec.Struct):
    """One part of a message, of any kind."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    input_audio: _Audio | None = None
    file_data: str | None = None
    filename: str | None = None


class Item(msgspec.Struct):
    """One item of the input, of any kind. What a client leaves out may be null."""

    type: str | None = None
    role: str | None = None
    content: str | list[_Content] | None = None
    summary: list[_Content] | None = None
    encrypted_content: str | None = None
    call_id: str | None = None
    name: str | None = None
    namespace: str | None = None
    arguments: str | None = None
    output: str | list[_Content] | None = None


def messages(instructions: str | None, items: list[Item]) -> tuple[Message, ...]:
    """Raises BadRequest."""
    turns = _Turns()
    for number, item in enumerate(items):
        turns.take(item, f"input[{number}]")
    turns.close()
    head = [Message(Role.SYSTEM, (Text(instructions),))] if instructions else []
    return (*head, *turns.messages)


class _Turns:
    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._said: list[Part] = []  # of the model's turn that is being put together
        self._calls: dict[str, str] = {}  # id -> name

    def take(self, item: Item, where: str) -> None:
        """The next item."""
        if item.type is None or item.type == "message":
            self._message(item, where)
        elif item.type == "reasoning":
            thought = _plain(item.content) or _unsealed(item.encrypted_content) or _plain(item.summary)
            if thought:
                if any(not isinstance(part, Thinking) for part in self._said):
                    self.close()
                self._said.append(Thinking(thought))
        elif item.type == "function_call":
            if not item.name or not item.call_id:
                raise BadRequest(f"{where} is a function_call and wants `name` and `call_id`.")
            name = self._calls[item.call_id] = within(item.namespace, item.name)
            self._said.append(ToolCall(item.call_id, name, item.arguments or "{}"))
        elif item.type == "function_call_output":
            self._result(item, where)
        elif item.type == "item_reference":
            raise BadRequest(f"{where} refers to an item of before: nothing is kept, send the item itself.")
        elif item.type not in _PASSED_OVER:
            raise BadRequest(f"{where} has the type {item.type[:50]!r}, which cannot be given to a model here.")

    def close(self) -> None:
        """The model's turn is over."""
        if self._said:
            self.messages.append(Message(Role.ASSISTANT, tuple(self._said)))
            self._said = []

    def _message(self, item: Item, where: str) -> None:
        role = _ROLES.get(item.role or "")
        if role is None:
            raise BadRequest(f"{where}.role is user, assistant, system or developer, not {(item.role or '')[:50]!r}.")
        parts = _parts(item.content, f"{where}.content")
        if role is not Role.ASSISTANT:
            self.close()
            self.messages.append(Message(role, parts))
            return
        if any(isinstance(part, Text | Media) for part in self._said):
            self.close()
        self._said += parts  # words after a call are of the same turn: nothing may stand between it and its result

    def _result(self, item: Item, where: str) -> None:
        call_id = item.call_id or ""
        if call_id not in self._calls:
            raise BadRequest(f"{where} is the output of the call {call_id[:100]!r}, which the input does not have.")
        self.close()
        parts = _parts(item.output, f"{where}.output")
        self.messages.append(Message(Role.TOOL, (ToolResult(call_id, parts, self._calls[call_id]),)))


def _plain(content: str | list[_Content] | None) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.text or "" for part in content or ())


def _unsealed(sealed: str | None) -> str:
    return sealed.removeprefix(SEAL) if sealed is not None and sealed.startswith(SEAL) else ""


def _parts(content: str | list[_Content] | None, where: str) -> tuple[Text | Media, ...]:
    if content is None:
        raise BadRequest(f"{where} is missing.")
    if isinstance(content, str):
        return (Text(content),)
    return tuple(_part(part, f"{where}[{number}]") for number, part in enumerate(content))


def _part(part: _Content, where: str) -> Text | Media:
    if part.type in _TEXTS:
        return Text(part.text or "")
    if part.type == "refusal":
        return Text(part.refusal or "")
    if part.type == "input_image":
        return _image(part.image_url, where)
    if part.type == "input_audio" and part.input_audio is not None:
        return Media(MediaKind.AUDIO, f"audio/{part.input_audio.format}", part.input_audio.data)
    if part.type == "input_file":
        return _file(part, where)
    raise BadRequest(f"{where} has the type {part.type[:50]!r}, which cannot be given to a model here.")


def _image(url: str | None, where: str) -> Media:
    if url is None:
        raise BadRequest(f"{where} wants `image_url`: files that were uploaded before are not kept here.")
    head = _DATA_URL.match(url)
    if head is not None and head[1].startswith("image/"):
        return Media(MediaKind.IMAGE, head[1], url[head.end() :])
    if not url.startswith(("http://", "https://")):
        raise BadRequest(f"{where}.image_url is a data URL of an image in base64, or an http(s) URL.")
    return Media(MediaKind.IMAGE, url=url)


def _file(part: _Content, where: str) -> Media | Text:
    """An image, or text: there is nobody here who reads other files to a model."""
    head = _DATA_URL.match(part.file_data or "")
    if part.file_data is None or head is None:
        raise BadRequest(f"{where} wants `file_data`, a data URL in base64: nothing is uploaded or fetched here.")
    media_type, data = head[1].lower(), part.file_data[head.end() :]
    if media_type.startswith("image/"):
        return Media(MediaKind.IMAGE, media_type, data)
    if not media_type.startswith(_TEXT_TYPES):
        raise BadRequest(f"{where} is a file of the type {media_type[:50]!r}; images and text can be read to a model.")
    try:
        text = binascii.a2b_base64(data).decode()
    except (ValueError, UnicodeDecodeError):
        raise BadRequest(f"{where}.file_data is no text in UTF-8 and base64.") from None
    return Text(f"{part.filename}:\n\n{text}" if part.filename else text)
