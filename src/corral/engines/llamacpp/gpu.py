"""
GPUs as one program sees them: what it lists, which of them a Model may use, and a warning where it can use none.

llama.cpp names devices by its back end and a number (`CUDA0`, `ROCm0`, `Vulkan0`, `MTL0`). The number of a CUDA device
counts as the driver orders them: `PCI_ORDER` makes that the order of NVML and of `nvidia-smi`.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from corral.domain.devices import DeviceMemory
from corral.domain.errors import StartFailed
from corral.engines.llamacpp.binary import Program
from corral.kit import guarded

NO_DEVICE: Final = "none"
"""In place of a list of devices: the CPU alone."""
_ORDER: Final = "CUDA_DEVICE_ORDER"
_DEVICE = re.compile(
    r"^\s+(?P<name>[\w.-]+): (?P<what>.*?)(?: \((?P<total>\d+) MiB, (?P<free>\d+) MiB free\))?\s*$", re.MULTILINE
)
_MIB: Final = 1024**2


async def list_devices(
    program: Sequence[str], env: Mapping[str, str], *, deadline_s: float = 20.0
) -> tuple[DeviceMemory, ...]:
    """
    What `program --list-devices` names, in its order: every memory beside the host's. Wakes the GPU drivers.

    Raises StartFailed where it does not answer. Sizes are those of this moment, in whole MiB.
    """
    argv = (*program, "--list-devices")
    try:
        code, text = await guarded.output(argv, env=env, deadline_s=deadline_s)
    except TimeoutError as error:
        raise StartFailed(f"{program[0]} --list-devices did not answer within {deadline_s:g} s.") from error
    except OSError as error:
        raise StartFailed(f"{program[0]} cannot be run: {error.strerror or error}.", permanent=True) from error
    if code != 0:
        tail = tuple(text.splitlines()[-20:])
        raise StartFailed(f"{program[0]} --list-devices ended with code {code}.", log_tail=tail)
    return parse_devices(text)


def parse_devices(text: str) -> tuple[DeviceMemory, ...]:
    """The lines under `Available devices:`, such as `  CUDA0: NVIDIA H200 (143167 MiB, 142000 MiB free)`."""
    _, found, listed = text.partition("Available devices:")
    if not found:
        return ()
    return tuple(
        DeviceMemory(
            name=match["name"],
            total_bytes=int(match["total"] or 0) * _MIB,
            free_bytes=int(match["free"] or 0) * _MIB,
            description=match["what"].strip(),
            source="engine",
        )
        for match in _DEVICE.finditer(listed)
    )


def device_order(env: Mapping[str, str], host: Mapping[str, str] | None = None) -> dict[str, str]:
    """What to add to an engine's environment so that `CUDA0` is the first GPU of NVML too, unless somebody chose."""
    chosen = _ORDER in env or _ORDER in (os.environ if host is None else host)
    return {} if chosen else {_ORDER: "PCI_BUS_ID"}


def usable(devices: Sequence[DeviceMemory], asked: Sequence[str]) -> tuple[DeviceMemory, ...]:
    """Those that the option `device` leaves: all where it is not set, in its own order where it is."""
    if not asked:
        return tuple(devices)
    by_name = {device.name: device for device in devices}
    return tuple(by_name[name] for name in asked if name in by_name)


def gpus_present(find: Callable[[str], list[str]] = glob.glob) -> tuple[str, ...]:
    """Kinds of GPU by their device nodes. Costs three look-ups and wakes no driver."""
    kinds = (("NVIDIA", "/dev/nvidia[0-9]*"), ("AMD", "/dev/kfd"), ("Intel or other", "/dev/dri/renderD*"))
    present = tuple(kind for kind, pattern in kinds if find(pattern))
    # Every AMD and NVIDIA card also has a render node; only alone it says something of its own.
    return tuple(kind for kind in present if kind != "Intel or other" or len(present) == 1)


def gpu_warning(program: Program, present: Sequence[str], devices: Sequence[object]) -> str:
    """One sentence with the way out, or "" when all is well. `devices`: what the program can use beside the CPU."""
    if not present or devices:
        return ""
    what = "The embedded engine" if program.embedded else program.path
    build = {"NVIDIA": "CUDA", "AMD": "ROCm or Vulkan"}.get(present[0], "Vulkan")
    kind = "A" if present[0].startswith("Intel") else f"An {present[0]}"
    return (
        f"{kind} GPU is here but {what} cannot use it: models will run on the CPU. "
        f"Put a llama-server built for {build} on PATH, or set `binary` to one."
    )
