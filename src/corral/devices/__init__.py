"""
The memories of this host, read: RAM with its cgroup, NVIDIA by NVML, AMD by sysfs, the rest by what engines say.

`HostDevices` implements `contracts.devices.Devices`; `budget` turns a reading into what the scheduler may spend.
"""

from corral.devices.amd import AmdSysfs
from corral.devices.budget import HostBudgets, budgets, charged
from corral.devices.host import HostDevices
from corral.devices.nvml import Nvml

__all__ = ["HostBudgets", "HostDevices", "budgets", "charged", "this_host"]


def this_host() -> HostDevices:
    """With every reader that there is."""
    return HostDevices((Nvml(), AmdSysfs()))
