"""
Memory: what fits, and who leaves when a load needs more than is free.

Amounts are bytes by device (`ram`, `CUDA0`, ...), a device that needs nothing being left out; a Model of RAM alone is a
dict of one entry, and every question about it one step. Only devices with a budget are asked about.

Who leaves: idle instances before those in use, and among the idle those whose loss is expected to cost least for what
it frees:

    regret = load seconds / idle seconds / share of the shortage that it frees

An instance that nobody has used for t seconds is as likely as not to be wanted again within another t, so evicting it
costs about `load / t` seconds of loading for every second to come; the sum of that over the victims is what the choice
keeps small. Size counts because a large one frees at once what many small ones would have to be loaded again for. So a
Model that loads in 2 s leaves before one that takes 60 s unless it was used thirty times more recently.

One in use is chosen only when all the idle ones together do not suffice, and then it is waited for, never cut: of equal
priority first who has the fewest waiters, because a Model that others wait for has to be loaded again at once. Who
frees nothing of what is short is no candidate, and nobody leaves without need: the choice is pruned.

`python -m tests.simulation.day` tells what a change here is worth.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Final, Generic, NamedTuple, TypeVar

from corral.domain.devices import RAM
from corral.domain.errors import NoMemory
from corral.domain.units import format_bytes, format_duration

T = TypeVar("T")
Amounts = Mapping[str, int]
"""Bytes by device."""
NOTHING: Final[Amounts] = {}

LEAST_IDLE_S: Final = 1.0
"""Idle for less counts as this long: the quotient of two moments says nothing."""

START_S: Final = 1.0
LOAD_BYTES_PER_S: Final = 1024**3
"""A load that was never measured is taken to cost `START_S` and its bytes at this rate: a disk, not a page cache."""


def add(total: dict[str, int], more: Amounts) -> None:
    """Count `more` in."""
    for device, size in more.items():
        total[device] = total.get(device, 0) + size


def take(total: dict[str, int], less: Amounts) -> None:
    """Count `less` out."""
    for device, size in less.items():
        total[device] = total.get(device, 0) - size


def lacking(needed: Amounts, budgets: Amounts, *taken: Amounts, freed: Amounts = NOTHING) -> dict[str, int]:
    """How much is missing of what is needed, by device, beside all that is taken and not freed; {} = it fits."""
    missing = {}
    for device, size in needed.items():
        budget = budgets.get(device)
        if budget is not None:
            over = size - budget - freed.get(device, 0)
            for each in taken:
                over += each.get(device, 0)
            if over > 0:
                missing[device] = over
    return missing


def fits(needed: Amounts, budgets: Amounts, *taken: Amounts) -> bool:
    """True where nothing is lacking."""
    for device, size in needed.items():
        budget = budgets.get(device)
        if budget is not None:
            for each in taken:
                size += each.get(device, 0)
            if size > budget:
                return False
    return True


def over_budget(taken: Amounts, budgets: Amounts) -> dict[str, int]:
    """By how much each device is beyond its budget; {} = none is."""
    return {
        device: size - budgets[device] for device, size in taken.items() if device in budgets and size > budgets[device]
    }


def load_cost_s(measured_s: float | None, holds: Amounts) -> float:
    """Seconds that loading it again would take: as measured, else guessed from its bytes."""
    return START_S + sum(holds.values()) / LOAD_BYTES_PER_S if measured_s is None else measured_s


# --- who leaves -------------------------------------------------------------------------------------------------------


class Candidate(NamedTuple, Generic[T]):
    """An instance that may be asked to leave. `idle_s` is None while it is in use."""

    instance: T
    holds: Amounts
    idle_s: float | None
    load_s: float  # what loading it again costs, of one that is idle
    priority: int = 0  # of one in use, like what follows
    waiting: int = 0  # for its Model
    ready_at: float = 0.0


def least_needed(in_use: Iterable[Candidate[T]]) -> list[Candidate[T]]:
    """Those in use in the order in which they are given up."""
    return sorted(in_use, key=lambda each: (each.priority, each.waiting, each.ready_at))


def choose_victims(short: Amounts, idle: Iterable[Candidate[T]], in_use: Iterable[Candidate[T]]) -> list[T] | None:
    """
    Who must leave so that as much as is short becomes free; None when all of them together are too little.

    `in_use` come in the order of `least_needed`.
    """
    left = {device: size for device, size in short.items() if size > 0}
    chosen: list[Candidate[T]] = []
    cheap = _least_regret(left, idle)
    for candidate in chain(cheap, in_use) if cheap else in_use:
        if not left:
            break
        holds, rest = candidate.holds, {}
        frees = False
        for device, size in left.items():
            held = holds.get(device, 0)
            frees = frees or held > 0
            if size > held:
                rest[device] = size - held
        if frees:
            chosen.append(candidate)
            left = rest
    if left:
        return None
    return [chosen[0].instance] if len(chosen) == 1 else _pruned(short, chosen)


def _least_regret(short: Amounts, idle: Iterable[Candidate[T]]) -> list[Candidate[T]]:
    """Those that free anything of what is short, the least regretted first."""
    ranked: list[tuple[float, float, int, Candidate[T]]] = []
    for candidate in idle:
        share = 0.0  # 1 for all that is short on one device, added up over the devices
        for device, size in short.items():
            share += min(candidate.holds.get(device, 0), size) / size
        if share:
            idle_s = candidate.idle_s or 0.0
            ranked.append((candidate.load_s / max(idle_s, LEAST_IDLE_S) / share, -idle_s, len(ranked), candidate))
    return [entry[3] for entry in sorted(ranked)]


def _pruned(short: Amounts, chosen: Sequence[Candidate[T]]) -> list[T]:
    """Without those who are not needed after all; the last chosen are those we least like to lose."""
    spare = {device: sum(each.holds.get(device, 0) for each in chosen) - size for device, size in short.items()}
    kept = []
    for candidate in reversed(chosen):
        if all(candidate.holds.get(device, 0) <= rest for device, rest in spare.items()):
            take(spare, {device: candidate.holds.get(device, 0) for device in spare})
        else:
            kept.append(candidate.instance)
    return kept[::-1]


# --- what cannot fit --------------------------------------------------------------------------------------------------


class Measurement(NamedTuple):
    """Where a size comes from that is no estimate."""

    at: float  # wall seconds; 0 = nobody knows
    estimated: Amounts
    believed_s: float | None  # so long yet; None where even the estimate does not fit


_LESS: Final = "Raise the memory budget, unpin a Model, or ask for less (context, slots, prompt cache)."


def never_fits(
    model: str,
    needed: Amounts,
    could_be_free: Amounts,
    *,
    unloading: Sequence[str],
    pinned: Sequence[str],
    smallest: str = "",
    measured: Measurement | None = None,
) -> NoMemory:
    """
    The answer for a Model that does not fit even with everything evictable gone.

    `could_be_free` has the devices with a budget. `unloading` would have to leave and would not suffice; the `pinned`
    stay. `smallest` says what was tried to make it smaller, `measured` how it is known what it needs.
    """
    after = f" after unloading {_names(unloading)}" if unloading else ""
    stay = f"; {_names(pinned)} {'stays' if len(pinned) == 1 else 'stay'} (pinned)" if pinned else ""
    even = f" even with {smallest}" if smallest else ""
    text = f"{model!r} needs {sizes_text(needed)}{even}, {sizes_text(could_be_free)} free{after}{stay}."
    if measured is not None:
        return NoMemory(f"{text} {_measured(measured, needed)}", hint=_tried(model, measured), retry_after_s=None)
    return NoMemory(text, hint=_LESS, retry_after_s=None)


def _measured(measured: Measurement, needed: Amounts) -> str:
    when = f" on {datetime.fromtimestamp(measured.at, UTC):%Y-%m-%d %H:%M} UTC" if measured.at else ""
    estimated = sizes_text({device: measured.estimated.get(device, 0) for device in needed})
    return f"That is what an earlier load held, measured{when}; the estimate is {estimated}."


def _tried(model: str, measured: Measurement) -> str:
    if measured.believed_s is None:
        return _LESS
    wait = format_duration(math.ceil(measured.believed_s / 60) * 60)
    now = f"`corral load {model}` forgets that and tries it as estimated"
    return f"{now}; a request does so in {wait}. Else {_LESS[0].lower()}{_LESS[1:]}"


def sizes_text(amounts: Amounts) -> str:
    """`9.2 GiB` where there is only RAM, else `1 GiB of ram and 20 GiB of CUDA0`."""
    if set(amounts) <= {RAM}:
        return format_bytes(max(amounts.get(RAM, 0), 0))
    parts = [f"{format_bytes(max(size, 0))} of {device}" for device, size in amounts.items()]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _names(models: Sequence[str], most: int = 4) -> str:
    """`b and c`; `a, b, c and 7 more`."""
    shown = list(models) if len(models) <= most else [*models[: most - 1], f"{len(models) - most + 1} more"]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
