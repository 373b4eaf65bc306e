"""Events that are known again without being read mean what they would mean if they were read."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from corral.contracts.dialect import Writer
from corral.dialects.anthropic.answers import MessageWriter
from corral.dialects.ollama.answers import ChatWriter, GenerateWriter
from corral.dialects.openai.again import Again
from corral.dialects.openai.answers import ChatReader
from corral.dialects.openai.begun import BegunReader
from corral.dialects.openai.reading import EventReader
from corral.dialects.openai.responses_answers import ResponseWriter
from corral.domain.chat import TextDelta, ThinkingDelta
from corral.domain.errors import EngineProtocolError
from corral.gateway.translate import Translated

WRITERS: dict[str, Callable[[], Writer]] = {
    "messages": lambda: MessageWriter("m", "msg_1"),
    "hidden": lambda: MessageWriter("m", "msg_1", hides_thinking=True),
    "silent": lambda: MessageWriter("m", "msg_1", silent=True),
    "chat": lambda: ChatWriter("m", wall=lambda: 1.5, began=1.0),
    "generate": lambda: GenerateWriter("m", wall=lambda: 1.5, began=1.0),
    "responses": lambda: ResponseWriter("m", "1", {}, wall=lambda: 1.5),
}


def chunk(delta: dict[str, Any], **fields: Any) -> bytes:
    """As engines write it, but for what `json` escapes."""
    told = {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": None}], "model": "m", **fields}
    return b"data: %b\n\n" % json.dumps(told, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")


def text(*pieces: str) -> list[bytes]:
    return [chunk({"content": piece}) for piece in pieces]


def known(events: Sequence[bytes], reader: EventReader) -> list[bytes | None]:
    """What was known again of each, the others read."""
    found = []
    for each in events:
        again = reader.again(each)
        found.append(None if again is None else again[1])
        if again is None:
            reader.stream(each)
    return found


def test_a_stream_is_read_once() -> None:
    assert known(text("a", "b", " c\n", "é"), ChatReader()) == [None, b'"b"', b'" c\\n"', '"é"'.encode()]


def test_what_is_another_event_is_read() -> None:
    called = chunk({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]})
    events = [*text("a", "b", ""), *text("c", 'quoted "', "\u2028", "d"), called, *text("e")]
    assert known(events, ChatReader()) == [
        None,
        b'"b"',
        None,
        None,
        b'"quoted \\""',
        '"\u2028"'.encode(),
        b'"d"',
        None,
        None,
    ]


def test_thoughts_and_words_are_told_apart() -> None:
    reader = ChatReader()
    assert reader.stream(chunk({"reasoning_content": "a"})) == [ThinkingDelta("a")]
    assert reader.again(chunk({"content": "a"})) is None
    assert reader.again(chunk({"reasoning_content": "b"})) == (ThinkingDelta, b'"b"')


def test_with_both_names_it_is_the_one_that_is_read() -> None:
    reader = ChatReader()
    first = chunk({"reasoning": "x", "reasoning_content": "a"})
    assert reader.stream(first) == [ThinkingDelta("a")]
    assert reader.again(chunk({"reasoning": "y", "reasoning_content": "a"})) is None
    assert reader.again(chunk({"reasoning": "x", "reasoning_content": "b"})) == (ThinkingDelta, b'"b"')


def test_a_key_that_is_there_twice_is_not_trusted() -> None:
    reader = ChatReader()
    choice = b'{"index":%d,"delta":{"content":%b}}'
    for word in (b'"a"', b'"b"'):
        event = b'data: {"choices":[%b,%b]}\n\n' % (choice % (0, word), choice % (1, b'"other"'))
        assert reader.again(event) is None
        assert reader.stream(event) == [TextDelta(word.decode().strip('"'))]


def test_an_engine_that_counts_in_each_event_is_soon_let_be() -> None:
    known_again = Again()
    for count in range(20):
        event = chunk({"content": "a"}, count=count)
        assert known_again.text(event) is None
        known_again.learn(event, [TextDelta("a")])
    known_again.learn(chunk({"content": "a"}), [TextDelta("a")])
    assert known_again.text(chunk({"content": "b"})) is None


def test_the_beginning_of_an_answer_is_taken_off_first() -> None:
    reader = BegunReader("ab")
    assert reader.stream(chunk({"content": ""})) == []
    assert reader.again(chunk({"content": "abc"})) is None
    assert reader.stream(chunk({"content": "abc"})) == [TextDelta("c")]
    assert reader.again(chunk({"content": "d"})) == (TextDelta, b'"d"')


DAMAGE = st.binary(max_size=12) | st.sampled_from(
    [b'"', b"\\", b"\\u0041", b'\\"', b"\n", b"\n\ndata: {}", b"\xff", b'","a":"']
)


@given(first=st.text(min_size=1), inner=st.lists(DAMAGE | st.text(max_size=5).map(str.encode), max_size=4))
@example(first="a", inner=[b"\xc3"])
@example(first="a", inner=[b'b"}}]}\n\n', chunk({"content": "c"})[:-20]])
def test_whatever_is_known_again_reads_the_same(first: str, inner: list[bytes]) -> None:
    """Whatever stands between the bytes that are known."""
    reader = ChatReader()
    before, _, after = chunk({"content": "@@@"}).partition(b"@@@")
    reader.stream(chunk({"content": first.replace("@", "")}))
    event = before + b"".join(inner) + after
    again = reader.again(event)
    if again is not None:
        assert [again[0](json.loads(again[1]))] == ChatReader().stream(event)


DELTAS = st.one_of(
    st.text(max_size=8).map(lambda each: {"content": each}),
    st.text(max_size=8).map(lambda each: {"reasoning_content": each}),
    st.just({"content": "a", "reasoning_content": "b"}),
    st.just({"tool_calls": [{"index": 0, "id": "x", "function": {"name": "f", "arguments": "{}"}}]}),
    st.just({"role": "assistant", "content": None}),
)


class Reading(ChatReader):
    """One that reads everything."""

    def again(self, events: bytes) -> None:
        """Never."""


@pytest.mark.parametrize("writer", WRITERS)
@given(deltas=st.lists(DELTAS, max_size=12))
def test_every_dialect_tells_the_same(writer: str, deltas: list[dict[str, Any]]) -> None:
    def told(reader: ChatReader) -> bytes:
        reply = Translated(reader, WRITERS[writer]())
        out = b"".join([reply.stream(chunk(delta)) for delta in deltas])
        out += reply.stream(b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n')
        return out + reply.end()

    assert [_parsed(line) for line in told(ChatReader()).splitlines()] == [
        _parsed(line) for line in told(Reading()).splitlines()
    ]


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line.removeprefix(b"data: "))
    except ValueError:
        return line


def test_what_makes_no_sense_is_still_told() -> None:
    reader = ChatReader()
    reader.stream(text("a")[0])
    event = text("b")[0].replace(b'"m"', b"m")
    assert reader.again(event) is None
    assert reader.stream(event) == []
    assert isinstance(reader.failure, EngineProtocolError)
