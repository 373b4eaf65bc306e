from pathlib import Path

from corral.kit.cgroup import GroupMemory, limited_groups

MIB = 1024**2


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def v2(name: str, **files: str) -> dict[str, str]:
    folder = f"sys/fs/cgroup{name}/memory."
    return {folder + leaf: text for leaf, text in files.items()}


def test_every_limit_on_the_way_up_counts(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/a/b\n",
            **v2("/a/b", max="max\n", current="70\n"),
            **v2("/a", max="4000\n", current="80\n"),
            **v2("", max="9000\n", current="90\n"),
        },
    )

    assert limited_groups(root) == [GroupMemory(4000, 80), GroupMemory(9000, 90)]


def test_memory_high_is_a_limit_too(tmp_path: Path) -> None:
    root = tree(tmp_path, {"proc/self/cgroup": "0::/a\n", **v2("/a", max="4000", high="3000", current="1")})

    assert limited_groups(root)[0].limit_bytes == 3000


def test_cache_that_nobody_maps_is_free_and_mapped_weights_are_not(tmp_path: Path) -> None:
    """After an unload the file of a model stays in the page cache, often on its active list: that must not count."""
    stat = f"anon {10 * MIB}\ninactive_file {100 * MIB}\nactive_file {900 * MIB}\nfile_mapped {300 * MIB}\n"
    group = {"max": str(4000 * MIB), "current": str(1010 * MIB), "stat": stat + f"slab_reclaimable {MIB}\n"}
    root = tree(tmp_path, {"proc/self/cgroup": "0::/a\n", **v2("/a", **group)})

    assert limited_groups(root) == [GroupMemory(4000 * MIB, (1010 - 700 - 1) * MIB)]


def test_version_1_with_its_word_for_none_and_the_limit_of_a_hidden_parent(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "5:cpu,cpuacct:/x\n4:cpu,memory:/box\n0::/\n"}
    box = "sys/fs/cgroup/memory/box/memory."
    unlimited = {**files, box + "limit_in_bytes": "9223372036854771712\n"}
    stat = "hierarchical_memory_limit 5000\ntotal_inactive_file 20\ntotal_active_file 10\ntotal_mapped_file 5\n"
    under_a_parent = {**unlimited, box + "stat": stat, box + "usage_in_bytes": "100\n"}

    assert limited_groups(tree(tmp_path / "a", unlimited)) == []
    assert limited_groups(tree(tmp_path / "b", under_a_parent)) == [GroupMemory(5000, 75)]


def test_the_group_of_a_container_is_what_is_mounted(tmp_path: Path) -> None:
    root = tree(tmp_path, {"proc/self/cgroup": "0::/../../host/path\n", **v2("", max="7000", current="3")})

    assert limited_groups(root) == [GroupMemory(7000, 3)]


def test_a_limit_lowered_at_run_time_is_seen(tmp_path: Path) -> None:
    root = tree(tmp_path, {"proc/self/cgroup": "0::/a\n", **v2("/a", max="4000", current="1")})
    before = limited_groups(root)
    tree(tmp_path, v2("/a", max="2000"))

    assert (before[0].limit_bytes, limited_groups(root)[0].limit_bytes) == (4000, 2000)


def test_without_cgroups_and_with_files_that_make_no_sense_there_is_no_limit(tmp_path: Path) -> None:
    odd = {"proc/self/cgroup": "nonsense\n0::/a\n", **v2("/a", max="lots", high="", stat="anon\n\nx y z\n")}

    assert limited_groups(tmp_path / "nothing") == []
    assert limited_groups(tree(tmp_path / "odd", odd)) == []
