"""
The blocks that messages are made of, as parts of a chat.

Every kind has its own fields, checked when it is read; one that is not known here is an error with its place and not
silently nothing. What is Anthropic's own and means nothing to other engines (cache_control, citations, signatures) is
passed over.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import Final

import msgspec

from corral.domain.chat import Media, MediaKind, Part, Text, Thinking, ToolCall, ToolResult
from corral.domain.errors import BadRequest

_LOOK: Final = 24  # base64 characters: 18 bytes
_MAGIC: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
)


class Base64(msgspec.Struct, tag_field="type", tag="base64"):
    """Data that comes along."""

    data: str
    media_type: str = ""


class Url(msgspec.Struct, tag_field="type", tag="url"):
    """Data that the engine may fetch."""

    url: str


class File(msgspec.Struct, tag_field="type", tag="file"):
    """A file that was uploaded to Anthropic."""


class PlainText(msgspec.Struct, tag_field="type", tag="text"):
    """A document of plain text."""

    data: str


class TextBlock(msgspec.Struct, tag_field="type", tag="text"):
    """Text."""

    text: str


class ImageBlock(msgspec.Struct, tag_field="type", tag="image"):
    """An image."""

    source: Base64 | Url | File


class Content(msgspec.Struct, tag_field="type", tag="content"):
    """A document in blocks."""

    content: str | list[TextBlock | ImageBlock]


class DocumentBlock(msgspec.Struct, tag_field="type", tag="document"):
    """A document."""

    source: PlainText | Content | Base64 | Url | File
    title: str | None = None
    context: str | None = None


class SearchBlock(msgspec.Struct, tag_field="type", tag="search_result"):
    """Something that was found, to be cited."""

    source: str
    title: str
    content: list[TextBlock]


class ThinkingBlock(msgspec.Struct, tag_field="type", tag="thinking"):
    """What the model thought."""

    thinking: str


class RedactedBlock(msgspec.Struct, tag_field="type", tag="redacted_thinking"):
    """What a model of Anthropic's thought and only it can read."""


class ServerCallBlock(msgspec.Struct, tag_field="type", tag="server_tool_use"):
    """A call that Anthropic answered by itself. What came of it is in the model's words that follow."""


class ServerSearchBlock(msgspec.Struct, tag_field="type", tag="web_search_tool_result"):
    """The answer, sealed for models of Anthropic's."""


class ToolUseBlock(msgspec.Struct, tag_field="type", tag="tool_use"):
    """A call of the model."""

    id: str
    name: str
    input: msgspec.Raw


class ReferenceBlock(msgspec.Struct, tag_field="type", tag="tool_reference"):
    """The name of a tool that a search for tools has found."""

    tool_name: str


Shown = TextBlock | ImageBlock | DocumentBlock | SearchBlock


class ToolResultBlock(msgspec.Struct, tag_field="type", tag="tool_result"):
    """What came of a call."""

    tool_use_id: str
    content: str | list[Shown | ReferenceBlock] | None = None
    is_error: bool | None = None


PassedOver = RedactedBlock | ServerCallBlock | ServerSearchBlock
Block = Shown | ThinkingBlock | PassedOver | ToolUseBlock | ToolResultBlock


def parts_of(block: Block | ReferenceBlock, where: str) -> list[Part]:
    """What this block is. Raises BadRequest."""
    if isinstance(block, TextBlock):
        return [Text(block.text)] if block.text else []
    if isinstance(block, ImageBlock):
        return [_image(block, where)]
    if isinstance(block, DocumentBlock):
        return _document(block, where)
    if isinstance(block, SearchBlock):
        found = "\n".join(each.text for each in block.content)
        return [Text(f"{block.title}\n{block.source}\n{found}")]
    if isinstance(block, ThinkingBlock):
        return [Thinking(block.thinking)] if block.thinking else []
    if isinstance(block, ToolUseBlock):
        return [_call(block, where)]
    if isinstance(block, ToolResultBlock):
        return [_result(block, where)]
    return [Text(block.tool_name)] if isinstance(block, ReferenceBlock) else []


def joined(parts: list[Part]) -> list[Part]:
    """Blocks of text that follow each other as one, a line each: templates of many models know only one text."""
    out: list[Part] = []
    for part in parts:
        last = out[-1] if out else None
        if isinstance(part, Text) and isinstance(last, Text):
            out[-1] = Text(f"{last.text}\n{part.text}")
        else:
            out.append(part)
    return out


def _image(block: ImageBlock, where: str) -> Media:
    source = block.source
    if isinstance(source, Url):
        if not source.url.startswith(("https://", "http://", "data:image/")):
            raise BadRequest(f"{where}.source.url: this is no address of an image.")
        return Media(MediaKind.IMAGE, url=source.url)
    if isinstance(source, File):
        raise BadRequest(f"{where}.source: there are no uploaded files here; send the image as base64.")
    try:
        begin = b64decode(source.data[:_LOOK], validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(f"{where}.source.data: this is not base64.") from None
    if not source.data.isascii() or len(source.data) % 4:
        raise BadRequest(f"{where}.source.data: this is not base64.")
    for magic, media_type in _MAGIC:
        if begin.startswith(magic):
            return Media(MediaKind.IMAGE, media_type, source.data)
    raise BadRequest(f"{where}.source.data: this is no PNG, JPEG, GIF or WebP image.")


def _document(block: DocumentBlock, where: str) -> list[Part]:
    source = block.source
    head = "\n".join(each for each in (block.title, block.context) if each)
    parts: list[Part] = [Text(head)] if head else []
    if isinstance(source, PlainText):
        return joined([*parts, Text(source.data)])
    if not isinstance(source, Content):
        raise BadRequest(f"{where}.source: only documents of plain text can be read here; send the text of this one.")
    inner = [TextBlock(source.content)] if isinstance(source.content, str) else source.content
    for place, each in enumerate(inner):
        parts += parts_of(each, f"{where}.source.content.{place}")
    return joined(parts)


def _call(block: ToolUseBlock, where: str) -> ToolCall:
    text = bytes(block.input).decode()
    if not text.startswith("{"):
        raise BadRequest(f"{where}.input: this must be an object.")
    return ToolCall(block.id, block.name, text)


def _result(block: ToolResultBlock, where: str) -> ToolResult:
    inner = [TextBlock(block.content)] if isinstance(block.content, str) else block.content or ()
    parts: list[Part] = []
    for place, each in enumerate(inner):
        parts += parts_of(each, f"{where}.content.{place}")
    if block.is_error:
        parts.insert(0, Text("Error:"))  # no other dialect has a flag for it, and the model shall know
    return ToolResult(block.tool_use_id, tuple(part for part in joined(parts) if isinstance(part, (Text, Media))))
