"""
What the kernel knows of processes: identity, ancestry, marker, parent-death signal, OOM kills.

A process is *the same* when its start time is the same: pids are used again. Where there is no /proc (macOS) nothing
is known, nothing is ever taken for ours, and the process group and the stdin pipe must do.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterator

LINUX = sys.platform == "linux"
MARKER = "CORRAL_INSTANCE"

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True) if LINUX else None


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:  # gone meanwhile, not ours to read, or not Linux: all mean "not known"
        return ""


def become_subreaper() -> bool:
    """Orphaned descendants become our children from now on. False where the platform cannot."""
    return _libc is not None and _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


def die_with(parent: int) -> None:
    """Run in a forked child: be killed when `parent` dies, also when it died just now."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(127)


def boot_id() -> str:
    """Changes with every boot of the machine; "" where unknown."""
    return _read("/proc/sys/kernel/random/boot_id").strip()


def start_ticks(pid: int) -> int:
    """When the process started, in clock ticks since boot; 0 when it is gone, a zombie or unknown."""
    # The name in field 2 may hold spaces and parentheses: count the fields from the last one.
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return int(fields[19]) if len(fields) > 19 and fields[0] not in "ZX" else 0


def children(pid: int) -> list[int]:
    """Direct children, of all threads. Entries may be missed while others exit: look twice before saying "none"."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for tid in os.listdir(f"/proc/{pid}/task"):
            try:
                with open(f"/proc/{pid}/task/{tid}/children", encoding="ascii") as file:
                    found += map(int, file.read().split())
            except FileNotFoundError:
                if not os.path.exists(f"/proc/{os.getpid()}/task/{os.getpid()}/children"):
                    return _children_by_scan(pid)  # a kernel without CONFIG_PROC_CHILDREN
    return found


def _children_by_scan(pid: int) -> list[int]:
    stats = ((child, _read(f"/proc/{child}/stat").rpartition(")")[2].split()) for child in pids())
    return [child for child, fields in stats if len(fields) > 1 and fields[1] == str(pid)]


def descendants(pid: int) -> dict[int, int]:
    """Everything below a process now: pid -> start ticks."""
    found: dict[int, int] = {}
    todo = [pid]
    while todo:
        for child in children(todo.pop()):
            if child not in found:
                found[child] = start_ticks(child)
                todo.append(child)
    return found


def pids() -> Iterator[int]:
    """All processes that can be seen."""
    with contextlib.suppress(OSError):
        yield from (int(name) for name in os.listdir("/proc") if name.isdigit())


def marker(pid: int) -> str:
    """The value of CORRAL_INSTANCE that the process was started with, "" for none or unknown."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            data = file.read()
    except OSError:
        return ""
    prefix = f"{MARKER}=".encode()
    return next((v[len(prefix) :].decode(errors="replace") for v in data.split(b"\0") if v.startswith(prefix)), "")


def marked(state_id: str, instance: str = "") -> dict[int, int]:
    """Processes of this state directory (or of one instance of it): pid -> start ticks."""
    wanted = f"{instance}@{state_id}"
    found = {pid: start_ticks(pid) for pid in pids() if marker(pid).endswith(wanted)}
    if instance:
        found = {pid: start for pid, start in found.items() if marker(pid) == wanted}
    return {pid: start for pid, start in found.items() if start}


def kill_exact(pid: int, start: int, number: int = signal.SIGKILL) -> bool:
    """Signal a process only if it is still the one that started then. False when it is not."""
    if not LINUX:
        return False
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return False
    try:  # the fd pins the process: what is compared is what is signalled
        if not start or start_ticks(pid) != start:
            return False
        signal.pidfd_send_signal(fd, number)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def oom_kills(path: str = "") -> int:
    """
    Processes of our memory cgroup that the kernel killed for memory so far (of the whole machine without one).

    The file is cgroup v2 `memory.events`, v1 `memory.oom_control` or /proc/vmstat: each has a line `oom_kill N`.
    """
    paths = [path] if path else [f"{folder}/{name}" for folder, name in _memory_groups()] + ["/proc/vmstat"]
    for text in map(_read, paths):
        for line in text.splitlines():
            name, _, number = line.partition(" ")
            if name == "oom_kill" and number.strip().isdigit():
                return int(number)
    return 0


def _memory_groups() -> Iterator[tuple[str, str]]:
    # Inside a container the path may be the host's while the mount shows our group as the root: try both.
    for line in _read("/proc/self/cgroup").splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            yield from ((f"/sys/fs/cgroup{g}", "memory.events") for g in (group.rstrip("/"), ""))
        elif "memory" in controllers.split(","):
            yield from ((f"/sys/fs/cgroup/memory{g}", "memory.oom_control") for g in (group.rstrip("/"), ""))


class OomWatch:
    """
    Tells whether the exit of just now was an OOM kill: the counter grew since the last look, or shortly before.

    A large process takes seconds to be torn down, so growth stays claimable for a while; after that an unrelated
    SIGKILL must not be mistaken for it.
    """

    CLAIMABLE_S = 30.0

    def __init__(self, path: str = "") -> None:
        self._path = path
        self._seen = oom_kills(path)
        self._unclaimed = 0
        self._grew_at = 0.0

    def look(self, now: float) -> None:
        """Read the counter."""
        count = oom_kills(self._path)
        if count > self._seen:
            self._unclaimed += count - self._seen
            self._grew_at = now
        elif now - self._grew_at > self.CLAIMABLE_S:
            self._unclaimed = 0
        self._seen = count

    def claim(self, now: float) -> bool:
        """Take one kill for the exit that is being judged."""
        self.look(now)
        if not self._unclaimed:
            return False
        self._unclaimed -= 1
        return True
