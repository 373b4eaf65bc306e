"""
Hosts made of files and of a library that is not there: sysfs and cgroup trees, and NVML.

    nvml = FakeNvml(Board("GPU-1", 24 * GIB), Board("GPU-2", 24 * GIB))
    HostDevices((Nvml({}, library=nvml),), ram=RamReader(tree(tmp_path, meminfo(32 * GIB, 30 * GIB))))
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml

GIB = 1024**3


def tree(root: Path, files: dict[str, str | bytes]) -> Path:
    """Write files below `root`."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def meminfo(total: int, available: int) -> dict[str, str | bytes]:
    """/proc/meminfo, in bytes."""
    return {"proc/meminfo": f"MemTotal: {total // 1024} kB\nMemAvailable: {available // 1024} kB\n"}


def cgroup(limit: int, used: int) -> dict[str, str | bytes]:
    """A group of version 2 with a limit."""
    folder = "sys/fs/cgroup/box/memory."
    return {"proc/self/cgroup": "0::/box\n", folder + "max": f"{limit}\n", folder + "current": f"{used}\n"}


@dataclass
class Board:
    """A GPU as NVML sees it. `error` is what every question to it raises."""

    uuid: str
    total: int
    used: int = 0
    name: str = "NVIDIA H200"
    bus_id: str = ""
    error: int | None = None
    memory_error: int | None = None
    processes: dict[int, int | None] = field(default_factory=dict)
    graphics: dict[int, int | None] = field(default_factory=dict)
    instances: list[Board | None] | None = None  # MIG
    busy: int = 0


class FakeNvml:
    """The module `pynvml`: its real errors and constants, and boards of the test's own."""

    def __init__(self, *boards: Board, init_error: int | None = None) -> None:
        self.boards = list(boards)
        self.init_error = init_error
        self.opened = 0
        self.answers = threading.Event()
        self.answers.set()

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("NVML_", "NVMLError")):
            return getattr(pynvml, name)
        raise AttributeError(name)

    def nvmlInit(self) -> None:
        if self.init_error is not None:
            raise pynvml.NVMLError(self.init_error)
        self.opened += 1

    def nvmlShutdown(self) -> None:
        self.opened -= 1

    def nvmlDeviceGetCount(self) -> int:
        self.answers.wait(30.0)
        return len(self.boards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Board:
        return self._ask(self.boards[index])

    def nvmlDeviceGetUUID(self, board: Board) -> str:
        return self._ask(board).uuid

    def nvmlDeviceGetName(self, board: Board) -> bytes:
        return self._ask(board).name.encode()

    def nvmlDeviceGetPciInfo(self, board: Board) -> Any:
        return SimpleNamespace(busId=board.bus_id or f"00000000:{self.boards.index(board):02X}:00.0")

    def nvmlDeviceGetMemoryInfo(self, board: Board) -> Any:
        self._ask(board)
        if board.memory_error is not None:
            raise pynvml.NVMLError(board.memory_error)
        return SimpleNamespace(total=board.total, used=board.used, free=board.total - board.used)

    def nvmlDeviceGetUtilizationRates(self, board: Board) -> Any:
        return SimpleNamespace(gpu=self._ask(board).busy)

    def nvmlDeviceGetTemperature(self, board: Board, sensor: int) -> int:
        return 40

    def nvmlDeviceGetPowerUsage(self, board: Board) -> int:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    def nvmlDeviceGetComputeRunningProcesses(self, board: Board) -> list[Any]:
        return [SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in self._ask(board).processes.items()]

    def nvmlDeviceGetGraphicsRunningProcesses(self, board: Board) -> list[Any]:
        return [SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in self._ask(board).graphics.items()]

    def nvmlDeviceGetMigMode(self, board: Board) -> list[int]:
        if board.instances is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return [pynvml.NVML_DEVICE_MIG_ENABLE, pynvml.NVML_DEVICE_MIG_ENABLE]

    def nvmlDeviceGetMaxMigDeviceCount(self, board: Board) -> int:
        return len(board.instances or ())

    def nvmlDeviceGetMigDeviceHandleByIndex(self, board: Board, index: int) -> Board:
        instance = (board.instances or [])[index]
        if instance is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return instance

    @staticmethod
    def _ask(board: Board) -> Board:
        if board.error is not None:
            raise pynvml.NVMLError(board.error)
        return board


def amd_card(
    number: int,
    pci: str,
    *,
    vram: int,
    vram_used: int = 0,
    gtt: int = 0,
    gtt_used: int = 0,
    apu: bool = False,
    node: int | None = None,
) -> dict[str, str | bytes]:
    """The files of one card, and of its compute node when it has one. `link_cards` makes the links."""
    folder = f"sys/devices/{pci}/"
    files: dict[str, str | bytes] = {
        f"sys/links/card{number}": pci,
        folder + "vendor": "0x1002\n",
        folder + "mem_info_vram_total": f"{vram}\n",
        folder + "mem_info_vram_used": f"{vram_used}\n",
        folder + "mem_info_gtt_total": f"{gtt}\n",
        folder + "mem_info_gtt_used": f"{gtt_used}\n",
        folder + "gpu_busy_percent": "25\n",
        folder + "gpu_metrics": bytes((0x80, 0, 3 if apu else 1, 0)),
        folder + "hwmon/hwmon4/temp1_input": "51000\n",
        folder + "hwmon/hwmon4/power1_average": "35000000\n",
    }
    if node is not None:
        bus, device = int(pci[5:7], 16), int(pci[8:10], 16)
        place = f"sys/class/kfd/kfd/topology/nodes/{node}/"
        location = bus << 8 | device << 3
        files[place + "properties"] = f"simd_count 80\ngfx_target_version 110501\nlocation_id {location}\ndomain 0\n"
        files[place + "gpu_id"] = f"{1000 + node}\n"
    return files


def link_cards(root: Path) -> Path:
    """`sys/class/drm/cardN/device` as the kernel has it: a link to the PCI device's folder."""
    for note in (root / "sys/links").glob("card*"):
        folder = root / "sys/class/drm" / note.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "device").symlink_to(root / "sys/devices" / note.read_text())
    return root
