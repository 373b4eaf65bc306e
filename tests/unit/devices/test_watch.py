import asyncio
import random
from collections.abc import Iterable

from corral.devices.budget import others_bytes
from corral.devices.watch import DeviceWatch
from corral.domain.devices import RAM, CpuTime, DeviceMemory, Snapshot
from corral.domain.errors import PlaceFailed
from corral.fakes.devices import FakeDevices

GIB = 1024**3
MIB = 1024**2


class World:
    """A host, a watch over it, and what it called back."""

    def __init__(self, **gpus: int) -> None:
        self.host = FakeDevices(ram_bytes=32 * GIB, gpus={name: size * GIB for name, size in gpus.items()})
        self.heard: list[Snapshot] = []
        self.ours: list[int] = []
        self.watch = DeviceWatch(self.host, self.heard.append, pids=self.pids, now=lambda: 7.0)

    async def pids(self) -> Iterable[int]:
        return self.ours

    async def news(self) -> bool:
        """Look, and whether that was worth a call."""
        before = len(self.heard)
        await self.watch.look()
        return len(self.heard) > before


async def test_the_machines_cpu_time_is_read_beside_the_devices() -> None:
    world = World()
    watch = DeviceWatch(world.host, cpu=lambda: CpuTime(1.0, 2.0))

    assert (await watch.look()).cpu == CpuTime(1.0, 2.0)
    assert (await world.watch.look()).cpu is None


async def test_the_first_look_is_news_and_the_same_again_is_not() -> None:
    world = World(CUDA0=24)

    assert [await world.news() for _ in range(3)] == [True, False, False]
    assert [device.name for device in world.watch.last.devices] == [RAM, "CUDA0"]
    assert world.watch.last.at == 7.0


async def test_what_ours_take_is_no_news_and_what_others_take_is() -> None:
    world = World(CUDA0=24)
    await world.news()
    world.ours = [5]
    world.host.use(5, {RAM: 10 * GIB, "CUDA0": 20 * GIB})
    own = await world.news()
    world.host.neighbour("CUDA0", 2 * GIB)

    assert (own, await world.news()) == (False, True)
    last = world.watch.last
    assert others_bytes(last.devices[1], last.devices, last.ours) == 2 * GIB


async def test_small_changes_are_no_news_until_they_have_added_up() -> None:
    world = World()
    await world.news()
    told = []
    for step in range(1, 6):
        world.host.neighbour(RAM, step * 100 * MIB)
        told.append(await world.news())

    assert told == [False, False, False, True, False]  # one in a hundred of 32 GiB is 328 MiB


async def test_a_limit_that_falls_a_gpu_that_goes_and_one_that_returns_are_news() -> None:
    world = World(CUDA0=24)
    await world.news()
    world.host.limit(16 * GIB)
    fell = await world.news()
    world.host.vanish("CUDA0")
    went = await world.news()
    gone = world.watch.last.gone
    world.host.come_back("CUDA0")

    assert (fell, went, sorted(gone)) == (True, True, ["CUDA0"])
    assert (await world.news(), world.watch.last.gone) == (True, frozenset())


async def test_it_waits_about_as_long_as_it_should_and_never_exactly() -> None:
    host = FakeDevices(ram_bytes=GIB)
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 50:
            raise asyncio.CancelledError

    watch = DeviceWatch(host, every_s=10.0, sleep=sleep, rng=random.Random(1))
    try:
        await watch.run()
    except asyncio.CancelledError:
        pass

    assert (host.reads, len(set(waits))) == (49, 50)
    assert 8.0 <= min(waits) < max(waits) <= 12.0


async def test_without_knowing_which_processes_are_ours_the_last_reading_stands() -> None:
    world = World()
    first = await world.watch.look()

    async def nobody_knows() -> Iterable[int]:
        raise PlaceFailed("The keeper does not answer.")

    world.watch = DeviceWatch(world.host, world.heard.append, pids=nobody_knows)
    world.host.neighbour(RAM, 9 * GIB)

    assert await world.watch.look() == Snapshot()
    assert world.heard == [first]


async def test_what_a_device_cannot_tell_is_taken_from_the_count() -> None:
    host = FakeDevices(ram_bytes=32 * GIB, gpus={"MTL0": 24 * GIB}, blind=["MTL0"])
    host.use(5, {RAM: 2 * GIB, "MTL0": 20 * GIB})

    async def pids() -> Iterable[int]:
        return [5]

    watch = DeviceWatch(host, pids=pids, counted=lambda: {RAM: GIB, "MTL0": 19 * GIB})
    last = await watch.look()

    assert last.ours == {RAM: 2 * GIB, "MTL0": 19 * GIB}, "what is seen goes before what is counted"
    assert others_bytes(last.devices[1], last.devices, last.ours) == GIB


async def test_a_gpu_that_is_called_otherwise_now_has_not_gone() -> None:
    class Renamed(FakeDevices):
        def read(self) -> tuple[DeviceMemory, ...]:
            name = "CUDA0" if watch.last.at == 0.0 else "Vulkan0"
            return DeviceMemory(RAM, GIB, GIB), DeviceMemory(name, GIB, GIB, id="0000:01:00.0")

    times = iter([1.0, 2.0])
    watch = DeviceWatch(Renamed(ram_bytes=GIB), now=lambda: next(times))
    await watch.look()
    last = await watch.look()

    assert ([device.name for device in last.devices], last.gone) == ([RAM, "Vulkan0"], frozenset())
