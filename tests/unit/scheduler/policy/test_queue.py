from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.scheduler.policy import queue
from corral.scheduler.policy.queue import PRIORITY_LEVEL_S, Line, place, queue_full, retry_after_s


def line_of(*wishes: tuple[str, str, float] | tuple[str, str, float, int]) -> Line[str]:
    """Wishes: who, for which Model, since when, at which level of priority."""
    line: Line[str] = Line()
    for arrival, (caller, model, since, *level) in enumerate(wishes, 1):
        line.place(model, caller, place(since, level[0] if level else 0, arrival))
    return line


def order(line: Line[str]) -> list[str]:
    return [model for _, model in line.in_order()]


def serve(line: Line[str]) -> str:
    """The first is loaded."""
    model = order(line)[0]
    line.loaded(model)
    line.remove(model)
    return model


def test_equal_priorities_go_by_arrival() -> None:
    assert place(1.0, 0, 1) < place(2.0, 0, 2)
    assert place(1.0, 0, 1) < place(1.0, 0, 2)


def test_a_higher_priority_passes_those_who_came_shortly_before_and_no_others() -> None:
    assert place(PRIORITY_LEVEL_S - 1, 1, 2) < place(0.0, 0, 1)
    assert place(0.0, 0, 1) < place(PRIORITY_LEVEL_S + 1, 1, 2)


def full(waiting: int, total: int, own: int = 0, own_total: int = 0, limit: int = 2, own_limit: int = 0) -> str:
    error = queue_full(
        "m", waiting=waiting, own=own, limit=limit, total=total, own_total=own_total, total_limit=50,
        own_limit=own_limit,
    )  # fmt: skip
    return error.message if error else ""


def test_a_queue_is_full_at_its_own_bound_or_at_the_bound_of_all() -> None:
    assert full(1, 4) == ""
    assert full(2, 4) == "2 requests already wait for 'm'."
    assert full(1, 4, limit=1) == "1 request already waits for 'm'."
    assert full(1, 50) == "50 requests already wait in all."


def test_one_caller_alone_gets_four_fifths_of_a_queue_and_others_the_rest() -> None:
    assert full(79, 0, own=79, limit=100) == ""
    assert full(80, 0, own=80, limit=100) == (
        "80 requests of yours already wait for 'm', and the places that are left are for others."
    )
    assert full(80, 0, own=0, limit=100) == ""
    assert full(99, 0, own=3, limit=100) == ""
    assert full(99, 0, own=4, limit=100) != ""
    assert full(0, 40, own_total=40, limit=100) == (
        "40 requests of yours already wait in all, and the places that are left are for others."
    )
    assert full(0, 40, own_total=0, limit=100) == ""


@pytest.mark.parametrize(("floods", "each"), [(1, 80), (2, 45), (5, 20)])
def test_several_that_flood_a_queue_leave_places_for_others(floods: int, each: int) -> None:
    waiting = [0] * floods
    for _ in range(100):
        for n in range(floods):
            waiting[n] += full(sum(waiting), 0, own=waiting[n], limit=100) == ""
    assert max(waiting) == each
    assert full(sum(waiting), 0, own=0, limit=100) == ""


def test_a_small_queue_is_used_to_its_end() -> None:
    for limit in (1, 2, 3, 4):
        assert full(limit - 1, 0, own=limit - 1, limit=limit) == ""
    assert full(4, 0, own=4, limit=5) != ""


def test_a_key_may_have_a_bound_of_its_own() -> None:
    assert full(2, 3, own=2, own_total=2, limit=100, own_limit=3) == ""
    assert full(2, 3, own=2, own_total=3, limit=100, own_limit=3) == (
        "3 requests of yours already wait, as many as this key may have."
    )


@pytest.mark.parametrize(
    ("expected", "head_waited", "after"), [(None, 7.4, 7), (None, 0, 1), (12.0, 7.4, 12), (0.1, 7.4, 1), (1e4, 0, 60)]
)
def test_try_again_after_the_expected_wait_or_after_what_the_first_has_waited(
    expected: float | None, head_waited: float, after: int
) -> None:
    assert retry_after_s(expected, head_waited) == after


def test_the_line_keeps_models_in_order_while_they_come_move_and_go() -> None:
    line: Line[str] = Line()
    assert line.place("b", "x", place(2.0, 0, 2))
    assert line.place("a", "x", place(1.0, 0, 1))
    assert line.place("c", "x", place(3.0, 0, 3))
    assert order(line) == ["a", "b", "c"]
    assert line.place("a", "x", place(4.0, 0, 4))
    assert not line.place("a", "x", place(4.0, 0, 4))
    assert order(line) == ["b", "c", "a"]
    assert line.place("c", "x", None)
    assert not line.place("c", "x", None)
    assert order(line) == ["b", "a"]
    assert ("c" in line, "a" in line, len(line)) == (False, True, 2)
    assert line.remove("a")
    assert not line.remove("a")
    assert order(line) == ["b"]


def test_the_line_may_change_while_it_is_walked() -> None:
    line = line_of(("x", "a", 0), ("x", "b", 1), ("y", "c", 2))
    seen = []
    for _, model in line.in_order():
        seen.append(model)
        line.remove("b")
        line.place("d", "y", place(3.0, 0, 9))
    assert seen == ["a", "c", "b", "d"]


def test_a_caller_that_waits_for_a_hundred_models_does_not_keep_another_from_its_first() -> None:
    line = line_of(*(("flood", f"m{n}", 0.0) for n in range(100)), ("other", "chat", 50.0))
    assert [serve(line) for _ in range(3)] == ["m0", "chat", "m1"]


def test_who_comes_later_has_its_turn_next_too() -> None:
    line = line_of(*(("flood", f"m{n}", 0.0) for n in range(100)))
    for _ in range(20):
        serve(line)
    line.place("chat", "other", place(600.0, 0, 1000))
    assert serve(line) == "chat"


def test_two_floods_alternate_and_each_is_served_in_its_own_order() -> None:
    line = line_of(*(("x", f"x{n}", 0.0) for n in range(4)), *(("y", f"y{n}", 9.0) for n in range(4)))
    assert [serve(line) for _ in range(8)] == ["x0", "y0", "x1", "y1", "x2", "y2", "x3", "y3"]


def test_a_model_goes_with_the_first_of_those_who_want_it() -> None:
    line = line_of(*(("flood", f"m{n}", 0.0) for n in range(100)), ("other", "m70", 50.0))
    assert [serve(line) for _ in range(3)] == ["m0", "m70", "m1"]
    assert "m70" not in order(line)


def test_ever_new_callers_do_not_pass_one_for_ever() -> None:
    line = line_of(("flood", "a", 0.0), ("flood", "b", 0.0))
    assert serve(line) == "a"
    served = []
    for n in range(20):
        line.place(f"new{n}", f"caller{n}", place(n + 1.0, 0, 100 + n))
        served.append(serve(line))
        if served[-1] == "b":
            break
    assert served[-1] == "b"
    assert len(served) <= 4


def test_a_level_between_callers_is_a_turn() -> None:
    line = line_of(("low", "a", 0.0), *(("high", f"h{n}", 100.0, 2) for n in range(5)))
    assert [serve(line) for _ in range(4)] == ["h0", "h1", "a", "h2"]


def test_the_turns_of_those_who_have_left_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "MOST_ABSENT", 50)
    line: Line[str] = Line()
    line.place("other", "other", place(0.0, -100, 1))  # the line is never empty
    for n in range(1000):
        line.place("m", f"caller{n}", place(1.0, 0, n + 2))
        line.loaded(order(line)[0])
        line.remove("m")
    assert len(line._turns) < 100


wishes = st.lists(
    st.tuples(st.sampled_from("xyz"), st.sampled_from("abcdefgh"), st.integers(-2, 2), st.sampled_from("wwwwul")),
    max_size=60,
)


@given(wishes)
def test_the_line_keeps_its_own_books(steps: list[tuple[str, str, int, str]]) -> None:
    line: Line[str] = Line()
    wanted: dict[str, dict[str, tuple[float, int, int]]] = {}
    for now, (caller, model, level, step) in enumerate(steps):
        if step == "w":
            new = place(float(now), level, now)
            line.place(model, caller, new)
            wanted.setdefault(model, {})[caller] = new
        elif step == "u":
            line.place(model, caller, None)
            wanted.get(model, {}).pop(caller, None)
        elif wanted:
            walk = list(line.in_order())
            for first in [each for _, each in walk][:1]:
                line.loaded(first)
                line.remove(first)
                wanted.pop(first)
        wanted = {each: callers for each, callers in wanted.items() if callers}
        walk = list(line.in_order())
        ranks = [rank for rank, _ in walk]
        assert sorted(each for _, each in walk) == sorted(wanted)
        assert ranks == sorted(ranks), "the line is not in order"
        assert not ranks or ranks[-1] <= line.end
        for rank, each in walk:
            assert rank <= min(filter(None, (line.rank_of(each, who) for who in wanted[each])))
        for who in "xyz":  # a caller's own Models go in its own order
            own = {each: callers[who] for each, callers in wanted.items() if list(callers) == [who]}
            assert [each for _, each in walk if each in own] == sorted(own, key=own.__getitem__)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), min_size=30, max_size=60))
def test_nobody_waits_in_the_line_for_ever(arrivals: list[tuple[int, int]]) -> None:
    """One waits, and others come for each load: it is passed by its levels in turns, and by those in line with it."""
    line = line_of(("one", "mine", 0.0))
    for n in range(5):
        line.place(f"before{n}", f"c{n}", place(0.0, 2, n + 2))
    for number, (caller, level) in enumerate(arrivals):
        line.place(f"m{number}", f"c{caller}" if caller else f"new{number}", place(number + 1.0, level, 100 + number))
        if serve(line) == "mine":
            break
    assert number < 25
