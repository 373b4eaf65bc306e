"""Expected waits: from what was measured, near what comes, and never invented."""

from __future__ import annotations

import random

import pytest

from corral.domain.fleet import Limits, ModelSpec
from corral.domain.queue import WaitingView
from corral.domain.serving import Caller

from .script import Script, spec, swap


def waiting(s: Script) -> dict[int, WaitingView]:
    return {view.request: view for view in s.machine.waiters(s.now)}


def expected(s: Script, request: int) -> float | None:
    return s.machine.expected_wait_s(request, s.now)


def newcomer(s: Script, model: str) -> float | None:
    return s.machine.newcomers_wait_s([model], s.now)[model]


def load(s: Script, model: str, *, load_s: float, service_s: float) -> None:
    """Loaded in so long, used once for so long."""
    s.ask(9000, model)
    s.wait(load_s)
    s.ready(model, load_s=load_s)
    s.wait(service_s)
    s.release(9000)


def test_nothing_is_invented_where_nothing_was_measured() -> None:
    s = Script(spec("a", slots=1))
    s.ask(1, "a")
    s.ask(2, "a")
    assert (expected(s, 1), newcomer(s, "a")) == (None, None)
    s.ready("a", load_s=3)
    assert expected(s, 2) is None  # no answer has ended yet
    s.wait(4)
    s.release(1)
    s.ask(3, "a")
    assert expected(s, 3) == pytest.approx(4.0)


def test_who_does_not_wait_has_no_expected_wait() -> None:
    s = Script("a")
    s.ask(1, "a")
    s.ready("a")
    assert expected(s, 1) is None
    assert expected(s, 77) is None


def test_a_free_slot_is_no_wait_and_full_ones_are_as_measured() -> None:
    s = Script(spec("a", slots=2))
    load(s, "a", load_s=5, service_s=6)
    assert newcomer(s, "a") == 0.0
    s.ask(1, "a")
    s.ask(2, "a")
    assert newcomer(s, "a") == pytest.approx(3.0)  # two slots, six seconds each
    s.ask(3, "a")
    s.ask(4, "a")
    assert [expected(s, 3), expected(s, 4)] == pytest.approx([3.0, 6.0])
    assert newcomer(s, "a") == pytest.approx(9.0)


def test_the_mean_follows_what_answers_take_now() -> None:
    s = Script("a")
    load(s, "a", load_s=1, service_s=100)
    s.view("a")
    for request in range(1, 40):
        s.ask(request, "a")
        s.wait(2)
        s.release(request)
        s.view("a")  # whoever looks brings it up to date
    s.ask(100, "a")
    assert newcomer(s, "a") == pytest.approx(2 + 98 * 0.9**39)


def test_while_it_loads_what_is_left_of_the_load_counts() -> None:
    s = Script(spec("a", slots=1, ttl=0))
    load(s, "a", load_s=10, service_s=4)
    s.stopped("a")
    assert newcomer(s, "a") == pytest.approx(10.0)
    s.ask(1, "a")
    s.ask(2, "a")
    s.wait(3)
    assert [expected(s, 1), expected(s, 2)] == pytest.approx([7.0, 11.0])
    s.wait(20)
    assert expected(s, 1) == 0.0  # it takes longer than usual: any moment now


def test_behind_a_hot_model_the_bound_of_the_wait_counts() -> None:
    s = Script("hot", "b", groups=[swap("hot", "b")], limits=Limits(max_wait_hot_s=10))
    load(s, "b", load_s=5, service_s=2)
    s.ask(1, "hot")
    s.stopped("b")
    s.wait(3)
    s.ready("hot", load_s=3)
    s.wait(4)
    s.release(1)
    s.ask(2, "hot")
    s.wait(60)
    s.ask(3, "b")
    assert expected(s, 3) == pytest.approx(10 + 4 + 5)  # it may go on for ten seconds, its last answer, the load
    s.wait(6)
    assert expected(s, 3) == pytest.approx(4 + 4 + 5)
    s.wait(4)
    assert expected(s, 3) == pytest.approx(4 + 5)  # it drains
    s.release(2)
    assert expected(s, 3) == pytest.approx(5)
    s.stopped("hot")
    s.wait(2)
    assert expected(s, 3) == pytest.approx(3)


def test_the_turns_of_those_ahead_count() -> None:
    s = Script("a", "b", "c", groups=[swap("a", "b", "c")])
    load(s, "b", load_s=5, service_s=2)
    for model, before in (("c", "b"), ("a", "c")):
        s.ask(9000, model)
        s.stopped(before)
        s.ready(model, load_s=5)
        s.wait(2)
        s.release(9000)
    s.ask(1, "a")
    s.ask(2, "b")
    s.ask(3, "c", caller="another")
    first, second = expected(s, 2), expected(s, 3)
    assert first is not None and second is not None
    assert first - second == pytest.approx(5 + 2)  # c's load and its one answer: its caller has had no load yet


def test_another_load_digest_is_another_measure() -> None:
    s = Script("a")
    load(s, "a", load_s=5, service_s=2)
    s.configure("a", digests={"a": "other"})
    s.stopped("a")
    assert newcomer(s, "a") is None
    s.configure("a", digests={"a": "third"}, load_s={"a": 8.0})  # an earlier Corral has measured that
    assert newcomer(s, "a") == 8.0


def test_who_is_held_back_by_a_bound_of_its_own_has_a_place_and_no_time() -> None:
    s = Script("a")
    load(s, "a", load_s=1, service_s=2)
    key = Caller("key", priority=2, max_concurrent=1)
    s.ask(1, "a", caller=key)
    s.ask(2, "a", caller=key)
    s.ask(3, "a", caller="other")
    s.wait(1.5)
    listed = waiting(s)
    assert list(listed) == [3, 2]
    assert listed[2] == WaitingView(2, "a", "key", 2, 2, 1.5, None, held_back=True)
    assert listed[3] == WaitingView(3, "a", "other", 0, 1, 1.5, 2.0, held_back=False)


def test_who_wants_no_slot_waits_for_the_load_alone() -> None:
    s = Script(spec("a", slots=1, ttl=0))
    load(s, "a", load_s=10, service_s=4)
    s.stopped("a")
    s.ask(1, "a")
    s.ask(2, "a")
    s.ask(3, "a", weight=0)
    assert expected(s, 3) == pytest.approx(10.0)


@pytest.mark.parametrize(("slots", "steady"), [(1, True), (4, True), (4, False)])
def test_predictions_come_near_what_happens(slots: int, steady: bool) -> None:
    """
    A busy Model and five callers: what each was told when it came, against what it waited.

    Half of them are within a factor of 1.5, five of six within one of 2 and an answer's length.
    """
    rng = random.Random(slots)
    s = Script(ModelSpec("a", slots=slots, ttl_s=1e9))
    load(s, "a", load_s=2, service_s=3)
    told: dict[int, float] = {}
    ends: dict[int, float] = {}
    ratios: list[float] = []
    near: list[bool] = []

    def note(lines: list[str]) -> None:
        for request in (int(line.split()[1]) for line in lines if line.startswith("grant")):
            ends[request] = s.now + (3.0 if steady else rng.expovariate(1 / 3.0))
            if request in told:
                waited_s = s.granted[request].waited_s
                ratios.append(waited_s / told[request])
                near.append(told[request] / 2 - 3 <= waited_s <= told[request] * 2 + 3)

    number = 0
    while len(ratios) < 400:
        number += 1
        next_at = s.now + rng.expovariate(slots / 3.0 * 1.02)  # as many as can be served, and a few more
        while ends and min(ends.values()) <= next_at:
            request = min(ends, key=lambda each: ends[each])
            s.wait(ends.pop(request) - s.now)
            note(s.release(request))
        s.wait(next_at - s.now)
        note(s.ask(number, "a", caller=f"c{number % 5}"))
        wait_s = expected(s, number)
        if wait_s and number > 50:
            told[number] = wait_s
    ratios.sort()
    assert 1 / 1.5 < ratios[len(ratios) // 2] < 1.5
    assert sum(near) >= 5 / 6 * len(near)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_predictions_of_swaps_come_near_what_happens(seed: int) -> None:
    """Three Models for one place, all measured: what the first in each queue was told, against what it waited."""
    rng = random.Random(seed)
    load_s = {"a": 4.0, "b": 8.0, "c": 12.0}
    s = Script(*load_s, groups=[swap(*load_s)], limits=Limits(max_wait_hot_s=10, queue_total=10**6))
    told: dict[int, float] = {}
    ratios: list[float] = []
    agenda: list[tuple[float, str, str]] = [(0.0, "ask", name) for name in load_s]
    number = 0

    def note(lines: list[str]) -> None:
        for line in lines:
            what, who, *_ = line.split()
            if what == "start":
                agenda.append((s.now + load_s[who], "ready", who))
            elif what == "stop":
                agenda.append((s.now, "stopped", who))
            elif what == "grant":
                agenda.append((s.now + rng.uniform(1, 3), "release", who))
                if int(who) in told and told[int(who)] > 1:
                    ratios.append(s.granted[int(who)].waited_s / told[int(who)])

    while len(ratios) < 60:
        at, what, who = min(agenda)
        agenda.remove((at, what, who))
        note(s.wait(at - s.now))
        if what == "ask":
            number += 1
            agenda.append((s.now + rng.expovariate(1 / 25), "ask", who))
            note(s.ask(number, who, caller=f"c{who}"))
            wait_s = expected(s, number)
            if wait_s is not None and s.view(who).state != "ready":
                told[number] = wait_s
        elif what == "ready":
            note(s.ready(who, load_s=load_s[who]))
        elif what == "stopped":
            note(s.stopped(who))
        else:
            note(s.release(int(who)))
    ratios.sort()
    assert 1 / 2 < ratios[len(ratios) // 2] < 2
    assert ratios[len(ratios) * 9 // 10] < 3
