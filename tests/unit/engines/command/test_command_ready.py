"""Waiting for a program: what its answers mean."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from corral.domain.errors import StartFailed
from corral.domain.launch import Endpoint
from corral.engines.command import ready

AT = Endpoint(host="127.0.0.1", port=4242)


class Program:
    """Answers one status after the other, 0 for none at all."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, statuses: Iterator[int]) -> None:
        self.asked = 0

        async def status(link: object, endpoint: Endpoint, path: str) -> int:
            self.asked += 1
            return next(statuses)

        monkeypatch.setattr(ready, "_status", status)
        monkeypatch.setattr(ready, "_LOADING_PAUSE_S", 0.001)
        monkeypatch.setattr(ready, "_LISTENING_PAUSE_S", 0.001)
        monkeypatch.setattr(ready, "_FIRST_PAUSE_S", 0.001)


async def test_a_path_that_stays_unknown_ends_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    Program(monkeypatch, iter([0, 503, *[404] * 1000]))
    with pytest.raises(StartFailed, match="answers GET /ok with 404") as failed:
        await ready.wait_ready(AT, "/ok", not_there_s=0.01)
    assert failed.value.permanent


async def test_a_path_that_comes_and_goes_while_it_loads_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program(monkeypatch, iter([404, 503, *[404, 503] * 20, 404, 200]))
    await ready.wait_ready(AT, "/ok", not_there_s=0.02)  # every 404 alone is far shorter than that
    assert program.asked == 44


@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_that_is_refused_ends_the_start(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    Program(monkeypatch, iter([status]))
    with pytest.raises(StartFailed, match=f"refuses GET /ok at http://127.0.0.1:4242 \\({status}\\)"):
        await ready.wait_ready(AT, "/ok")
