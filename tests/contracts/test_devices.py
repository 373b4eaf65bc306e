"""
What every Devices promises: the host's own readers over trees of files and a library of the test, the fake host, and
this machine as it is.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path

import pynvml
import pytest

from corral.contracts.devices import Devices
from corral.devices import HostDevices, this_host
from corral.devices.amd import AmdSysfs
from corral.devices.nvml import Nvml
from corral.devices.ram import RamReader
from corral.domain.devices import RAM, DeviceMemory
from corral.fakes.devices import FakeDevices
from tests.hosts import GIB, Board, FakeNvml, amd_card, cgroup, link_cards, meminfo, tree

ME = os.getpid()
CARD = "0000:03:00.0"


class Host:
    """A host with 32 GiB of RAM and one GPU of 24 GiB."""

    gpu: str
    devices: Devices

    def neighbour(self, size: int) -> None:
        """Another program holds this much of the GPU."""
        raise NotImplementedError

    def ours(self, size: int) -> None:
        """This process holds that much of the GPU."""
        raise NotImplementedError

    def vanish(self) -> None:
        """The GPU falls off the bus."""
        raise NotImplementedError

    def limit(self, size: int) -> None:
        """A cgroup allows this much RAM."""
        raise NotImplementedError

    def hang(self) -> threading.Event:
        """The GPU's driver does not come back until the event is set."""
        raise NotImplementedError


class FakeHost(Host):
    def __init__(self, folder: Path) -> None:
        self.gpu = "CUDA0"
        self.fake = FakeDevices(ram_bytes=32 * GIB, gpus={self.gpu: 24 * GIB})
        self.devices = self.fake

    def neighbour(self, size: int) -> None:
        self.fake.neighbour(self.gpu, size)

    def ours(self, size: int) -> None:
        self.fake.use(ME, {self.gpu: size})

    def vanish(self) -> None:
        self.fake.vanish(self.gpu)

    def limit(self, size: int) -> None:
        self.fake.limit(size)


class FileHost(Host):
    """RAM and its cgroup from files."""

    def __init__(self, folder: Path) -> None:
        self.folder = tree(folder, meminfo(32 * GIB, 30 * GIB))
        self.ram = RamReader(folder)

    def limit(self, size: int) -> None:
        tree(self.folder, cgroup(size, GIB))


class NvidiaHost(FileHost):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.gpu = "CUDA0"
        self.board = Board("GPU-1", 24 * GIB)
        self.library = FakeNvml(self.board)
        self.devices = HostDevices((Nvml({}, library=self.library),), ram=self.ram, deadline_s=0.2)

    def neighbour(self, size: int) -> None:
        self.board.processes[1] = size
        self._add_up()

    def ours(self, size: int) -> None:
        self.board.processes[ME] = size
        self._add_up()

    def _add_up(self) -> None:
        self.board.used = sum(size or 0 for size in self.board.processes.values())

    def vanish(self) -> None:
        self.board.error = pynvml.NVML_ERROR_GPU_IS_LOST

    def hang(self) -> threading.Event:
        self.library.answers.clear()
        return self.library.answers


class AmdHost(FileHost):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.gpu = "ROCm0"
        self.sizes = {"other": 0, "ours": 0}
        link_cards(tree(folder, amd_card(0, CARD, vram=24 * GIB, node=1)))
        (folder / f"proc/{ME}/fd").mkdir(parents=True)
        (folder / f"proc/{ME}/fdinfo").mkdir(parents=True)
        self.devices = HostDevices((AmdSysfs({}, root=folder),), ram=self.ram)

    def neighbour(self, size: int) -> None:
        self.sizes["other"] = size
        self._add_up()

    def ours(self, size: int) -> None:
        self.sizes["ours"] = size
        tree(self.folder, {"sys/class/kfd/kfd/proc/" + f"{ME}/vram_1001": f"{size}\n"})
        self._add_up()

    def _add_up(self) -> None:
        used = sum(self.sizes.values())
        tree(self.folder, {f"sys/devices/{CARD}/mem_info_vram_used": f"{used}\n"})

    def vanish(self) -> None:
        shutil.rmtree(self.folder / f"sys/devices/{CARD}")


HOSTS = [FakeHost, NvidiaHost, AmdHost]


@pytest.fixture(params=HOSTS, ids=lambda host: host.__name__)
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    made: Host = request.param(tmp_path)
    return made


def named(devices: Devices) -> dict[str, DeviceMemory]:
    return {device.name: device for device in devices.read()}


def test_ram_is_first_and_nothing_is_freer_than_it_is_large(host: Host) -> None:
    found = host.devices.read()

    assert [device.name for device in found] == [RAM, host.gpu]
    assert all(0 <= device.free_bytes <= device.total_bytes for device in found)
    assert found[1].total_bytes == 24 * GIB
    assert found[1].id


def test_a_neighbour_is_seen_and_is_not_ours(host: Host) -> None:
    host.devices.read()
    host.ours(5 * GIB)
    host.neighbour(8 * GIB)

    assert named(host.devices)[host.gpu].free_bytes == 11 * GIB
    assert host.devices.used_by([ME])[host.gpu] == 5 * GIB
    assert host.devices.used_by([])[host.gpu] == 0


def test_processes_that_are_gone_hold_nothing(host: Host) -> None:
    host.devices.read()

    assert host.devices.used_by([2**22 + 1])[RAM] == 0


def test_a_gpu_that_vanishes_is_left_out_and_the_rest_is_as_it_was(host: Host) -> None:
    before = named(host.devices)[RAM]
    host.vanish()

    assert host.devices.read() == (before,)
    assert host.gpu not in host.devices.used_by([ME])


def test_a_limit_lowered_at_run_time_is_seen_at_the_next_reading(host: Host) -> None:
    sizes = [named(host.devices)[RAM].total_bytes]
    for size in (16 * GIB, 8 * GIB):
        host.limit(size)
        sizes.append(named(host.devices)[RAM].total_bytes)

    assert sizes == [32 * GIB, 16 * GIB, 8 * GIB]
    assert named(host.devices)[RAM].source == "cgroup"


def test_a_driver_that_hangs_holds_nobody_up_and_its_last_figures_stand(tmp_path: Path) -> None:
    host = NvidiaHost(tmp_path)
    before = host.devices.read()
    let_go = host.hang()
    try:
        started = time.monotonic()
        assert host.devices.read() == before
        first_s = time.monotonic() - started
        started = time.monotonic()
        host.limit(16 * GIB)
        ram, gpu = host.devices.read()
        second_s = time.monotonic() - started
    finally:
        let_go.set()

    assert (ram.total_bytes, gpu) == (16 * GIB, before[1])
    assert first_s < 2.0
    assert second_s < 0.1  # the second does not even wait


def test_engines_lists_add_what_no_reader_knows(tmp_path: Path) -> None:
    host = NvidiaHost(tmp_path)
    assert isinstance(host.devices, HostDevices)
    host.ours(GIB)
    host.devices.engine_says([DeviceMemory("SYCL0", GIB, GIB, "Intel Arc", source="engine")])
    host.devices.engine_says([DeviceMemory("Vulkan0", 24 * GIB, 24 * GIB, "NVIDIA H200", source="engine")])

    host.devices.engine_says([DeviceMemory("SYCL0", GIB, 0, "Intel Arc", source="engine")])  # ours are there by now

    seen = {device.name: device for device in host.devices.read()}
    assert seen.keys() == {RAM, "Vulkan0", "SYCL0"}
    assert seen["SYCL0"].free_bytes == GIB
    assert host.devices.used_by([ME])["Vulkan0"] == GIB


def test_this_machine_as_it_is() -> None:
    devices = this_host()
    ram = devices.read()[0]

    assert ram.name == RAM
    assert 0 < ram.free_bytes < ram.total_bytes
    assert devices.used_by([ME])[RAM] > 1024**2
