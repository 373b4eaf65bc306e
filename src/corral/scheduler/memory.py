"""
Memory in fact: whether what a load needs is really free before its start, and what an instance really holds after it.

The machine counts; the host may know better. A neighbour eats memory between the decision and the start; a driver
gives VRAM back some time after the process has gone; an engine takes twice what was estimated.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from corral.contracts.clock import Clock
from corral.contracts.devices import Devices
from corral.contracts.engine import Engine
from corral.contracts.runtime import Runtime
from corral.domain.devices import RAM
from corral.domain.errors import CorralError, NoMemory
from corral.domain.events import InstanceMeasured
from corral.domain.fleet import ModelSpec
from corral.domain.launch import Footprint, Handle
from corral.scheduler.policy.memory import Amounts, lacking, sizes_text

logger = logging.getLogger(__name__)

WAIT_S: Final = 5.0
"""How long a start waits for memory that should be free: drivers give VRAM back late."""

POLL_S: Final = 0.1

MEASURE_S: Final = (1.0, 14.0, 45.0)
"""From ready to the first measurement, and from one to the next: caches fill with the first requests."""

AGAIN_S: Final = 300.0
NOTICEABLE: Final = 0.02
"""Growth by more than this share since the last report is reported."""

LOG_LINES: Final = 5000
"""Lines from the start in which an engine may say what it has allocated."""

LOG_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Weighed:
    """An instance that is ready, and what its start was counted with."""

    instance: str
    model: ModelSpec  # as it was started
    digest: str
    engine: Engine
    runtime: Runtime
    handle: Handle
    expected: Mapping[str, int]  # {} for one that was found again: what is estimated counts
    load_s: float | None  # None for one that was found again


class Remember(Protocol):
    """Where measurements are kept for the next load. `load_s` None: only the footprint is new."""

    def __call__(self, model: ModelSpec, digest: str, measured: Footprint, load_s: float | None) -> None:
        """Called in a thread."""
        ...


class HostMemory:
    """
    What the acts ask about memory.

    `estimate` (called in a thread) is what a load should take whatever was measured. `charged` counts bytes of a GPU
    that shares RAM in RAM as well.
    """

    def __init__(
        self,
        devices: Devices,
        remember: Remember,
        *,
        clock: Clock,
        estimate: Callable[[ModelSpec], Footprint] = lambda model: Footprint(),
        charged: Callable[[Amounts], Amounts] = lambda needs: needs,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._devices = devices
        self._remember = remember
        self._clock = clock
        self._estimate = estimate
        self._charged = charged
        self._sleep = sleep

    # --- before a start -------------------------------------------------------------------------------------------

    async def until_free(self, model: str, needed: Amounts, limited: Collection[str]) -> None:
        """Return once as much is free on the devices that have a budget. Raises NoMemory after `WAIT_S`."""
        wanted = {device: size for device, size in needed.items() if device in limited and size > 0}
        deadline = self._clock.now() + WAIT_S
        while wanted:
            free = {device.name: device.free_bytes for device in await asyncio.to_thread(self._devices.read)}
            # One that has vanished since has nothing free.
            short = lacking(wanted, {device: free.get(device, 0) for device in wanted})
            if not short:
                return
            if self._clock.now() >= deadline:
                raise _eaten(model, {device: wanted[device] for device in short}, free)
            await self._sleep(POLL_S)

    # --- after it -------------------------------------------------------------------------------------------------

    async def follow(self, each: Weighed, report: Callable[[InstanceMeasured], None]) -> None:
        """Measure it for as long as it lives; what it takes is reported, and again whenever it has grown."""
        said: Footprint | None = None
        estimated = Footprint()
        told: Amounts = {}
        for number, wait_s in enumerate(itertools.chain(MEASURE_S, itertools.repeat(AGAIN_S))):
            await self._sleep(wait_s)
            if number == 0:
                said = await self._said(each)
                estimated = await asyncio.to_thread(self._estimate, each.model)
            held = await self._held(each, said, estimated)
            if not held or not _grown(told, held):
                continue
            first, told = not told, _largest(told, held)
            measured = Footprint.of(told, measured=True)
            report(InstanceMeasured(each.instance, measured, self._clock.wall()))
            if first:
                _tell(each, each.expected or estimated.by_device(), told)
            if not first or each.load_s is not None:
                await asyncio.to_thread(
                    self._remember, each.model, each.digest, measured, each.load_s if first else None
                )

    async def _said(self, each: Weighed) -> Footprint | None:
        """What its log says that it has allocated."""
        lines: list[str] = []
        with contextlib.suppress(CorralError, TimeoutError):
            async with asyncio.timeout(LOG_S):
                async for line in each.runtime.logs(each.handle):
                    lines.append(line.text)
                    if len(lines) >= LOG_LINES:
                        break
        return each.engine.measured(each.model, lines)

    async def _held(self, each: Weighed, said: Footprint | None, estimated: Footprint) -> Amounts:
        """
        Bytes by device; {} where nobody can tell. What cannot be seen counts as it was expected.

        A process holds a page when it first writes to it: a cache of 8 GiB is nearly nothing before the first requests.
        So processes alone never make a load smaller than expected. A log that names the buffers may; but the program
        itself and what grows while it serves are in none, and come on top, on GPUs where their driver does not tell.
        """
        try:
            usage = await each.runtime.usage(each.handle)
        except CorralError:
            return {}
        if usage is None:
            return {}
        used = await asyncio.to_thread(self._devices.used_by, usage.pids)
        expected = each.expected or estimated.by_device()
        if said is None:
            found = _largest(expected, self._charged(used))
        else:
            unnamed = {name: size for name, size in estimated.unnamed.items() if name == RAM or name not in used}
            found = {**expected, **self._charged(said.plus(unnamed).seen(used).by_device())}
        found = {name: size for name, size in found.items() if size}
        declared = each.engine.declared(each.model)
        return _largest(found, self._charged(declared.by_device())) if declared is not None else found


def _eaten(model: str, needed: Amounts, free: Amounts) -> NoMemory:
    left = {device: free.get(device, 0) for device in needed}
    text = f"{model!r} needs {sizes_text(needed)}, and {sizes_text(left)} free after {WAIT_S:g} s: others use the rest."
    return NoMemory(text, hint="End what uses it, or lower the memory budget so that Corral counts with less.")


def _grown(told: Amounts, held: Amounts) -> bool:
    return any(size > told.get(device, 0) * (1 + NOTICEABLE) for device, size in held.items())


def _largest(one: Amounts, other: Amounts) -> dict[str, int]:
    return {device: max(one.get(device, 0), other.get(device, 0)) for device in (*one, *other)}


def _tell(each: Weighed, expected: Amounts, held: Amounts) -> None:
    """One line: estimates that are far off should be seen."""
    level = logging.INFO
    if any(size > 1.5 * expected.get(device, size) for device, size in held.items()):
        level = logging.WARNING
    before = sizes_text(expected) if expected else "nothing known"
    logger.log(level, "%s (%s) takes %s; expected: %s", each.model.name, each.instance, sizes_text(held), before)
