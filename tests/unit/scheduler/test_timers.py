from __future__ import annotations

from corral.scheduler.machine.timers import Timers


def test_the_earliest_comes_first_and_once() -> None:
    timers: Timers[str] = Timers()
    timers.ask("b", 2.0)
    timers.ask("a", 1.0)
    assert timers.next_at() == 1.0
    assert timers.due(0.5) == []
    assert timers.due(2.0) == ["a", "b"]
    assert timers.next_at() is None


def test_a_key_keeps_its_earliest_time() -> None:
    timers: Timers[str] = Timers()
    timers.ask("a", 5.0)
    timers.ask("a", 9.0)
    assert timers.next_at() == 5.0
    timers.ask("a", 2.0)
    assert timers.due(100.0) == ["a"]


def test_a_key_that_was_looked_at_can_ask_again() -> None:
    timers: Timers[str] = Timers()
    timers.ask("a", 1.0)
    assert timers.due(1.0) == ["a"]
    timers.ask("a", 3.0)
    assert timers.due(3.0) == ["a"]


def test_a_forgotten_key_does_not_come_up() -> None:
    timers: Timers[str] = Timers()
    timers.ask("a", 1.0)
    timers.ask("b", 2.0)
    timers.forget("a")
    timers.forget("never asked")
    assert timers.next_at() == 2.0
    assert timers.due(5.0) == ["b"]


def test_replaced_entries_do_not_pile_up() -> None:
    timers: Timers[int] = Timers()
    for n in range(10_000):
        timers.ask(n, 1e6)
        timers.forget(n)
    assert len(timers._heap) < 100
