"""
What llama.cpp says that it has allocated: its log -> bytes by device. Pure.

The lines are `load_tensors: CUDA0 model buffer size = 123.45 MiB` and their like for caches, compute buffers, outputs
and adapters; builds of 2026 print them from verbosity 4 on, older ones always. Sizes are rounded to 0.01 MiB by
llama.cpp itself.

A mapped file is one buffer from the first tensor that is used in it to the last. Tensors between them that went to a
GPU, or were rearranged for the CPU (`CPU_REPACK`), are in it again: pages that nobody needs any more, and that the
system takes back when it wants to. They are counted as spare.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from corral.domain.devices import RAM
from corral.domain.launch import Footprint

_MIB: Final = 1024 * 1024
# `0.00.007.863 I load_tensors:   CPU_Mapped model buffer size =     0.22 MiB`
_BUFFER: Final = re.compile(
    r"(\w+):\s+(\S+)\s+(model|KV|RS|compute|output|LoRA|DSV4 \w+ state) buffer size =\s*(\S+) MiB"
)
_VISION: Final = re.compile(r"\bmodel size:\s*(\S+) MiB")  # the multimodal projector, which names no buffer
_VISION_ON: Final = re.compile(r"CLIP using (\S+) backend")
_DEVICE: Final = re.compile(r"using device (\S+) \(")
_FILE: Final = re.compile(r"print_info: file size\s+=\s*(\S+) MiB \((\S+) BPW\)")
_COUNT: Final = re.compile(r"print_info: (n_vocab|n_embd)\s+=\s*(\d{1,12})\b")
_GPU: Final = re.compile(r"([A-Za-z]+\d+)(_\w+)?$")  # CUDA0, Vulkan1, MTL0_Mapped; CPU_Mapped and CUDA_Host are RAM
_MAPPED: Final = "CPU_Mapped"
_CONTEXT: Final = "constructing llama_context"
_TRIAL: Final = (
    "getting device memory data for",
    "fitting params to free memory took",
)  # a load that allocates nothing
_WORDS: Final = (
    "MiB",
    "print_info: n_",
    _CONTEXT,
    "CLIP using",
    *_TRIAL,
)  # what lines of interest have; most have none
_KINDS: Final = {"model": "weights", "KV": "cache", "RS": "cache", "compute": "compute", "output": "outputs"}


@dataclass(frozen=True, slots=True)
class Buffers:
    """Bytes by device (`ram` for the host's own), for each purpose."""

    weights: Counter[str] = field(default_factory=Counter)
    cache: Counter[str] = field(default_factory=Counter)  # keys, values and recurrent state
    compute: Counter[str] = field(default_factory=Counter)
    outputs: Counter[str] = field(default_factory=Counter)
    adapters: Counter[str] = field(default_factory=Counter)
    spare: int = 0  # mapped pages of the file that are not needed

    def footprint(self) -> Footprint:
        """All of it."""
        total = self.weights + self.cache + self.compute + self.outputs + self.adapters
        ram = total.pop(RAM, 0)
        return Footprint(ram, dict(total), measured=True, spare_bytes=self.spare)


def buffers_of(log: Iterable[str]) -> Buffers | None:
    """The buffers that a log names; None for a log that names no weights (too quiet, or not of llama.cpp)."""
    reader = _Reader()
    for line in log:
        if any(word in line for word in _WORDS):
            reader.line(line)
    return reader.buffers()


@dataclass(slots=True)
class _File:
    """One model of the load: how large its file is, and where its weights went."""

    size: int
    bits: float  # for each weight, on average
    mapped: int = 0
    elsewhere: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    def needed(self) -> int:
        """Bytes of the mapping that are used: what is nowhere else, and at least the embedding of the tokens."""
        embedding = self.counts.get("n_vocab", 0) * self.counts.get("n_embd", 0) * self.bits / 8
        return min(self.mapped, max(self.size - self.elsewhere, int(embedding)))


class _Reader:
    """What was seen so far. Compute buffers are said again when they grow: the last word for each context counts."""

    def __init__(self) -> None:
        self.found: dict[str, Counter[str]] = {}
        self.compute: dict[tuple[int, str, str], int] = {}
        self.devices: list[str] = []
        self.files: list[_File] = []
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
        elif match := _FILE.search(text):
            self.files.append(_File(_bytes(match[1]), _bytes(match[2]) / _MIB))
        elif match := _COUNT.search(text):
            if self.files:
                self.files[-1].counts[match[1]] = int(match[2])
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
        elif kind == "model" and self.files:
            file = self.files[-1]
            if name == _MAPPED:
                file.mapped += size
            else:
                file.elsewhere += size
                self.add("weights", name, size)
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
        for file in self.files:
            if file.mapped:
                self.add("weights", _MAPPED, file.needed())
        spare = sum(file.mapped - file.needed() for file in self.files)
        return Buffers(**self.found, spare=spare) if "weights" in self.found else None


def _bytes(mib: str) -> int:
    try:
        return max(0, round(float(mib) * _MIB))
    except (ValueError, OverflowError):  # a line of something else, or cut in two
        return 0
