"""
Budgets: what engines may take of each memory, from what the operator allows and what is there.

`auto` is the whole memory, less the reserve, less what other programs use. Others' use is what is neither free nor
ours, so a neighbour that grows makes the budget smaller and idle Models yield to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from corral.domain.devices import DeviceMemory, MemorySpec


def budgets(spec: MemorySpec, memories: Iterable[DeviceMemory], ours: Mapping[str, int]) -> dict[str, int]:
    """Bytes by device; one without an entry has no limit. `ours` is what all engines together hold."""
    found = {}
    for memory in memories:
        amount = spec.amount(memory.name)
        if amount == "auto":
            others = max(0, memory.total_bytes - memory.free_bytes - ours.get(memory.name, 0))
            found[memory.name] = max(0, memory.total_bytes - others - spec.reserved(memory.name))
        elif amount is not None:
            found[memory.name] = amount
    return found
