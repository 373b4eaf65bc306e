import logging
import os
from pathlib import Path

import pynvml
import pytest

from corral.devices.nvml import RETRY_S, Nvml
from corral.domain.devices import RAM, DeviceMemory
from tests.hosts import GIB, Board, FakeNvml, tree

RAM_NOW = DeviceMemory(RAM, 64 * GIB, 40 * GIB)
ME = os.getpid()


def names(nvml: Nvml) -> list[str]:
    return [device.name for device in nvml.read(RAM_NOW)]


def test_what_a_gpu_has_and_does() -> None:
    library = FakeNvml(Board("GPU-1", 141 * GIB, used=GIB, busy=30))
    (seen,) = Nvml({}, library=library).read(RAM_NOW)

    assert (seen.name, seen.total_bytes, seen.free_bytes) == ("CUDA0", 141 * GIB, 140 * GIB)
    assert (seen.description, seen.id, seen.source, seen.part_of) == ("NVIDIA H200", "GPU-1", "nvml", "")
    assert (seen.activity.busy, seen.activity.temperature_c, seen.activity.power_w) == (0.3, 40.0, None)


def test_they_are_counted_in_pci_order_and_chosen_by_the_environment() -> None:
    late, early = Board("GPU-late", GIB, bus_id="0000:C1:00.0"), Board("GPU-early", GIB, bus_id="0000:01:00.0")
    nvml = Nvml({"CUDA_VISIBLE_DEVICES": "1"}, library=FakeNvml(late, early))

    assert [device.id for device in Nvml({}, library=FakeNvml(late, early)).read(RAM_NOW)] == ["GPU-early", "GPU-late"]
    assert [(device.name, device.id) for device in nvml.read(RAM_NOW)] == [("CUDA0", "GPU-late")]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, "install the NVIDIA driver"),
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "modprobe nvidia"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "restart the machine"),
        (pynvml.NVML_ERROR_NO_PERMISSION, "may not open"),
        (pynvml.NVML_ERROR_UNKNOWN, "NVML says Unknown Error"),
    ],
)
def test_a_library_that_cannot_be_opened_is_said_once_and_tried_again_later(
    error: int, words: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    library = FakeNvml(Board("GPU-1", GIB), init_error=error)
    root = tree(tmp_path, {"dev/nvidiactl": ""})
    nvml = Nvml({}, library=library, root=root, now=lambda: now)

    assert names(nvml) == names(nvml) == []
    assert nvml.used_by(frozenset({ME})) == {}
    assert [words in record.message for record in caplog.records] == [True]

    library.init_error, now = None, RETRY_S
    assert names(nvml) == ["CUDA0"]


def test_a_machine_without_nvidia_hears_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    assert names(Nvml({}, root=tmp_path)) == []
    assert caplog.records == []


def test_a_gpu_that_falls_off_the_bus_is_left_out_and_the_others_keep_their_names(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 0.0
    lost = Board("GPU-1", GIB)
    library = FakeNvml(lost, Board("GPU-2", GIB))
    nvml = Nvml({}, library=library, now=lambda: now)
    assert names(nvml) == ["CUDA0", "CUDA1"]

    lost.error = pynvml.NVML_ERROR_GPU_IS_LOST
    assert names(nvml) == names(nvml) == ["CUDA1"]
    assert [record.message.split(":")[0] for record in caplog.records] == ["GPU 0 of NVML has vanished"]
    assert set(nvml.used_by(frozenset({ME}))) == {"CUDA1"}

    lost.error, now = None, RETRY_S
    assert names(nvml) == ["CUDA0", "CUDA1"]
    assert library.opened == 1
    assert "is back" in caplog.records[-1].message


def test_a_library_that_forgets_all_gpus_is_opened_anew(caplog: pytest.LogCaptureFixture) -> None:
    library = FakeNvml(Board("GPU-1", GIB))
    nvml = Nvml({}, library=library, now=lambda: 0.0)
    names(nvml)

    def count() -> int:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_UNINITIALIZED)

    library.nvmlDeviceGetCount = count  # type: ignore[method-assign]

    assert names(nvml) == names(nvml) == []
    assert len(caplog.records) == 1


def test_what_another_container_has_is_not_counted() -> None:
    theirs = Board("GPU-1", GIB, error=pynvml.NVML_ERROR_NO_PERMISSION)

    nvml = Nvml({}, library=FakeNvml(theirs, Board("GPU-2", GIB)))

    assert [(device.name, device.id) for device in nvml.read(RAM_NOW)] == [("CUDA0", "GPU-2")]


def test_a_gpu_without_a_memory_of_its_own_has_that_of_the_machine() -> None:
    spark = Board("GPU-1", 0, name="NVIDIA GB10", memory_error=pynvml.NVML_ERROR_NOT_SUPPORTED)
    (seen,) = Nvml({}, library=FakeNvml(spark)).read(RAM_NOW)

    assert (seen.total_bytes, seen.free_bytes, seen.part_of) == (64 * GIB, 40 * GIB, RAM)


def test_mig_instances_are_gpus_of_their_own() -> None:
    board = Board("GPU-1", 80 * GIB, instances=[None, Board("MIG-1", 10 * GIB), Board("MIG-2", 20 * GIB)])
    usual = Nvml({}, library=FakeNvml(board)).read(RAM_NOW)
    chosen = Nvml({"CUDA_VISIBLE_DEVICES": "MIG-2"}, library=FakeNvml(board)).read(RAM_NOW)

    assert [(seen.name, seen.id, seen.total_bytes) for seen in usual] == [("CUDA0", "MIG-1", 10 * GIB)]
    assert [(seen.name, seen.id, seen.total_bytes) for seen in chosen] == [("CUDA0", "MIG-2", 20 * GIB)]


def test_ours_are_found_among_the_processes_once_though_in_both_lists() -> None:
    board = Board("GPU-1", 24 * GIB, used=9 * GIB, processes={ME: 5 * GIB, 1: 3 * GIB}, graphics={ME: 5 * GIB})
    nvml = Nvml({}, library=FakeNvml(board))
    nvml.read(RAM_NOW)

    assert nvml.used_by(frozenset({ME, 2**22 + 1})) == {"CUDA0": 5 * GIB}
    assert nvml.used_by(frozenset()) == {"CUDA0": 0}


@pytest.mark.parametrize(
    ("used", "processes"),
    [
        (9 * GIB, {}),  # a container sees no processes
        (9 * GIB, {2**22 + 1: 9 * GIB}),  # or pids of the host, which are nobody here
        (9 * GIB, {os.getppid(): GIB, 2**22 + 1: 8 * GIB}),  # of which one may be the number of somebody here too
        (9 * GIB, {ME: None}),  # or ours without a figure
    ],
)
def test_a_driver_that_cannot_tell_whose_bytes_they_are_does_not_say_none(
    used: int, processes: dict[int, int | None]
) -> None:
    nvml = Nvml({}, library=FakeNvml(Board("GPU-1", 24 * GIB, used=used, processes=processes)))
    nvml.read(RAM_NOW)

    assert nvml.used_by(frozenset({ME})) == {}


def test_fastest_first_with_mixed_gpus_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    library = FakeNvml(Board("GPU-1", GIB), Board("GPU-2", GIB, name="NVIDIA T4"))
    nvml = Nvml({"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, library=library)
    names(nvml)
    names(nvml)

    assert ["FASTEST_FIRST" in record.message for record in caplog.records] == [True]
