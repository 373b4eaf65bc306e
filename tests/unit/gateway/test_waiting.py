"""Signs of life: what is said, when, and once a piece of news; the share that a load has of a wait."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import msgspec
import pytest

from corral.dialects.anthropic.waiting import MessageVoice
from corral.domain.fetching import Progress
from corral.domain.fleet import ModelSpec, Timeouts
from corral.domain.instance import InstanceState, InstanceView
from corral.domain.queue import WaitingView
from corral.domain.serving import NOBODY
from corral.fakes.leases import FakeLeases
from corral.gateway.routes.table import HOT
from corral.gateway.waiting import NEVER, Line, Signs, load_part, voice_of, words
from corral.kit.clock import SystemClock

STARTING = InstanceView("m", "m-1", InstanceState.STARTING)
HALF = InstanceView("m", "m-1", InstanceState.STARTING, progress=0.5)
COMING = InstanceView("m", "", InstanceState.STARTING, fetching=Progress(1 << 30, 4 << 30, 512 * 1024**2))
BUSY = InstanceView("m", "m-1", InstanceState.READY)


def place(position: int = 1, expected_s: float | None = None, *, held_back: bool = False) -> WaitingView:
    return WaitingView(1, "m", "ann", 0, position, 0.0, expected_s, held_back)


@pytest.mark.parametrize(
    ("view", "at", "said"),
    [
        (None, None, "Waiting for m."),
        (STARTING, None, "m is being loaded."),
        (STARTING, place(), "m is being loaded."),
        (HALF, place(3, 12.4), "m is being loaded: 50 %, position 3 in line, about 12 s more."),
        (HALF, place(1, 0.2), "m is being loaded: 50 %, about 1 s more."),
        (COMING, place(3), "m is being fetched: 25.0 % (1 GiB of 4 GiB), 512 MiB/s, about 6s more."),
        (msgspec.structs.replace(COMING, fetching=Progress(0, None)), place(), "m is being fetched."),
        (BUSY, place(1, 4.0), "Waiting for m: position 1 in line, about 4 s more."),
        (BUSY, place(9, held_back=True), "Waiting for m: held back: its key has as many requests as it may have."),
    ],
)
def test_words(view: InstanceView | None, at: WaitingView | None, said: str) -> None:
    assert words("m", view, at) == said


@dataclass
class Around:
    """A gateway as signs see it."""

    leases: FakeLeases = field(default_factory=FakeLeases)
    clock: SystemClock = field(default_factory=SystemClock)
    line: Line = field(init=False)

    def __post_init__(self) -> None:
        self.leases.shown["m"] = HALF
        self.line = Line(self.leases)


def signs(loading_state: str, path: bytes = b"/v1/chat/completions") -> tuple[Around, Signs]:
    around = Around()
    model = ModelSpec("m", loading_state=loading_state, timeouts=Timeouts(heartbeat_s=10))
    return around, Signs(around, HOT[path], model, "m", b"r1", begun=100.0)


def test_a_comment_comes_at_every_heartbeat() -> None:
    _, each = signs("comment")
    assert each.in_line(None, 109.9) == b"" and each.next_in_line() == 110.0
    assert each.in_line(None, 110.0) == b": m is being loaded: 50 %.\n\n"
    assert each.in_line(None, 111.0) == b"" and each.next_in_line() == 120.0


def test_reasoning_tells_news_within_a_second_and_repeats_itself_only_at_heartbeats() -> None:
    around, each = signs("reasoning")
    assert each.next_in_line() == 101.0
    first = json.loads(each.in_line(None, 101.0).removeprefix(b"data: "))
    said = "m is being loaded: 50 %.\n"
    assert first["choices"][0]["delta"] == {"reasoning_content": said, "reasoning": said}
    assert "role" not in first["choices"][0]["delta"] and first["object"] == "chat.completion.chunk"
    assert each.in_line(None, 102.0) == b"" and each.next_in_line() == 103.0
    around.leases.shown["m"] = STARTING
    assert each.in_line(None, 103.0) and each.in_line(None, 112.9) == b""
    assert each.in_line(None, 113.9)


def test_off_is_silent_and_so_are_routes_without_streams() -> None:
    for each in (signs("off")[1], signs("reasoning", b"/v1/embeddings")[1]):
        assert each.next_in_line() == NEVER
    _, none = signs("comment", b"/v1/rerank")
    assert none.next_in_silence(0.0) == NEVER and none.in_silence(0.0, 1e9) == b"" and none.over() == b""


def test_a_silent_engine() -> None:
    _, each = signs("reasoning")
    assert each.in_silence(100.0, 109.0) == b""
    assert each.in_silence(100.0, 110.0) == b":\n\n" and each.next_in_silence(100.0) == 120.0
    assert each.next_in_silence(115.0) == 125.0


def test_one_look_at_the_line_serves_everyone_for_a_second() -> None:
    leases = FakeLeases(hold=True, expected_s=3.0)

    class Nobody:
        def granted(self, lease: object) -> None: ...
        def refused(self, error: object) -> None: ...

    line = Line(leases)
    tickets = [leases.ask(Nobody(), model="m", caller=NOBODY, timeout_s=1.0) for _ in range(2)]
    seen = [line.place(ticket, 5.0) for ticket in tickets]
    assert [each.position for each in seen if each is not None] == [1, 2]
    late = leases.ask(Nobody(), model="m", caller=NOBODY, timeout_s=1.0)
    assert line.place(late, 5.9) is None and line.place(late, 6.0) is not None


@pytest.mark.parametrize(
    ("now", "waited_s", "ready_at", "load_s", "part"),
    [
        (100.0, 10.0, 100.0, 4.0, 4.0),  # in line first, then loaded
        (100.0, 3.0, 100.0, 8.0, 3.0),  # came while it was loading
        (100.0, 10.0, 95.0, 2.0, 2.0),  # loaded, then in line for a slot
        (100.0, 10.0, 50.0, 5.0, 0.0),  # loaded long ago
        (100.0, 10.0, None, None, 0.0),
    ],
)
def test_the_part_of_a_wait_that_was_the_load(
    now: float, waited_s: float, ready_at: float | None, load_s: float | None, part: float
) -> None:
    view = InstanceView("m", "m-1", InstanceState.READY, ready_at=ready_at, load_s=load_s)
    assert load_part(view, now, waited_s) == part


def test_every_route_that_streams_has_a_voice() -> None:
    quiet = {route.label for route in HOT.values() if voice_of(route, "m", "r", lambda: 0.0) is None}
    assert {label for label in quiet if "chat" in label or "completion" in label or "messages" in label} == {
        "/v1/chat/completions/input_tokens", "/chat/completions/input_tokens", "/v1/messages/count_tokens",
    }  # fmt: skip


def test_an_answer_goes_on_from_a_thinking_block() -> None:
    voice = MessageVoice("m", "msg_1")
    assert voice.over() == b""
    said = voice.thought("one") + voice.thought("two") + voice.over()
    assert said.count(b"event: message_start") == said.count(b"event: content_block_start") == 1 and voice.mends
    pieces = [
        {"type": "message_start", "message": {"id": "x", "usage": {"input_tokens": 7, "output_tokens": 0}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
    ]
    events = b"".join(b"event: x\ndata: %b\n\n" % json.dumps(each).encode() for each in pieces)
    told = [json.loads(line[6:]) for line in voice.mended(events).splitlines() if line.startswith(b"data: ")]
    assert [each.get("index") for each in told] == [1, 1, None, None]
    assert told[2]["usage"] == {"input_tokens": 7, "output_tokens": 3}
