"""The survey: what is asked of engines and store, and what of the host is known to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from corral.contracts.footprint import SeenLoad
from corral.domain.devices import RAM, DeviceMemory
from corral.domain.fleet import Fleet, ModelSpec
from corral.domain.launch import Footprint
from corral.fakes.engine import FakeProgramEngine
from corral.scheduler.survey import Survey

GIB = 1024**3
LISTED = (DeviceMemory("Vulkan0", 24 * GIB, 23 * GIB), DeviceMemory("Vulkan1", 40 * GIB, 39 * GIB))
MODEL = ModelSpec("m", engine="fake")


class Engine(FakeProgramEngine):
    async def devices(self, model: ModelSpec) -> tuple[DeviceMemory, ...]:
        return LISTED

    def declared(self, model: ModelSpec) -> None:
        return None


class Store:
    """Remembers what it was asked with."""

    def __init__(self, known: SeenLoad | None = None) -> None:
        self.known = known
        self.asked: list[tuple[DeviceMemory, ...]] = []

    def footprint(self, model: ModelSpec, *, digest: str = "", devices: Sequence[DeviceMemory] = ()) -> Footprint:
        self.asked.append(tuple(devices))
        return self.known.measured if self.known else Footprint(1, {"Vulkan1": 5})

    def record(
        self,
        digest: str,
        *,
        estimated: Footprint,
        measured: Footprint,
        load_s: float | None,
        devices: Sequence[DeviceMemory] = (),
    ) -> None:
        self.asked.append(tuple(devices))

    def seen(self, digest: str) -> SeenLoad | None:
        return self.known

    def load_seconds(self, digest: str) -> float | None:
        return None


def charged(needs: Mapping[str, int]) -> Mapping[str, int]:
    """Vulkan1 is an APU."""
    more = needs.get("Vulkan1", 0)
    return {**needs, RAM: needs.get(RAM, 0) + more} if more else needs


async def survey(store: Store) -> Survey:
    found = Survey({"fake": Engine()}, store, smaller=lambda *_: (), charged=charged, wall=lambda: 1000.0)
    await found.devices(Fleet({"m": MODEL}))
    return found


async def test_the_store_is_told_which_gpus_are_in_ram() -> None:
    store = Store()
    found = (await survey(store)).of([MODEL])

    assert [(each.name, each.part_of) for each in store.asked[0]] == [("Vulkan0", ""), ("Vulkan1", RAM)]
    assert found.footprints["m"].by_device() == {RAM: 6, "Vulkan1": 5}
    assert not found.remembered


async def test_it_is_remembered_beside_which_gpus_a_load_was_measured() -> None:
    store = Store()
    (await survey(store)).remember(MODEL, "d", Footprint(3), 1.0)

    assert [each.total_bytes for each in store.asked[-1]] == [24 * GIB, 40 * GIB]


async def test_a_measurement_comes_with_its_age_and_the_estimate() -> None:
    for at, age_s in ((940.0, 60.0), (2000.0, 0.0), (0.0, float("inf"))):
        known = SeenLoad(Footprint(4), Footprint(9, measured=True), 1.0, 1, at)
        (seen,) = (await survey(Store(known))).of([MODEL]).remembered.values()
        assert (seen.estimated, seen.at, seen.age_s) == ({RAM: 4}, at, age_s)
