import os
from pathlib import Path

from corral.devices.amd import AmdSysfs
from corral.domain.devices import RAM, DeviceMemory
from tests.hosts import GIB, amd_card, link_cards, tree

RAM_NOW = DeviceMemory(RAM, 64 * GIB, 40 * GIB)
CARD, OTHER = "0000:03:00.0", "0000:c1:00.0"
ME = os.getpid()


def test_a_card_has_its_vram_and_what_it_does(tmp_path: Path) -> None:
    link_cards(tree(tmp_path, amd_card(1, CARD, vram=24 * GIB, vram_used=4 * GIB, gtt=62 * GIB, node=1)))
    (seen,) = AmdSysfs({}, root=tmp_path).read(RAM_NOW)

    assert (seen.name, seen.total_bytes, seen.free_bytes, seen.part_of) == ("ROCm0", 24 * GIB, 20 * GIB, "")
    assert (seen.id, seen.description, seen.source) == (CARD, "AMD GPU gfx1151", "sysfs")
    assert (seen.activity.busy, seen.activity.temperature_c, seen.activity.power_w) == (0.25, 51.0, 35.0)


def test_an_apu_with_a_small_carve_out_lives_in_ram(tmp_path: Path) -> None:
    """Strix Halo as it should be set up: half a GiB of VRAM and nearly all RAM as GTT."""
    halo = amd_card(0, OTHER, vram=GIB // 2, gtt=110 * GIB, gtt_used=30 * GIB, apu=True, node=1)
    (seen,) = AmdSysfs({}, root=link_cards(tree(tmp_path, halo))).read(RAM_NOW)

    assert (seen.total_bytes, seen.free_bytes, seen.part_of) == (110 * GIB, 80 * GIB, RAM)


def test_an_apu_with_a_large_carve_out_has_a_memory_of_its_own(tmp_path: Path) -> None:
    halo = amd_card(0, OTHER, vram=96 * GIB, gtt=16 * GIB, apu=True, node=1)
    (seen,) = AmdSysfs({}, root=link_cards(tree(tmp_path, halo))).read(RAM_NOW)

    assert (seen.total_bytes, seen.part_of) == (96 * GIB, "")


def test_the_order_is_that_of_the_compute_nodes_and_the_environment_chooses(tmp_path: Path) -> None:
    cards = {**amd_card(0, OTHER, vram=8 * GIB, node=2), **amd_card(1, CARD, vram=24 * GIB, node=1)}
    root = link_cards(tree(tmp_path, {**cards, "sys/class/kfd/kfd/topology/nodes/0/properties": "simd_count 0\n"}))

    def ids(env: dict[str, str]) -> list[str]:
        return [device.id for device in AmdSysfs(env, root=root).read(RAM_NOW)]

    assert ids({}) == [CARD, OTHER]
    assert ids({"HIP_VISIBLE_DEVICES": "1"}) == [OTHER]
    assert ids({"HIP_VISIBLE_DEVICES": "-1"}) == []
    assert ids({"ROCR_VISIBLE_DEVICES": "1,0", "HIP_VISIBLE_DEVICES": "0"}) == [OTHER]


def test_a_card_that_sleeps_is_not_woken_by_questions(tmp_path: Path) -> None:
    files = amd_card(0, CARD, vram=8 * GIB, node=1)
    root = link_cards(tree(tmp_path, {**files, f"sys/devices/{CARD}/power/runtime_status": "suspended\n"}))

    assert AmdSysfs({}, root=root).read(RAM_NOW)[0].activity.busy is None


def test_a_card_that_vanishes_and_cards_of_others_are_left_out(tmp_path: Path) -> None:
    files = {**amd_card(0, CARD, vram=8 * GIB), "sys/class/drm/card7/device/vendor": "0x8086\n"}
    reader = AmdSysfs({}, root=link_cards(tree(tmp_path, files)))
    before = [device.name for device in reader.read(RAM_NOW)]
    (tmp_path / f"sys/devices/{CARD}/mem_info_vram_used").unlink()

    assert (before, reader.read(RAM_NOW)) == (["ROCm0"], [])
    assert AmdSysfs({}, root=tmp_path / "nothing").read(RAM_NOW) == []


def fdinfo(pci: str, client: int, **sizes: int) -> str:
    lines = [f"drm-{name.replace('_', '-')}:\t{size} KiB" for name, size in sizes.items()]
    return "\n".join([f"drm-driver:\tamdgpu\ndrm-client-id:\t{client}\ndrm-pdev:\t{pci}", *lines])


def process(root: Path, pid: int, clients: list[str]) -> None:
    for number, text in enumerate(clients):
        tree(root, {f"proc/{pid}/fdinfo/{number}": text})
        link = root / f"proc/{pid}/fd/{number}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to("/dev/dri/renderD128")


def test_bytes_by_process_count_each_client_once(tmp_path: Path) -> None:
    root = link_cards(tree(tmp_path, amd_card(0, CARD, vram=8 * GIB, node=1)))
    process(root, 10, [fdinfo(CARD, 5, memory_vram=100, memory_gtt=7), fdinfo(CARD, 5, memory_vram=100)])
    process(root, 11, [fdinfo(CARD, 5, memory_vram=100), fdinfo(OTHER, 6, memory_vram=900)])
    reader = AmdSysfs({}, root=root)
    reader.read(RAM_NOW)

    assert reader.used_by(frozenset({10, 11})) == {"ROCm0": 100 * 1024}
    assert reader.used_by(frozenset()) == {"ROCm0": 0}
    assert reader.used_by(frozenset({99})) == {}  # gone, or not ours to read


def test_compute_memory_that_the_driver_counts_apart(tmp_path: Path) -> None:
    root = link_cards(tree(tmp_path, amd_card(0, CARD, vram=8 * GIB, node=1)))
    process(root, 10, [fdinfo(CARD, 5, memory_vram=100)])
    tree(root, {"sys/class/kfd/kfd/proc/10/vram_1001": f"{3 * GIB}\n"})
    reader = AmdSysfs({}, root=root)
    reader.read(RAM_NOW)

    assert reader.used_by(frozenset({10})) == {"ROCm0": 3 * GIB}


def test_on_an_apu_the_gtt_counts(tmp_path: Path) -> None:
    root = link_cards(tree(tmp_path, amd_card(0, CARD, vram=GIB, gtt=8 * GIB, apu=True, node=1)))
    process(root, 10, [fdinfo(CARD, 5, resident_vram=100, resident_gtt=1000)])
    reader = AmdSysfs({}, root=root)
    reader.read(RAM_NOW)

    assert reader.used_by(frozenset({10})) == {"ROCm0": 1100 * 1024}
