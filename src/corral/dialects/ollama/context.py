"""
`context` of /api/generate: a conversation as a list of numbers, which its client sends back with the next prompt.

Ollama calls it an encoding of the conversation, and clients look at it no closer. Here it is the turns themselves as
JSON, two bytes a number, so that it goes with every engine and is told in the Model's own template: nothing is held
between requests. Tokens of another server are none of ours, and are known by the two numbers before the turns.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Final

import msgspec

from corral.domain.chat import Message, Role, Text
from corral.domain.errors import BadRequest

LONGEST_BYTES: Final = 512 * 1024
"""A longer conversation is not told: its client may send it to /api/chat."""

_MARK: Final = 0xC0A1
_WORD: Final = 2
_turns = msgspec.json.Decoder(list[tuple[Role, str]]).decode


def told(turns: Sequence[Message], answer: str) -> list[int] | None:
    """These turns and the answer to them; of their parts the texts. None for what is too long."""
    said = [(turn.role, text_of(turn)) for turn in turns]
    data = msgspec.json.encode([*said, (Role.ASSISTANT, answer)])
    if len(data) > LONGEST_BYTES:
        return None
    data += b" " * (len(data) % _WORD)
    return [_MARK, _check(data), *struct.unpack(f"<{len(data) // _WORD}H", data)]


def turns_of(context: Sequence[int]) -> tuple[Message, ...]:
    """What `told` made it of. Raises BadRequest."""
    try:
        mark, check, *words = context
        data = struct.pack(f"<{len(words)}H", *words)
        if mark != _MARK or check != _check(data):
            raise _foreign()
        return tuple(Message(role, (Text(text),)) for role, text in _turns(data))
    except (struct.error, ValueError, msgspec.DecodeError):
        raise _foreign() from None


def text_of(turn: Message) -> str:
    """Its words."""
    return "".join(part.text for part in turn.parts if isinstance(part, Text))


def _check(data: bytes) -> int:
    return zlib.crc32(data) & 0xFFFF


def _foreign() -> BadRequest:
    return BadRequest(
        "`context` is none that was given here: its numbers may be the tokens of another server.",
        hint="Begin without it, or send the conversation to /api/chat.",
    )
