"""Which Models are looked at when: what has to be decided first, what is asked for at once, the rest in slices."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Sequence

from corral.domain.events import ModelsSurveyed
from corral.domain.facts import ModelFacts
from corral.domain.fleet import Fleet, ModelSpec
from corral.domain.launch import Footprint
from corral.scheduler.survey import Survey
from corral.scheduler.surveying import FIRST_S, SLICE_S, Surveying


class Looks(Survey):
    """A look at a Model takes `look_s` of a clock that stands still otherwise."""

    def __init__(self, look_s: float) -> None:
        self.look_s, self.now = look_s, 0.0
        self.seen: list[str] = []
        self.broken: set[str] = set()
        self.hung: dict[str, threading.Event] = {}

    def of(self, models: Iterable[ModelSpec]) -> ModelsSurveyed:
        taken = {}
        for model in models:
            if model.name in self.hung:
                self.hung[model.name].wait(10)
            if model.name in self.broken:
                raise OSError("the disk is gone")
            self.seen.append(model.name)
            self.now += self.look_s
            taken[model.name] = model
        return ModelsSurveyed(taken, dict.fromkeys(taken, "d"), dict.fromkeys(taken, Footprint(1)))


class Stage:
    def __init__(self, look_s: float = SLICE_S / 2) -> None:
        self.looks = Looks(look_s)
        self.events: list[ModelsSurveyed] = []
        self.facts: dict[str, ModelFacts] = {}
        self.rests: list[float] = []
        self.saved = 0
        self.surveying = Surveying(
            self.looks, self.read, submit=self.events.append, told=self.facts.update, save=self.save,
            now=lambda: self.looks.now, sleep=self.sleep,
        )  # fmt: skip

    def read(self, models: Sequence[ModelSpec]) -> dict[str, ModelFacts]:
        return {model.name: ModelFacts(name=model.name) for model in models}

    def save(self) -> None:
        self.saved += 1

    async def sleep(self, seconds: float) -> None:
        self.rests.append(seconds)
        await asyncio.sleep(0)


def fleet(count: int, *more: ModelSpec) -> Fleet:
    return Fleet({each.name: each for each in (*(ModelSpec(f"m{number}") for number in range(count)), *more)})


async def test_an_ordinary_fleet_is_whole_before_it_is_announced() -> None:
    s = Stage()
    event, facts = await s.surveying.of(fleet(20), ())
    assert list(event.digests) == list(event.footprints) == list(facts) == [f"m{number}" for number in range(20)]
    s.surveying.go_on()
    await s.surveying.over()
    assert (s.events, s.saved) == ([], 1)


async def test_of_a_large_one_only_what_has_to_be_decided_and_what_time_allows() -> None:
    s = Stage(look_s=FIRST_S)
    whole = fleet(9, ModelSpec("pinned", pin=True), ModelSpec("preloaded", preload=True))
    event, facts = await s.surveying.of(whole, {"m7", "m8"})
    assert list(event.digests) == list(facts) == ["m7", "m8", "pinned", "preloaded"]
    s.surveying.go_on()
    await s.surveying.over()
    assert [name for each in s.events for name in each.digests] == [f"m{number}" for number in range(7)]
    assert sorted(s.facts) == [f"m{number}" for number in range(7)]
    assert s.saved == 1


async def test_the_rest_comes_in_slices_with_rests_between_them() -> None:
    s = Stage(look_s=SLICE_S / 2)
    await s.surveying.of(fleet(5000), ())
    told = len(s.looks.seen)
    s.surveying.go_on()
    await s.surveying.over()
    assert told < 1000
    assert len(s.looks.seen) == len(set(s.looks.seen)) == 5000
    assert max(len(each.digests) for each in s.events) <= 3
    assert len(s.rests) == len(s.events)
    assert min(s.rests) > 0


async def test_who_is_asked_for_waits_for_nobody_elses_file() -> None:
    s = Stage(look_s=FIRST_S)
    whole = fleet(9)
    s.looks.hung = {"m3": threading.Event(), "m5": threading.Event()}
    await s.surveying.of(whole, ())
    s.surveying.go_on()
    s.surveying.ask(whole.models["m5"])
    s.surveying.ask(whole.models["m8"])
    async with asyncio.timeout(10):
        while not any("m8" in each.digests for each in s.events):
            await asyncio.sleep(0.001)
    assert "m3" not in s.looks.seen
    assert "m5" not in s.looks.seen
    for each in s.looks.hung.values():
        each.set()
    await s.surveying.over()
    await s.surveying.aclose()


async def test_a_look_that_breaks_is_answered_all_the_same() -> None:
    """The machine waits for it; its start says what is wrong."""
    s = Stage()
    s.looks.broken = {"m0"}
    spec = fleet(1).models["m0"]
    s.surveying.ask(spec)
    async with asyncio.timeout(10):
        while not s.events:
            await asyncio.sleep(0.001)
    assert s.events[0].models == {"m0": spec}
    assert s.events[0].footprints == {"m0": Footprint()}
    assert s.events[0].digests["m0"]


async def test_a_newer_fleet_ends_what_is_left_of_the_older() -> None:
    s = Stage(look_s=FIRST_S)
    await s.surveying.of(fleet(500), ())
    s.surveying.go_on()
    newer = Fleet({"new": ModelSpec("new"), "newer": ModelSpec("newer")})
    await s.surveying.of(newer, ())
    told = len(s.events)
    s.surveying.go_on()
    await s.surveying.over()
    assert {name for each in s.events[told:] for name in each.digests} == {"newer"}
    assert len(s.looks.seen) < 100
