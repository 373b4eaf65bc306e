"""Turns: how many get on at a time, who gives his place away, and who gets it."""

from __future__ import annotations

import threading

from corral.kit.turns import Turns


def never() -> bool:
    return False


def test_as_many_begin_as_there_are_places_and_the_next_when_one_ends() -> None:
    turns = Turns(2)
    first, second, third = (turns.turn() for _ in range(3))
    first.begin(never)
    second.begin(never)
    waits = threading.Thread(target=third.begin, args=(never,))
    waits.start()
    waits.join(0.3)
    assert waits.is_alive()
    first.end()
    waits.join(5)
    assert not waits.is_alive() and not first.go_on(), "who has ended takes none again"


def test_who_waits_for_others_leaves_his_place_and_goes_on_without_one_if_he_must() -> None:
    turns = Turns(1)
    one, other = turns.turn(), turns.turn()
    one.begin(never)
    assert not other.go_on()
    one.leave()
    one.leave()  # it is given back once
    assert other.go_on() and not one.go_on()
    other.end()
    assert one.go_on() and one.go_on() and not turns.turn().go_on()


def test_who_is_stopped_while_he_waits_for_a_place_has_none() -> None:
    turns = Turns(1)
    one, other = turns.turn(), turns.turn()
    one.begin(never)
    other.begin(lambda: True)
    one.end()
    assert turns.turn().go_on()
