"""What an engine says -> the events of a message: always in Anthropic's order, whatever comes and however it is cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.dialects.anthropic.answers import MessageWriter
from corral.domain.chat import Counts, Delta, Finished, Reason, TextDelta, ThinkingDelta, ToolCallDelta
from tests.messages import events, message

TEXT = st.text(min_size=1, max_size=6)
CALLS = st.integers(1, 3).flatmap(
    lambda count: st.tuples(*(st.lists(TEXT, max_size=3).map(list) for _ in range(count)))
)
SHOWN = st.lists(TEXT.map(TextDelta) | TEXT.map(ThinkingDelta), max_size=6)


def call_deltas(calls: tuple[list[str], ...]) -> list[Delta]:
    out: list[Delta] = []
    for index, pieces in enumerate(calls):
        out.append(ToolCallDelta(index, f"c{index}", "name"))
        out += [ToolCallDelta(index, arguments=piece) for piece in pieces]
    return out


def told(writer: MessageWriter, groups: list[list[Delta]]) -> dict[str, Any]:
    return message(b"".join([*(writer.stream(group) for group in groups), writer.end()]))


@settings(max_examples=200, deadline=None, database=None)
@given(SHOWN, CALLS | st.just(()), st.data())
def test_any_answer_is_a_proper_message(shown: list[Delta], calls: tuple[list[str], ...], data: st.DataObject) -> None:
    deltas = [*shown, *call_deltas(calls), Finished(Reason.STOP), Counts(9, 4, 2)]
    cuts = sorted(data.draw(st.sets(st.integers(0, len(deltas)))))
    groups = [deltas[at:until] for at, until in zip([0, *cuts], [*cuts, len(deltas)], strict=True)]
    made = told(MessageWriter("m", "msg_1"), groups)
    whole = json.loads(MessageWriter("m", "msg_1").whole(deltas))

    def words(found: dict[str, Any], kind: str) -> str:
        return "".join(block[kind] for block in found["content"] if block["type"] == kind)

    for kind, delta in (("text", TextDelta), ("thinking", ThinkingDelta)):
        said = "".join(each.text for each in deltas if isinstance(each, delta))
        assert words(made, kind) == words(whole, kind) == said
    for found in (made, whole):
        assert [block["id"] for block in found["content"] if block["type"] == "tool_use"] == [
            f"c{index}" for index in range(len(calls))
        ]
        assert found["stop_reason"] == ("tool_use" if calls else "end_turn")
        assert found["usage"] == {
            "input_tokens": 7, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 2, "output_tokens": 4,
        }  # fmt: skip


def test_blocks_follow_each_other_in_the_order_of_what_was_said() -> None:
    """And each begins with its field, empty."""
    deltas: list[Delta] = [
        TextDelta("a"), ThinkingDelta("b"), TextDelta("c"), ThinkingDelta("d"), ToolCallDelta(0, "1", "f", "{}"),
        Finished(Reason.STOP),
    ]  # fmt: skip
    writer = MessageWriter("m", "msg_1")
    found = events(b"".join([writer.stream(deltas), writer.end()]))
    began = [each["content_block"] for each in found if each["type"] == "content_block_start"]
    empty: dict[str, dict[str, Any]] = {
        "text": {"type": "text", "text": ""},
        "thinking": {"type": "thinking", "thinking": "", "signature": ""},
        "tool_use": {"type": "tool_use", "id": "1", "name": "f", "input": {}},
    }
    assert began == [empty[kind] for kind in ("text", "thinking", "text", "thinking", "tool_use")]
    assert [each["index"] for each in found if each["type"] == "content_block_stop"] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("reason", "calls", "told"), [
    (Reason.STOP, 0, "end_turn"), (Reason.STOP, 1, "tool_use"), (Reason.TOOL_CALLS, 1, "tool_use"),
    (Reason.LENGTH, 0, "max_tokens"), (Reason.LENGTH, 1, "max_tokens"), (Reason.FILTERED, 0, "refusal"),
])  # fmt: skip
def test_why_it_ended(reason: Reason, calls: int, told: str) -> None:
    deltas: list[Delta] = [*(ToolCallDelta(index, "c", "a", "{}") for index in range(calls)), Finished(reason)]
    assert json.loads(MessageWriter("m", "msg_x").whole(deltas))["stop_reason"] == told


def test_an_answer_without_a_word() -> None:
    made = told(MessageWriter("m", "msg_1"), [[Finished(Reason.STOP)]])
    assert (made["content"], made["stop_reason"]) == ([], "end_turn")


def test_the_prompt_is_counted_before_the_first_word() -> None:
    """The message begins with its first word all the same: until then another engine may be asked."""
    writer = MessageWriter("m", "msg_1")
    assert writer.stream([Counts(9, None, 2)]) == b""
    began = events(writer.stream([TextDelta("a")]))
    assert [each["type"] for each in began[:2]] == ["message_start", "ping"]
    assert began[0]["message"]["usage"]["input_tokens"] == 7


def test_a_call_without_an_id_gets_one() -> None:
    deltas: list[Delta] = [ToolCallDelta(0, "", "a"), ToolCallDelta(1, "", "b"), Finished(Reason.TOOL_CALLS)]
    for found in (told(MessageWriter("m", "msg_x"), [deltas]), json.loads(MessageWriter("m", "msg_x").whole(deltas))):
        assert [block["id"] for block in found["content"]] == ["toolu_x_0", "toolu_x_1"]


def test_arguments_that_are_no_object() -> None:
    for text in ("[1]", "{", "nonsense"):
        deltas: list[Delta] = [ToolCallDelta(0, "c", "a", text), Finished(Reason.LENGTH)]
        found = json.loads(MessageWriter("m", "msg_x").whole(deltas))
        assert found["content"][0]["input"] == {"arguments": text}
        assert found["stop_reason"] == "max_tokens"


def test_a_call_that_goes_on_after_another_has_begun() -> None:
    """Blocks follow each other, so it cannot be told; what came before it is."""
    writer = MessageWriter("m", "msg_1")
    out = writer.stream([TextDelta("a"), ToolCallDelta(0, "c", "a"), ToolCallDelta(1, "d", "b"), ToolCallDelta(0)])
    assert writer.failure is not None
    assert [each["type"] for each in events(out)].count("content_block_start") == 3
