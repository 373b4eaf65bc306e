from pathlib import Path

import psutil

from corral.kit.memory import memory_limit

GIB = 1024**3


def write(root: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


def test_a_cgroup_v2_limit_counts_also_one_further_up(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/system.slice/corral.service\n",
            "sys/fs/cgroup/system.slice/corral.service/memory.max": "max\n",
            "sys/fs/cgroup/system.slice/memory.max": f"{GIB}\n",
        },
    )

    assert memory_limit(root) == GIB


def test_a_cgroup_v1_limit_counts_and_its_word_for_none_does_not(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/box\n"}
    limited = {**files, "sys/fs/cgroup/memory/box/memory.limit_in_bytes": f"{GIB // 2}\n"}
    unlimited = {**files, "sys/fs/cgroup/memory/box/memory.limit_in_bytes": "9223372036854771712\n"}

    assert memory_limit(write(tmp_path / "a", limited)) == GIB // 2
    assert memory_limit(write(tmp_path / "b", unlimited)) == psutil.virtual_memory().total


def test_without_cgroups_it_is_the_machine(tmp_path: Path) -> None:
    assert memory_limit(str(tmp_path)) == psutil.virtual_memory().total
