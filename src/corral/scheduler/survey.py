"""
The survey: what the machine has to be told of Models. Digests, footprints, load times, smaller ways to start.

All of it is read here, off the loop and before the event, because the machine reads nothing. It is done again with
every reload, so what has not changed must be cheap: engines and store remember their files by size and mtime. When
which Model has its turn is `surveying`'s question.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf
from typing import Any

from corral.contracts.engine import Engine
from corral.contracts.footprint import Footprints
from corral.domain.devices import RAM, DeviceMemory
from corral.domain.errors import StoreFailed
from corral.domain.events import ModelsSurveyed
from corral.domain.fleet import Fleet, ModelSpec, OptionValue
from corral.domain.launch import Footprint, Remembered, Variant, load_digest

logger = logging.getLogger(__name__)

Smaller = Callable[[ModelSpec, Sequence[DeviceMemory]], Iterable[tuple[Mapping[str, OptionValue], str]]]
"""(resolved Model, devices) -> options of smaller ways to start it, the largest first, each with words for people."""
Charged = Callable[[Mapping[str, int]], Mapping[str, int]]
"""Needs by device -> the same with every byte at each memory that it takes room in (a GPU may share RAM)."""


class Survey:
    """`smaller` is the store's, `charged` that of the host's devices as they were read last."""

    def __init__(
        self,
        engines: Mapping[str, Engine],
        footprints: Footprints,
        *,
        smaller: Smaller,
        charged: Charged,
        wall: Callable[[], float],
    ) -> None:
        self._engines = engines
        self._footprints = footprints
        self._smaller = smaller
        self._charged = charged
        self._wall = wall
        self._devices: dict[tuple[object, ...], tuple[DeviceMemory, ...]] = {}

    async def devices(self, fleet: Fleet) -> tuple[DeviceMemory, ...]:
        """The GPUs that programs of this Fleet can use. A program is asked once for each way in which it is called."""
        found: dict[str, DeviceMemory] = {}
        for model in fleet.models.values():
            key = _asked_as(model)
            if key not in self._devices:
                self._devices[key] = await self._engines[model.engine].devices(model)
            found.update({device.name: device for device in self._devices[key]})
        return tuple(found.values())

    def devices_of(self, model: ModelSpec) -> tuple[DeviceMemory, ...]:
        """Those that its program can use, as it said last; of what each is a part only the host knows."""
        found = self._devices.get(_asked_as(model), ())
        return tuple(dataclasses.replace(each, part_of=self._part_of(each.name) or each.part_of) for each in found)

    def _part_of(self, device: str) -> str:
        others = [name for name in self._charged({device: 1}) if name != device]
        return RAM if RAM in others else next(iter(others), "")

    def of(self, models: Iterable[ModelSpec]) -> ModelsSurveyed:
        """
        The event. A Model whose files cannot be read is in it with no needs: its start says why.

        Blocks on the disk, one Model after the other. The `devices` of their Fleet must have been asked for.
        """
        specs: dict[str, ModelSpec] = {}
        digests: dict[str, str] = {}
        footprints: dict[str, Footprint] = {}
        load_s: dict[str, float] = {}
        variants: dict[str, tuple[Variant, ...]] = {}
        for model in models:
            name = model.name
            if model.source.wanting:  # nothing can be said before its files are here
                specs[name], digests[name], footprints[name] = model, load_digest(self._parts(model)), Footprint()
                continue
            specs[name], digest = model, self.digest(model)
            digests[name], footprints[name] = digest, self._measure(model, digest)
            seconds = self._footprints.load_seconds(digest)
            if seconds is not None:
                load_s[name] = seconds
            if model.fit is not None:
                variants[name] = self._variants(model)
        measured = {digests[name] for name, footprint in footprints.items() if footprint.measured}
        measured |= {each.digest for ways in variants.values() for each in ways if each.footprint.measured}
        return ModelsSurveyed(specs, digests, footprints, load_s, variants, self._remembered(measured))

    def nothing_of(self, model: ModelSpec) -> ModelsSurveyed:
        """The event for one at which the look itself broke: no needs, as for files that cannot be read."""
        return ModelsSurveyed(
            {model.name: model}, {model.name: load_digest(self._parts(model))}, {model.name: Footprint()}
        )

    def digest(self, model: ModelSpec) -> str:
        """The load digest of a Model as it is now. Looks at files."""
        return load_digest({**self._parts(model), "found": self._engines[model.engine].digest_parts(model)})

    @staticmethod
    def _parts(model: ModelSpec) -> dict[str, Any]:
        return {
            "source": model.source.path, "engine": model.engine, "runtime": model.runtime, "binary": model.binary,
            "options": dict(model.options), "args": model.args, "env": model.env,
        }  # fmt: skip

    def estimate(self, model: ModelSpec) -> Footprint:
        """What a load is expected to take, whatever earlier loads have shown; nothing of a file that has gone."""
        try:
            return self._footprint(model, "")
        except StoreFailed:
            return Footprint()

    def remember(self, model: ModelSpec, digest: str, measured: Footprint, load_s: float | None) -> None:
        """What a load has shown, for the next one."""
        try:
            estimated = self._footprint(model, "")
        except StoreFailed:  # its file has gone since
            return
        self._footprints.record(
            digest, estimated=estimated, measured=measured, load_s=load_s, devices=self.devices_of(model)
        )

    # --- inside ---------------------------------------------------------------------------------------------------

    def _remembered(self, digests: Iterable[str]) -> dict[str, Remembered]:
        now, found = self._wall(), {}
        for digest in digests:
            if (seen := self._footprints.seen(digest)) is not None:
                age_s = max(0.0, now - seen.at) if seen.at else inf  # a clock may have been put back
                found[digest] = Remembered(seen.estimated.by_device(), seen.at, age_s)
        return found

    def _measure(self, model: ModelSpec, digest: str) -> Footprint:
        try:
            return self._footprint(model, digest)
        except StoreFailed as error:  # its start will fail with the same sentence; the others can be served
            logger.warning("%s cannot be served: %s", model.name, error.sentence())
            return Footprint()

    def _footprint(self, model: ModelSpec, digest: str) -> Footprint:
        engine = self._engines[model.engine]
        found = engine.declared(model)
        if found is None:
            devices = self.devices_of(model)
            found = self._footprints.footprint(engine.resolved(model), digest=digest, devices=devices)
        if found.measured:  # as it was counted then
            return found
        counted = Footprint.of(self._charged(found.by_device()))
        return dataclasses.replace(counted, unnamed=found.unnamed)

    def _variants(self, model: ModelSpec) -> tuple[Variant, ...]:
        found = []
        for options, note in self._ways(model):
            smaller = dataclasses.replace(model, options={**model.options, **options})
            digest = self.digest(smaller)
            try:
                footprint = self._footprint(smaller, digest)
            except StoreFailed:  # told already
                return ()
            found.append(Variant(options, footprint, digest, note))
        return tuple(found)

    def _ways(self, model: ModelSpec) -> list[tuple[Mapping[str, OptionValue], str]]:
        try:
            resolved = self._engines[model.engine].resolved(model)
            return list(self._smaller(resolved, self.devices_of(model)))
        except StoreFailed:
            return []


def _asked_as(model: ModelSpec) -> tuple[object, ...]:
    """What decides over the devices that a program can use."""
    return (
        model.engine,
        model.binary,
        model.env,
        model.options.get("device"),
        "model_draft" in model.options,
        model.args,
    )
