import logging
import threading

import pytest

from corral.devices.bounded import Bounded


def test_a_call_that_hangs_is_left_and_no_other_is_begun_until_it_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    let_go, begun = threading.Event(), []
    bounded = Bounded[str]("The driver", deadline_s=0.05)

    def hangs() -> str:
        begun.append(1)
        let_go.wait(30)
        return "late"

    with caplog.at_level(logging.WARNING):
        assert [bounded.call(hangs, "last") for _ in range(3)] == ["last"] * 3
        assert len(begun) == 1
        let_go.set()
        for thread in threading.enumerate():
            if thread.name == "corral The driver":
                thread.join(5)
        assert bounded.call(lambda: "now", "last") == "now"

    assert [record.message for record in caplog.records] == [
        "The driver has not answered for 0.05 s; its last figures stand.",
        "The driver answers again.",
    ]


def test_two_callers_at_once_take_turns() -> None:
    bounded = Bounded[int]("x", deadline_s=5)
    inside, most, lock = 0, 0, threading.Lock()

    def count() -> int:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        threading.Event().wait(0.01)
        with lock:
            inside -= 1
        return 1

    got: list[int] = []
    callers = [threading.Thread(target=lambda: got.append(bounded.call(count, 0))) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(10)

    assert (got, most) == ([1] * 4, 1)
