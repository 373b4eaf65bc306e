"""Start-time fair queueing: shares, newcomers, corrections, head starts, and what is remembered."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.domain.serving import Caller
from corral.scheduler.policy import fair
from corral.scheduler.policy.fair import LEVEL_SLOT_S, MIN_COST_S, FairQueue
from tests.lines_run import lines_run

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Item:
    caller: Caller
    request: int
    arrival: int


class Slots:
    """A Model with some slots and callers that wait for them; each request takes what its caller's do."""

    def __init__(self, slots: int, takes: Mapping[str, float], *, estimate: float = 1.0) -> None:
        self.queue: FairQueue[Item] = FairQueue()
        self.free = slots
        self.takes = takes
        self.estimate = estimate
        self.now = 0.0
        self.running: list[tuple[float, Item]] = []
        self.order: list[str] = []
        self.used = dict.fromkeys(takes, 0.0)

    def ask(self, caller: str | Caller, count: int = 1) -> list[Item]:
        who = Caller(caller) if isinstance(caller, str) else caller
        items = []
        for _ in range(count):
            number = next(_numbers)
            items.append(Item(who, number, number))
            self.queue.add(items[-1], self.now)
        return items

    def grant(self) -> None:
        while self.free and len(self.queue):
            item = self.queue.take(self.now, self.estimate)
            self.order.append(item.caller.name)
            self.free -= 1
            self.running.append((self.now + self.takes[item.caller.name], item))

    def run(self, *, until: float, refill: tuple[str, ...] = ()) -> None:
        """Serve; the callers in `refill` ask again whenever one of theirs is granted."""
        self.grant()
        while self.running:
            self.running.sort(key=lambda entry: entry[0])
            ends, item = self.running[0]
            if ends > until:
                break
            self.running.pop(0)
            self.now = ends
            self.queue.settle(item.caller.name, item.request, self.now)
            self.free += 1
            self.used[item.caller.name] += self.takes[item.caller.name]
            if item.caller.name in refill:
                self.ask(item.caller)
            self.grant()


def test_one_request_does_not_wait_behind_a_hundred_of_another() -> None:
    s = Slots(1, {"flood": 1, "other": 1})
    s.ask("flood", 100)
    s.grant()
    s.ask("other")
    s.run(until=3)
    assert s.order[:2] == ["flood", "other"]


def test_two_that_always_wait_get_the_same_slot_time_whatever_their_requests_take() -> None:
    s = Slots(1, {"long": 10, "short": 1})
    s.ask("long", 50)
    s.ask("short", 500)
    s.run(until=300)
    assert abs(s.used["long"] - s.used["short"]) <= 2 * 10


@pytest.mark.parametrize("slots", [2, 4, 16])
def test_with_several_slots_the_difference_is_bounded_by_what_can_run_at_one_time(slots: int) -> None:
    s = Slots(slots, {"long": 10, "short": 1})
    s.ask("long", 20 * slots)
    s.ask("short", 200 * slots)
    s.run(until=150)
    assert abs(s.used["long"] - s.used["short"]) <= (slots + 1) * (10 + 1)


def test_a_flood_of_long_answers_does_not_take_all_slots() -> None:
    s = Slots(4, {"long": 600, "short": 1})
    s.ask("long", 100)
    s.ask("short", 3000)
    s.run(until=599)
    assert s.order.count("long") <= 3
    assert s.used["short"] >= 500


def test_all_free_slots_at_once_are_shared_before_anything_has_ended() -> None:
    s = Slots(8, {"flood": 1, "other": 1})
    s.ask("flood", 100)
    s.ask("other", 4)
    s.grant()
    assert s.order.count("other") == 4


def test_a_pause_earns_nothing() -> None:
    s = Slots(1, {"steady": 1, "pausing": 1})
    s.ask("steady", 1000)
    s.ask("pausing")
    s.run(until=100)
    s.ask("pausing", 100)
    before = len(s.order)
    s.run(until=120)
    assert s.order[before:].count("pausing") <= 11


def test_what_was_used_while_nobody_else_waited_is_not_held_against_anybody() -> None:
    s = Slots(1, {"early": 1, "late": 1})
    s.ask("early", 1000)
    s.run(until=500)
    s.ask("late", 100)
    before = len(s.order)
    s.run(until=520)
    assert 9 <= s.order[before:].count("early") <= 11


def test_callers_in_turn_where_answers_take_no_time() -> None:
    s = Slots(1, {"a": 0, "b": 0}, estimate=0.0)
    s.ask("a", 5)
    s.ask("b", 5)
    s.run(until=0)
    assert s.order == ["a", "b"] * 5


def test_a_caller_that_leaves_its_place_is_not_charged() -> None:
    s = Slots(0, {"a": 1, "b": 1})
    first, *others = s.ask("a", 3)
    s.ask("b")
    s.queue.remove(first)
    s.queue.remove(others[0])
    assert [item.caller.name for item in s.queue.order(0, 1)] == ["a", "b"]
    s.queue.remove(others[1])
    assert len(s.queue) == 1


def test_who_holds_the_slots_already_comes_after_who_holds_none() -> None:
    s = Slots(0, {"holder": 1, "other": 1})
    s.ask("holder")
    wanted = [s.queue.wants_holders]
    s.ask("other")
    wanted.append(s.queue.wants_holders)
    s.queue.hold_all([("holder", 901), ("holder", 902)], 0.0, 1.0)
    wanted.append(s.queue.wants_holders)
    assert wanted == [False, True, False]
    assert s.queue.take(0.0, 1.0).caller.name == "other"


def test_a_level_of_priority_is_a_head_start_of_thirty_slot_seconds() -> None:
    s = Slots(1, {"low": 1, "high": 1})
    s.ask("low", 200)
    s.ask(Caller("high", priority=2), 200)
    s.run(until=200)
    first_low = s.order.index("low")
    assert 2 * LEVEL_SLOT_S - 2 <= first_low <= 2 * LEVEL_SLOT_S + 2
    after = s.order[first_low : first_low + 40]
    assert 19 <= after.count("low") <= 21  # the head start is used up


def test_ever_new_callers_do_not_pass_one_for_ever() -> None:
    s = Slots(1, {"flood": 1} | {f"n{n}": 1 for n in range(100)})
    s.ask("flood", 2)
    s.grant()
    for n in range(100):
        s.ask(f"n{n}")
        s.ask(f"n{n}")
        s.run(until=s.now + 1)
        if s.order.count("flood") == 2:
            break
    assert s.order.count("flood") == 2
    assert len(s.order) < 10


def test_an_estimate_that_was_too_high_is_given_back() -> None:
    s = Slots(1, {"a": 0.1, "b": 0.1}, estimate=100.0)
    s.ask("a", 50)
    s.ask("b", 50)
    s.run(until=5)
    assert abs(s.order.count("a") - s.order.count("b")) <= 1


def test_the_predicted_order_is_the_order() -> None:
    s = Slots(0, {"a": 1, "b": 1, "c": 1})
    s.ask("a", 4)
    s.ask("b", 2)
    s.ask("c", 1)
    s.ask(Caller("b"), 1)
    predicted = [item.request for item in s.queue.order(0.0, 1.0)]
    assert predicted == [s.queue.take(0.0, 1.0).request for _ in range(8)]


def test_callers_without_requests_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fair, "IDLE_FLOWS", 50)
    s = Slots(1, {"steady": 1} | {f"n{n}": 1 for n in range(300)})
    s.ask("steady", 1000)
    for n in range(300):
        s.ask(f"n{n}")
        s.run(until=s.now + 1)
    waiting = len(s.queue)
    assert len(s.queue._flows) <= 50 + waiting + 1
    assert len(s.queue._heap) <= 64 + 2 * waiting


def test_with_the_last_waiter_all_is_forgotten() -> None:
    s = Slots(4, {"a": 1, "b": 1})
    s.ask("a", 3)
    s.ask("b")
    s.grant()
    assert not s.queue._flows
    assert s.queue.virtual == 0


def test_a_clock_that_stands_still_does_no_harm() -> None:
    queue: FairQueue[Item] = FairQueue()
    for caller in ("a", "b"):
        for _ in range(3):
            number = next(_numbers)
            queue.add(Item(Caller(caller), number, number), 5.0)
    taken = []
    while len(queue):
        item = queue.take(5.0, MIN_COST_S)
        queue.settle(item.caller.name, item.request, 5.0)
        taken.append(item.caller.name)
    assert taken == ["a", "b"] * 3


def test_five_thousand_callers_are_no_matter() -> None:
    """Bounded in steps, not in time: the heap is what is walked, so it must not grow with what came and went."""

    def come_and_go(count: int) -> None:
        queue: FairQueue[Item] = FairQueue()
        items = [Item(Caller(f"c{n}"), n, n) for n in range(count)]
        for item in items:
            queue.add(item, 0.0)
        for item in items[:-1]:
            queue.remove(item)
        assert queue.take(0.0, 1.0) is items[-1]

    assert lines_run(lambda: come_and_go(5000)) < 11 * lines_run(lambda: come_and_go(500))


costs = st.lists(st.floats(0.0, 20.0), min_size=1, max_size=5)


@given(costs, costs, st.integers(1, 4), st.floats(0.01, 30.0), st.integers(0, 3))
def test_two_that_always_wait_never_differ_by_more_than_what_can_run_at_one_time(
    x: list[float], y: list[float], slots: int, estimate: float, others: int
) -> None:
    """The bound of start-time fair queueing with `slots` servers, an estimate that is wrong being one more request."""
    takes = {"x": itertools.cycle(x), "y": itertools.cycle(y)} | {
        f"o{n}": itertools.cycle([1.0]) for n in range(others)
    }
    most = max(*x, *y, estimate, 1.0)
    queue: FairQueue[Item] = FairQueue()
    running: list[tuple[float, int, Item, float]] = []
    used = dict.fromkeys(takes, 0.0)
    now = 0.0
    for caller in takes:
        for _ in range(slots + 1):
            _ask(queue, caller, now)
    for _ in range(150):
        while len(running) < slots:
            item = queue.take(now, estimate)
            _ask(queue, item.caller.name, now)  # it always waits
            heapq.heappush(running, (now + next(takes[item.caller.name]), item.request, item, now))
        now, _, item, began = heapq.heappop(running)
        queue.settle(item.caller.name, item.request, now)
        used[item.caller.name] += now - began
        assert abs(used["x"] - used["y"]) <= (slots + 1) * 2 * most


@given(st.lists(st.tuples(st.integers(-3, 3), st.floats(0.1, 10.0)), min_size=2, max_size=5), st.integers(1, 3))
def test_nobody_is_passed_by_more_than_a_head_start(callers: list[tuple[int, float]], slots: int) -> None:
    """While one waits another gets its head start, and no more than fair queueing lets it be ahead without one."""
    queue: FairQueue[Item] = FairQueue()
    passed = [dict.fromkeys(range(len(callers)), 0.0) for _ in callers]
    running: list[tuple[float, int, Item]] = []
    most, now, estimate = max(takes for _, takes in callers), 0.0, 1.0
    for number, (priority, _) in enumerate(callers):
        for _ in range(slots + 1):
            _ask(queue, str(number), now, priority)
    for _ in range(300):
        while len(running) < slots:
            item = queue.take(now, estimate)
            number = int(item.caller.name)
            _ask(queue, item.caller.name, now, callers[number][0])
            heapq.heappush(running, (now + callers[number][1], item.request, item))
            passed[number] = dict.fromkeys(passed[number], 0.0)
            for others in passed:
                others[number] += callers[number][1]
        now, _, item = heapq.heappop(running)
        queue.settle(item.caller.name, item.request, now)
        for one, others in enumerate(passed):
            for other, got in others.items():
                levels = max(callers[other][0] - callers[one][0], 0)
                if other != one:
                    assert got <= levels * LEVEL_SLOT_S + (slots + 1) * 2 * max(most, estimate)


def _ask(queue: FairQueue[Item], caller: str, now: float, priority: int = 0) -> None:
    number = next(_numbers)
    queue.add(Item(Caller(caller, priority=priority), number, number), now)
