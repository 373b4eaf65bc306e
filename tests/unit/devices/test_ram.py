from pathlib import Path

import psutil

from corral.devices.ram import RamReader
from corral.domain.devices import RAM

KIB = 1024


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def meminfo(**sizes: int) -> dict[str, str]:
    names = {"active": "Active(file)", "inactive": "Inactive(file)"}
    return {"proc/meminfo": "".join(f"{names.get(name, name)}: {size} kB\n" for name, size in sizes.items())}


def test_mapped_pages_of_files_are_used_and_the_rest_of_the_cache_is_free(tmp_path: Path) -> None:
    machine = meminfo(MemTotal=1000, MemAvailable=800, Mapped=320, Shmem=20, active=400, inactive=100)

    seen = RamReader(tree(tmp_path, machine)).read()

    assert (seen.name, seen.total_bytes, seen.free_bytes, seen.source) == (RAM, 1000 * KIB, 500 * KIB, "machine")


def test_shared_memory_is_not_subtracted_twice(tmp_path: Path) -> None:
    """A model in /dev/shm is mapped, but its pages never counted as available."""
    machine = meminfo(MemTotal=1000, MemAvailable=400, Mapped=500, Shmem=500, active=50, inactive=50)

    assert RamReader(tree(tmp_path, machine)).read().free_bytes == 400 * KIB


def test_a_cgroup_with_less_than_the_machine_decides_both(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/box/memory."
    files = {
        **meminfo(MemTotal=1000, MemAvailable=900),
        "proc/self/cgroup": "0::/box\n",
        group + "max": str(600 * KIB),
        group + "current": str(250 * KIB),
    }
    reader = RamReader(tree(tmp_path, files))
    before = reader.read()
    tree(tmp_path, {group + "max": str(300 * KIB)})
    after = reader.read()

    assert (before.total_bytes, before.free_bytes, before.source) == (600 * KIB, 350 * KIB, "cgroup")
    assert (after.total_bytes, after.free_bytes) == (300 * KIB, 50 * KIB)


def test_a_group_that_is_over_its_limit_has_nothing_free(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/box/memory."
    files = {
        **meminfo(MemTotal=1000, MemAvailable=900),
        "proc/self/cgroup": "0::/box\n",
        group + "max": str(100 * KIB),
        group + "current": str(250 * KIB),
    }

    assert RamReader(tree(tmp_path, files)).read().free_bytes == 0


def test_without_proc_it_is_what_psutil_says(tmp_path: Path) -> None:
    assert RamReader(tmp_path).read().total_bytes == psutil.virtual_memory().total
