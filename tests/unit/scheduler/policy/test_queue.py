from __future__ import annotations

from collections import OrderedDict

from corral.scheduler.policy.queue import PRIORITY_LEVEL_S, Line, next_waiter, queue_full, rank


def test_equal_priorities_go_by_arrival() -> None:
    assert rank(1.0, 0, 1) < rank(2.0, 0, 2)
    assert rank(1.0, 0, 1) < rank(1.0, 0, 2)


def test_a_higher_priority_passes_those_who_came_shortly_before_and_no_others() -> None:
    assert rank(PRIORITY_LEVEL_S - 1, 1, 2) < rank(0.0, 0, 1)
    assert rank(0.0, 0, 1) < rank(PRIORITY_LEVEL_S + 1, 1, 2)


def test_the_next_waiter_is_the_one_who_came_first() -> None:
    assert next_waiter(OrderedDict({7: "first", 3: "second"})) == "first"


def test_a_queue_is_full_at_its_own_bound_or_at_the_bound_of_all() -> None:
    def full(waiting: int, total: int, limit: int = 2) -> str:
        error = queue_full("m", waiting=waiting, limit=limit, total=total, total_limit=5, head_waited_s=7.4)
        return error.message if error else ""

    assert full(1, 4) == ""
    assert full(2, 4) == "2 requests already wait for 'm'."
    assert full(1, 4, limit=1) == "1 request already waits for 'm'."
    assert full(1, 5) == "5 requests already wait in all."


def test_the_line_keeps_models_in_order_while_they_come_move_and_go() -> None:
    line: Line[str] = Line()
    assert line.place("b", (2.0, 2))
    assert line.place("a", (1.0, 1))
    assert line.place("c", (3.0, 3))
    assert [name for _, name in line.in_order()] == ["a", "b", "c"]
    assert line.place("a", (4.0, 4))
    assert not line.place("a", (4.0, 4))
    assert [name for _, name in line.in_order()] == ["b", "c", "a"]
    assert line.place("c", None)
    assert not line.place("c", None)
    assert [name for _, name in line.in_order()] == ["b", "a"]
    assert ("c" in line, "a" in line, len(line)) == (False, True, 2)
