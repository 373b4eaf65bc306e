"""A reading as `corral status` and the API show it: one plain row a device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from corral.domain.devices import Snapshot


def rows(seen: Snapshot, budgets: Mapping[str, int], counted: Mapping[str, int]) -> list[dict[str, Any]]:
    """
    JSON-ready, RAM first; devices that have gone come last with `present` false.

    `counted_bytes` is what the scheduler counts for all instances, `held_bytes` what the system says that they hold.
    """
    found: list[dict[str, Any]] = [
        {
            "device": device.name,
            "present": True,
            "description": device.description,
            "total_bytes": device.total_bytes,
            "free_bytes": device.free_bytes,
            "budget_bytes": budgets.get(device.name),
            "counted_bytes": counted.get(device.name, 0),
            "held_bytes": seen.ours.get(device.name, 0),
            "part_of": device.part_of,
            "busy": device.activity.busy,
            "temperature_c": device.activity.temperature_c,
            "power_w": device.activity.power_w,
            "id": device.id,
            "source": device.source,
        }
        for device in seen.devices
    ]
    found += [
        {"device": name, "present": False, "budget_bytes": 0, "counted_bytes": counted.get(name, 0)}
        for name in sorted(seen.gone)
    ]
    return found
