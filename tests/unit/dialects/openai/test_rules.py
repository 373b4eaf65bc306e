"""Chat templates take one system message, the first: what the system says later goes with the user's words."""

from __future__ import annotations

import msgspec
import pytest

from corral.dialects.openai.requests import encode
from corral.domain.chat import ChatRequest, Media, MediaKind, Message, Role, Text, ToolCall, ToolResult

TAGGED = "<system-reminder>\n{}\n</system-reminder>"
ROLES = {"s": Role.SYSTEM, "u": Role.USER, "a": Role.ASSISTANT}


def written(*messages: Message) -> list[tuple[str, object]]:
    body = msgspec.json.decode(encode(ChatRequest(messages=messages), "m", extensions=True))
    return [(each["role"], each["content"]) for each in body["messages"]]


def said(*turns: str) -> list[tuple[str, object]]:
    """Turns like `u:hello` as they are written: `u` user, `a` assistant, `s` system."""
    return written(*(Message(ROLES[turn[0]], (Text(turn[2:]),)) for turn in turns))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("s:A", "u:q"), [("system", "A"), ("user", "q")]),
        (("s:A", "s:B", "u:q"), [("system", "A\n\nB"), ("user", "q")]),
        (("s:A", "u:q", "s:B"), [("system", "A"), ("user", f"q\n\n{TAGGED.format('B')}")]),
        (("u:q", "s:B", "s:C"), [("user", f"q\n\n{TAGGED.format('B')}\n\n{TAGGED.format('C')}")]),
        (
            ("u:q", "a:x", "s:B", "u:r"),
            [("user", "q"), ("assistant", "x"), ("user", f"{TAGGED.format('B')}\n\nr")],
        ),
        (("u:q", "a:x", "s:B"), [("user", "q"), ("assistant", "x"), ("user", TAGGED.format("B"))]),
        (("u:q", "s:B", "u:r"), [("user", f"q\n\n{TAGGED.format('B')}\n\nr")]),
        (("u:q", "u:r"), [("user", "q"), ("user", "r")]),
        (("s:A",), [("system", "A")]),
        (("s:A", "s:B"), [("system", "A\n\nB")]),
    ],
)
def test_what_the_system_says_later_is_told_with_the_users_words(
    given: tuple[str, ...], expected: list[tuple[str, object]]
) -> None:
    assert said(*given) == expected


def test_pictures_and_results_of_tools_stay_where_they_are() -> None:
    picture = Media(MediaKind.IMAGE, url="https://example.org/a.png")
    *_, (role, content) = written(Message(Role.USER, (picture,)), Message(Role.SYSTEM, (Text("B"),)))
    assert role == "user" and isinstance(content, list)
    assert [each["type"] for each in content] == ["image_url", "text", "text"]
    assert content[-1]["text"] == TAGGED.format("B")
    call, result = ToolCall("1", "f", "{}"), ToolResult("1", (Text("done"),), "f")
    turns = written(
        Message(Role.USER, (Text("q"),)),
        Message(Role.ASSISTANT, (call,)),
        Message(Role.TOOL, (result,)),
        Message(Role.SYSTEM, (Text("B"),)),
    )
    assert [role for role, _ in turns] == ["user", "assistant", "tool", "user"]
    assert turns[-1] == ("user", TAGGED.format("B"))
