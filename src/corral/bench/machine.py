"""The machine that was measured on, as far as it says."""

from __future__ import annotations

import os
import platform
import sysconfig

import msgspec
import psutil


class Machine(msgspec.Struct, frozen=True):
    """Facts that figures depend on; `load` is the load average of the minute before the benchmark."""

    cpu: str
    cores: int
    memory_gib: float
    system: str
    python: str
    load: float

    @property
    def busy(self) -> bool:
        """True when others used a good part of it."""
        return self.load > 0.25 * self.cores

    def sentence(self) -> str:
        """All of it in a line."""
        return (
            f"{self.cpu}, {self.cores} cores, {self.memory_gib:.0f} GiB, {self.system}; Python {self.python}; "
            f"load average before: {self.load:.1f}"
        )


def facts() -> Machine:
    """Of this machine, now."""
    return Machine(
        cpu=_cpu(),
        cores=psutil.cpu_count() or 1,
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        system=f"{platform.system()} {platform.release().split('-')[0]}",
        python=_python(),
        load=round(os.getloadavg()[0], 2),
    )


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith(("model name", "Model")))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _python() -> str:
    """The version and how it was built, which makes a difference."""
    options = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
    kind = "with profile-guided optimisation" if "--enable-optimizations" in options else "built without PGO"
    return f"{platform.python_version()} ({kind}, {platform.python_compiler().split(' [')[0]})"
