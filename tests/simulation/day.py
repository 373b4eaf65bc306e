"""
A day of the scheduler in some seconds: `python -m tests.simulation.day [SEED ...]`.

50 Models, 24 GiB, five callers of whom one floods (see workload). Prints for each seed how many loads the machine
needed beside the fewest possible, how long people waited, and how near the longest wait came to its bound.

The fewest possible is a matter of what one may do with people's time. `fewest` is for a clairvoyant who makes nobody
wait for memory, as promise 5 nearly does: each request begins when a slot of its Model is free. `in order` is for one
who serves whole batches at once in the order of arrival, and lets everybody else wait for that.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from . import optimum, workload, world


@dataclass(frozen=True, slots=True)
class Report:
    """A day in numbers. Waits are seconds of all callers but the one who floods."""

    requests: int
    lost: int
    refused: int
    loads: int
    fewest_loads: int
    fewest_in_order: int
    wait_p50_s: float
    wait_p95_s: float
    flood_p95_s: float
    bound_share: float
    most_bytes: int

    @property
    def ratio(self) -> float:
        """Loads for each load of the clairvoyant who is prompt."""
        return self.loads / self.fewest_loads

    @property
    def ratio_in_order(self) -> float:
        """Loads for each load of the one who lets people wait."""
        return self.loads / self.fewest_in_order


def simulate(seed: int, length_s: float = workload.DAY_S) -> Report:
    """One day."""
    fleet = workload.models(seed)
    arrivals = workload.arrivals(fleet, seed, length_s)
    day = world.Day(fleet, workload.BUDGET_BYTES)
    day.run(arrivals)
    served = day.served.values()
    sizes = {each.name: each.size_bytes for each in fleet}

    def fewest(order: list[str]) -> int:
        return optimum.fewest_loads(order, sizes, workload.BUDGET_BYTES)

    calm = _waits([each for each in served if each.arrival.caller != "flood"])
    flood = _waits([each for each in served if each.arrival.caller == "flood"])
    return Report(
        requests=len(arrivals),
        lost=sum(each.ended_at is None and not each.refused for each in served),
        refused=sum(bool(each.refused) for each in served),
        loads=sum(day.loads.values()),
        fewest_loads=fewest(workload.prompt_order(fleet, arrivals)),
        fewest_in_order=fewest([each.model for each in arrivals]),
        wait_p50_s=calm[len(calm) // 2],
        wait_p95_s=calm[len(calm) * 95 // 100],
        flood_p95_s=flood[len(flood) * 95 // 100],
        bound_share=day.longest_cold_share(),
        most_bytes=day.most_bytes,
    )


def _waits(served: Sequence[world.Served]) -> list[float]:
    return sorted(each.granted_at - each.arrival.at for each in served if each.granted_at is not None)


def main(seeds: Sequence[int]) -> None:
    """A table in Markdown."""
    print("| seed | requests | lost | loads | fewest | ratio | in order | ratio |", end="")
    print(" wait p50 | p95 | p95 of the flood | longest / bound |")
    print("|---" * 12 + "|")
    for seed in seeds:
        day = simulate(seed)
        loads = f"{day.loads} | {day.fewest_loads} | {day.ratio:.2f} | {day.fewest_in_order} | {day.ratio_in_order:.2f}"
        waits = f"{day.wait_p50_s:.1f} s | {day.wait_p95_s:.0f} s | {day.flood_p95_s:.0f} s"
        print(f"| {seed} | {day.requests} | {day.lost + day.refused} | {loads} | {waits} | {day.bound_share:.2f} |")


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [1, 2, 3])
