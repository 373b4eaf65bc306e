"""
Where the system may speak: once, and before anybody else does.

Agents tell their rules in several messages, and more of them as the conversation goes: Claude Code after the first
words of the user. Of the models' own chat templates some raise for a system message that is not the first, some
alternate strictly between user and assistant, and some leave it out without a word. So what comes later is told with
the user's words, between tags that show that it was not the user who said it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from corral.domain.chat import Message, Role, Text

_OPEN: Final = "<system-reminder>\n"
_CLOSE: Final = "\n</system-reminder>"


def told_once(messages: Sequence[Message]) -> list[Message]:
    """The same conversation with one system message at most, the first. What was said keeps its order."""
    places = [place for place, message in enumerate(messages) if message.role is Role.SYSTEM]
    if not places or places == [0]:
        return list(messages)
    first = next((place for place, message in enumerate(messages) if message.role is not Role.SYSTEM), len(messages))
    rules = [_text(message) for message in messages[:first]]
    out = [Message(Role.SYSTEM, (Text("\n\n".join(rules)),))] if rules else []
    reminded = False  # the last message ends with a reminder: the user's next words go on from there
    for message in messages[first:]:
        reminder = message.role is Role.SYSTEM
        parts = (Text(f"{_OPEN}{_text(message)}{_CLOSE}"),) if reminder else message.parts
        role = Role.USER if reminder else message.role
        if role is Role.USER and out and out[-1].role is Role.USER and (reminder or reminded):
            out[-1] = Message(Role.USER, (*out[-1].parts, Text("\n\n"), *parts))
        else:
            out.append(Message(role, parts))
        reminded = reminder
    return out


def _text(message: Message) -> str:
    return "".join(part.text for part in message.parts if isinstance(part, Text))
