"""`corral logs` without a name: whose log is meant."""

from __future__ import annotations

from typing import Any

import pytest

from corral.cli import connect
from corral.cli.logs import _only_model


class Status(connect.Corral):
    """A running Corral with these Models."""

    def __init__(self, **states: str) -> None:
        super().__init__(url="http://h")
        self.rows = [{"model": name, "state": state, "instance": 1} for name, state in states.items()]

    def ask(self, *args: Any, **kwargs: Any) -> Any:
        return {"models": self.rows}


def test_the_only_one_that_is_loaded_is_meant() -> None:
    assert _only_model(Status(a="stopped", b="ready", c="failed")) == "b"
    assert _only_model(Status(a="stopped")) == "a"


@pytest.mark.parametrize(
    ("states", "part"),
    [
        ({"a": "stopped", "b": "failed"}, "No Model is loaded. Those that were have a log: name one of a, b."),
        ({"a": "ready", "b": "ready"}, "Whose log? Name one of: a, b."),
        ({}, "No Model has been started yet"),
    ],
)
def test_otherwise_it_is_asked_for(states: dict[str, str], part: str) -> None:
    with pytest.raises(connect.NotRunning) as caught:
        _only_model(Status(**states))
    assert part in caught.value.message
