"""
NVIDIA GPUs through NVML, the library of the driver that `nvidia-smi` reads.

Nothing here raises: a missing library, a driver without its module, a GPU that fell off the bus are sentences in the
log, each said once. A lost GPU keeps its number, so that the others keep theirs; NVML is opened anew from time to time,
because a GPU that was reset is not seen by who had it open before.
"""

from __future__ import annotations

import importlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from corral.devices.cuda_names import Unit, visible
from corral.devices.said import Said
from corral.domain.devices import RAM, Activity, DeviceMemory

logger = logging.getLogger(__name__)

RETRY_S: Final = 60.0
"""Between two tries to open NVML, or to find a lost GPU again."""
_UNEXPLAINED: Final = 1024**3
"""A GPU with more than this in use and no process on it is one whose processes we may not see."""


@dataclass(frozen=True, slots=True)
class _Gpu:
    """A unit and the handles of NVML that read it. `board` is the whole GPU of a MIG instance."""

    unit: Unit
    handle: Any
    board: Any
    name: str


class Nvml:
    """Implements `devices.host.GpuReader`. `library` stands in for the module `pynvml` in tests."""

    name = "NVML"

    def __init__(
        self,
        env: Mapping[str, str] = os.environ,
        *,
        library: Any = None,
        root: Path = Path("/"),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._env = env
        self._library = library
        self._root = root
        self._now = now
        self._open = False
        self._retry_at: float | None = None
        self._said = Said(logger)
        self._numbered: dict[str, _Gpu] = {}
        self._bus_ids: dict[int, str] = {}  # where the GPU of an NVML index sits, for when it no longer says so

    def read(self, ram: DeviceMemory) -> Sequence[DeviceMemory]:
        """CUDA0, CUDA1, ... as they answer."""
        if not self._ready():
            self._numbered = {}
            return ()
        nvml = self._library
        try:
            gpus = list(self._gpus())
        except nvml.NVMLError as error:
            self._lost("all", f"NVML lists no GPUs now: {error}.")
            self._numbered = {}
            return ()
        gpus.sort(key=lambda gpu: gpu.unit.bus_id)
        order = visible([gpu.unit for gpu in gpus], self._env)
        self._numbered = {f"CUDA{number}": gpus[position] for number, position in enumerate(order)}
        self._doubts(gpus)
        found = (self._memory(name, gpu, ram) for name, gpu in self._numbered.items() if gpu.unit.uuid)
        return [memory for memory in found if memory is not None]

    def used_by(self, pids: frozenset[int]) -> Mapping[str, int]:
        """By the driver's list of processes, where it shows ours."""
        found: dict[str, int] = {}
        for name, gpu in self._numbered.items():
            try:
                held = self._held(gpu, pids) if gpu.unit.uuid else None
            except self._library.NVMLError:  # not supported, no permission, lost since
                held = None
            if held is not None:
                found[name] = held
        return found

    # --- the library

    def _ready(self) -> bool:
        if self._open and self._retry_at is not None and self._now() >= self._retry_at:
            self._close()  # something was lost: look with fresh eyes
        if self._open:
            return True
        if self._retry_at is not None and self._now() < self._retry_at:
            return False
        self._retry_at = self._now() + RETRY_S
        try:
            self._library = self._library or importlib.import_module("pynvml")
        except ImportError:
            self._absent("The Python package nvidia-ml-py is not installed: NVIDIA GPUs are not seen.")
            return False
        try:
            self._library.nvmlInit()
        except self._library.NVMLError as error:
            self._absent(_open_sentence(self._library, error))
            return False
        self._said.over("open", "NVML answers again.")
        self._open, self._retry_at = True, None
        return True

    def _close(self) -> None:
        try:
            self._library.nvmlShutdown()
        except self._library.NVMLError:  # it was lost with everything else
            pass
        self._open, self._retry_at = False, None

    def _absent(self, sentence: str) -> None:
        """Without an NVIDIA card that is how things should be."""
        here = (self._root / "dev/nvidiactl").exists() or (self._root / "proc/driver/nvidia/version").exists()
        self._said.once("open", sentence, level=logging.WARNING if here else logging.DEBUG)

    def _lost(self, about: str, sentence: str) -> None:
        self._said.once(about, sentence)
        if self._retry_at is None:
            self._retry_at = self._now() + RETRY_S

    # --- GPUs

    def _gpus(self) -> Iterator[_Gpu]:
        nvml = self._library
        for index in range(nvml.nvmlDeviceGetCount()):
            try:
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
                bus_id = _text(nvml.nvmlDeviceGetPciInfo(handle).busId)
                unit = Unit(_text(nvml.nvmlDeviceGetUUID(handle)), bus_id)
                gpu = _Gpu(unit, handle, handle, _text(nvml.nvmlDeviceGetName(handle)))
            except nvml.NVMLError as error:
                if error.value == nvml.NVML_ERROR_NO_PERMISSION:  # another container's: CUDA does not see it either
                    continue
                self._lost(f"gpu {index}", f"GPU {index} of NVML has vanished: {error}. {_RESET}")
                yield _Gpu(Unit("", self._bus_ids.get(index, f"{index:08}")), None, None, "")
                continue
            self._said.over(f"gpu {index}", f"GPU {index} of NVML is back: {gpu.name}.")
            self._bus_ids[index] = bus_id
            instances = list(self._instances(gpu))
            yield from instances or [gpu]

    def _instances(self, gpu: _Gpu) -> Iterator[_Gpu]:
        """MIG instances; none for a GPU in one piece."""
        nvml = self._library
        try:
            if nvml.nvmlDeviceGetMigMode(gpu.handle)[0] != nvml.NVML_DEVICE_MIG_ENABLE:
                return
            count = nvml.nvmlDeviceGetMaxMigDeviceCount(gpu.handle)
        except nvml.NVMLError:  # not a GPU that can
            return
        self._said.once(
            f"mig {gpu.unit.uuid}",
            f"{gpu.name} is split by MIG: CUDA uses one instance, the one in CUDA_VISIBLE_DEVICES or else the first.",
            level=logging.INFO,
        )
        for index in range(count):
            try:
                handle = nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu.handle, index)
                uuid = _text(nvml.nvmlDeviceGetUUID(handle))
            except nvml.NVMLError:  # a place with no instance in it
                continue
            yield _Gpu(Unit(uuid, f"{gpu.unit.bus_id}/{index:02}", mig=True), handle, gpu.handle, f"{gpu.name} MIG")

    def _memory(self, name: str, gpu: _Gpu, ram: DeviceMemory) -> DeviceMemory | None:
        nvml, uuid = self._library, gpu.unit.uuid
        try:
            memory = nvml.nvmlDeviceGetMemoryInfo(gpu.handle)
        except nvml.NVMLError as error:
            if error.value != nvml.NVML_ERROR_NOT_SUPPORTED:
                self._lost(uuid, f"{name} ({gpu.name}) does not answer: {error}. {_RESET}")
                return None
            # DGX Spark and Jetson: one memory for all, of which the driver says nothing.
            return DeviceMemory(name, ram.total_bytes, ram.free_bytes, gpu.name, uuid, "nvml", RAM, self._activity(gpu))
        self._said.over(uuid, f"{name} ({gpu.name}) answers again.")
        return DeviceMemory(
            name, int(memory.total), int(memory.free), gpu.name, uuid, "nvml", activity=self._activity(gpu)
        )

    def _activity(self, gpu: _Gpu) -> Activity:
        nvml = self._library

        def ask(question: Callable[[], float], unit: float) -> float | None:
            try:
                return question() * unit
            except nvml.NVMLError:  # not supported on this card, or on a MIG instance
                return None

        return Activity(
            ask(lambda: float(nvml.nvmlDeviceGetUtilizationRates(gpu.handle).gpu), 0.01),
            ask(lambda: float(nvml.nvmlDeviceGetTemperature(gpu.board, nvml.NVML_TEMPERATURE_GPU)), 1.0),
            ask(lambda: float(nvml.nvmlDeviceGetPowerUsage(gpu.board)), 0.001),
        )

    def _held(self, gpu: _Gpu, pids: frozenset[int]) -> int | None:
        """Bytes of ours; None where the driver's list does not tell."""
        nvml = self._library
        by_pid: dict[int, int | None] = {}
        # A Vulkan engine is a graphics process; one that is both stands in both lists with the same figure.
        for ask in (nvml.nvmlDeviceGetComputeRunningProcesses, nvml.nvmlDeviceGetGraphicsRunningProcesses):
            by_pid.update({process.pid: process.usedGpuMemory for process in ask(gpu.handle)})
        ours = [by_pid[pid] for pid in pids & by_pid.keys()]
        if ours:
            return None if None in ours else sum(size for size in ours if size is not None)
        if by_pid:  # pids of a namespace outside of ours name no process here, or one that has nothing to do with it
            return 0 if all((self._root / f"proc/{pid}").exists() for pid in by_pid) else None
        return 0 if int(nvml.nvmlDeviceGetMemoryInfo(gpu.handle).used) < _UNEXPLAINED else None

    def _doubts(self, gpus: Sequence[_Gpu]) -> None:
        """Say where the numbers may be others than CUDA's."""
        if self._env.get("CUDA_DEVICE_ORDER") == "FASTEST_FIRST" and len({gpu.name for gpu in gpus if gpu.name}) > 1:
            self._said.once(
                "order",
                "CUDA_DEVICE_ORDER=FASTEST_FIRST with GPUs of different kinds: Corral counts them in PCI order, so its "
                "CUDA0 may be another than the engines'. Unset it, or set PCI_BUS_ID.",
            )


_RESET: Final = "Nothing is loaded there until it answers; `nvidia-smi` and the kernel's log say more."


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _open_sentence(nvml: Any, error: Any) -> str:
    """Why NVML cannot be opened, and what to do."""
    known = {
        nvml.NVML_ERROR_LIBRARY_NOT_FOUND: "libnvidia-ml.so.1 is not here: install the NVIDIA driver, or give this "
        "container the GPUs (`--gpus all`)",
        nvml.NVML_ERROR_DRIVER_NOT_LOADED: "the NVIDIA driver is not loaded: `modprobe nvidia`, or restart",
        nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "the NVIDIA driver was updated under the running kernel: restart "
        "the machine",
        nvml.NVML_ERROR_NO_PERMISSION: "this user may not open the NVIDIA devices: see the rights of /dev/nvidia*",
    }
    return f"NVIDIA GPUs are not seen: {known.get(error.value, f'NVML says {error}')}."
