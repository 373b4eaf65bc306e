"""
The memories of this host, read: RAM with its cgroup, NVIDIA by NVML, AMD by sysfs, the rest by what engines say.

`HostDevices` implements `contracts.devices.Devices`; `budget` turns a reading into what the scheduler may spend.
"""

from corral.devices.budget import MemoryPolicy, budgets, charged
from corral.devices.host import HostDevices

__all__ = ["HostDevices", "MemoryPolicy", "budgets", "charged"]
