"""
What llama.cpp says that it has allocated: its log -> bytes by device. Pure.

The lines are `load_tensors: CUDA0 model buffer size = 123.45 MiB` and their like for caches, compute buffers, outputs
and adapters; builds of 2026 print them from verbosity 4 on (`verbosity: 4`), older ones always. Sizes are rounded to
0.01 MiB by llama.cpp itself.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from corral.domain.launch import Footprint

_MIB: Final = 1024 * 1024
# `0.00.007.863 I load_tensors:   CPU_Mapped model buffer size =     0.22 MiB`
_BUFFER: Final = re.compile(
    r"(\w+):\s+(\S+)\s+(model|KV|RS|compute|output|LoRA|DSV4 \w+ state) buffer size =\s*(\S+) MiB"
)
_VISION: Final = re.compile(r"\bmodel size:\s*(\S+) MiB")  # the multimodal projector, which names no buffer
_VISION_ON: Final = re.compile(r"CLIP using (\S+) backend")
_DEVICE: Final = re.compile(r"using device (\S+) \(")
_GPU: Final = re.compile(r"([A-Za-z]+\d+)(_\w+)?$")  # CUDA0, Vulkan1, MTL0_Mapped; CPU_Mapped and CUDA_Host are RAM
_CONTEXT: Final = "constructing llama_context"
_TRIAL: Final = (
    "getting device memory data for",
    "fitting params to free memory took",
)  # a load that allocates nothing
_WORDS: Final = ("MiB", _CONTEXT, "CLIP using", *_TRIAL)  # what a line of interest has; most have none
_KINDS: Final = {"model": "weights", "KV": "cache", "RS": "cache", "compute": "compute", "output": "outputs"}
RAM: Final = ""
"""The device of buffers that are in the host's memory."""


@dataclass(frozen=True, slots=True)
class Buffers:
    """Bytes by device (`RAM` for the host's own), for each purpose."""

    weights: Counter[str] = field(default_factory=Counter)
    cache: Counter[str] = field(default_factory=Counter)  # keys, values and recurrent state
    compute: Counter[str] = field(default_factory=Counter)
    outputs: Counter[str] = field(default_factory=Counter)
    adapters: Counter[str] = field(default_factory=Counter)

    def footprint(self) -> Footprint:
        """All of it."""
        total = self.weights + self.cache + self.compute + self.outputs + self.adapters
        ram = total.pop(RAM, 0)
        return Footprint(ram, dict(total), measured=True)


def buffers_of(log: Iterable[str]) -> Buffers | None:
    """The buffers that a log names; None for a log that names no weights (too quiet, or not of llama.cpp)."""
    reader = _Reader()
    for line in log:
        if any(word in line for word in _WORDS):
            reader.line(line)
    return reader.buffers()


class _Reader:
    """What was seen so far. Compute buffers are said again when they grow: the last word for each context counts."""

    def __init__(self) -> None:
        self.found: dict[str, Counter[str]] = {}
        self.compute: dict[tuple[int, str, str], int] = {}
        self.devices: list[str] = []
        self.contexts = 0
        self.trial = False
        self.projector_on = "CPU"

    def line(self, text: str) -> None:
        if any(mark in text for mark in _TRIAL):
            self.trial = _TRIAL[0] in text
        elif self.trial:
            return
        elif _CONTEXT in text:
            self.contexts += 1
        elif match := _BUFFER.search(text):
            self.buffer(match[1], match[2], match[3], _bytes(match[4]))
        elif match := _DEVICE.search(text):
            if match[1] not in self.devices:
                self.devices.append(match[1])
        elif match := _VISION_ON.search(text):
            self.projector_on = match[1]
        elif match := _VISION.search(text):
            self.add("weights", self.projector_on, _bytes(match[1]))

    def buffer(self, function: str, name: str, kind: str, size: int) -> None:
        if kind == "compute":
            self.compute[self.contexts, function, name] = size
        else:
            self.add(_KINDS.get(kind, "adapters" if kind == "LoRA" else "cache"), name, size)

    def add(self, purpose: str, name: str, size: int) -> None:
        for device, share in self.shares(name, size):
            self.found.setdefault(purpose, Counter())[device] += share

    def shares(self, name: str, size: int) -> list[tuple[str, int]]:
        match = _GPU.match(name)
        if match:
            return [(match[1], size)]
        if name.endswith("_Split") and self.devices:  # rows over all GPUs; the log does not say how many on which
            return [(device, size // len(self.devices)) for device in self.devices]
        return [(RAM, size)]

    def buffers(self) -> Buffers | None:
        for (_, _, name), size in self.compute.items():
            self.add("compute", name, size)
        return Buffers(**self.found) if "weights" in self.found else None


def _bytes(mib: str) -> int:
    try:
        return max(0, round(float(mib) * _MIB))
    except (ValueError, OverflowError):  # a line of something else, or cut in two
        return 0
