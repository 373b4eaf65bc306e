"""Say it when a GPU is there and the engine cannot use it: the wheel and many packages are built for the CPU alone."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence

from corral.engines.llamacpp.binary import Program


def gpus_present(find: Callable[[str], list[str]] = glob.glob) -> tuple[str, ...]:
    """Kinds of GPU by their device nodes. Costs three look-ups and wakes no driver."""
    kinds = (("NVIDIA", "/dev/nvidia[0-9]*"), ("AMD", "/dev/kfd"), ("Intel or other", "/dev/dri/renderD*"))
    present = tuple(kind for kind, pattern in kinds if find(pattern))
    # Every AMD and NVIDIA card also has a render node; only alone it says something of its own.
    return tuple(kind for kind in present if kind != "Intel or other" or len(present) == 1)


def gpu_warning(program: Program, present: Sequence[str], devices: Sequence[str]) -> str:
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
