"""
Estimates for Models: their files read, their options asked, companions counted. What has not changed is not read again
(`store.known`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from corral.domain.devices import RAM, DeviceMemory
from corral.domain.fleet import ModelSpec
from corral.domain.launch import Footprint
from corral.store.gguf.asked import Asked
from corral.store.gguf.estimate import Estimate, estimate
from corral.store.gguf.placement import gpus_of
from corral.store.gguf.shape import ModelShape, shape_of
from corral.store.gguf.weights import Weights
from corral.store.known import KnownFiles

_COMPANIONS: Final = frozenset({"mmproj", "lora", "lora_scaled", "control_vector", "control_vector_scaled"})
_SCALED: Final = ("lora_scaled", "control_vector_scaled")  # FILE:SCALE


def _beside(other: Estimate, devices: Sequence[DeviceMemory]) -> list[DeviceMemory]:
    """The devices with that much less room."""
    buffers = other.weights + other.cache + other.compute
    return [
        each if each.name == RAM else replace(each, free_bytes=max(0, each.free_bytes - buffers[each.name]))
        for each in devices
    ]


class FileFootprints:
    """Estimates from model files, for the scheduler. Safe to call from several threads."""

    def __init__(self, files: KnownFiles | None = None) -> None:
        self._files = files or KnownFiles()

    def footprint(self, model: ModelSpec, devices: Sequence[DeviceMemory] = ()) -> Footprint:
        """The estimate for one load; nothing for a Model without a file. Raises StoreFailed."""
        return self.estimate(model, devices).footprint() if model.source.path else Footprint()

    def estimate(self, model: ModelSpec, devices: Sequence[DeviceMemory] = ()) -> Estimate:
        """The same in its parts. Raises StoreFailed."""
        asked = Asked(model.options, model.slots)
        return self.of_shape(self._shape(model.source.path, asked), asked, devices)

    def of_shape(self, shape: ModelShape, asked: Asked, devices: Sequence[DeviceMemory] = ()) -> Estimate:
        """The same for a model that is elsewhere; what goes with it is here. Raises StoreFailed."""
        main = estimate(shape, asked, devices)
        draft = asked.text("model_draft")
        if draft:
            assert main.context is not None
            own = asked.of_draft(main.context.total_cells)
            small = estimate(self._shape(draft, own), own, devices)
            if asked.options.get("n_gpu_layers", "auto") == "auto":  # `--fit` leaves room for the draft
                left = _beside(small, devices)
                main = estimate(shape, asked, left)
                own = asked.of_draft(main.context.total_cells if main.context else 0)
                small = estimate(self._shape(draft, own), own, devices)
            main = main.plus(small)
        others = self._companions(asked, devices)
        return main.plus(Estimate(weights=others)) if others else main

    def shape(self, path: str) -> ModelShape:
        """What a footprint needs to know of the model at this path, remembered until a part changes."""
        return self._files.of(path).shape

    def _shape(self, path: str, asked: Asked) -> ModelShape:
        patterns = asked.patterns()
        if not patterns:
            return self.shape(path)
        found = self._files.read(path)  # tensors by their names, which are not kept
        shape = shape_of(found.header, found.tensors)
        weights = Weights.of(found.tensors, shape.layers, patterns)
        return ModelShape(shape.architecture, shape.layers, shape.numbers, shape.vocabulary, weights)

    def _companions(self, asked: Asked, devices: Sequence[DeviceMemory]) -> Counter[str]:
        """Projectors, adapters and control vectors: on the first GPU where there is one, else in RAM."""
        if _COMPANIONS.isdisjoint(asked.options):
            return Counter()
        gpus = gpus_of(asked, devices)
        first = gpus[0].name if gpus and asked.options.get("n_gpu_layers") != 0 else RAM
        found: Counter[str] = Counter()
        projector = asked.text("mmproj")
        if projector:
            on_gpu = asked.flag("mmproj_offload", True) and asked.text("mmproj_device") != "none"
            place = gpus[0].name if gpus and on_gpu else RAM
            found[place] += self.shape(projector).weights.total_bytes
        plain = [*asked.listed("lora"), *asked.listed("control_vector")]
        scaled = [each.rpartition(":")[0] or each for name in _SCALED for each in asked.listed(name)]
        for path in (*plain, *scaled):
            found[first] += self.shape(path).weights.total_bytes
        return found
