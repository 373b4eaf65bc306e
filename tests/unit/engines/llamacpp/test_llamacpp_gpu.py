"""gpu: the device list of a program, which of it a Model may use, and the warning where it can use none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from corral.domain.devices import DeviceMemory
from corral.domain.errors import StartFailed
from corral.domain.fleet import ModelSpec
from corral.engines.llamacpp import LlamaCppEngine
from corral.engines.llamacpp.binary import Program
from corral.engines.llamacpp.gpu import device_order, gpu_warning, gpus_present, list_devices, parse_devices, usable

MIB = 1024**2
LISTED = """ggml_cuda_init: found 2 CUDA devices:
  Device 0: NVIDIA H200, compute capability 9.0, VMM: yes
Available devices:
  CUDA0: NVIDIA H200 (143167 MiB, 142000 MiB free)
  Vulkan1: AMD Radeon (RADV GFX1151) (512 MiB, 0 MiB free)
  RPC0: x y
"""
CUDA0 = DeviceMemory("CUDA0", 143167 * MIB, 142000 * MIB, "NVIDIA H200", source="engine")


def test_the_list_of_devices() -> None:
    one, two, three = parse_devices(LISTED)
    assert one == CUDA0
    assert two == DeviceMemory("Vulkan1", 512 * MIB, 0, "AMD Radeon (RADV GFX1151)", source="engine")
    assert (three.name, three.total_bytes, three.description) == ("RPC0", 0, "x y")
    assert parse_devices("Available devices:\n  (none)\n") == ()
    assert parse_devices("  CUDA0: x") == ()


async def test_a_program_is_asked(tmp_path: Path) -> None:
    program = tmp_path / "llama-server"
    program.write_text(f"#!/bin/sh\ncat <<END\n{LISTED}END\n")
    program.chmod(0o755)
    assert (await list_devices((str(program),), os.environ))[0] == CUDA0
    program.write_text("#!/bin/sh\necho no driver; exit 3\n")
    with pytest.raises(StartFailed, match="ended with code 3") as caught:
        await list_devices((str(program),), os.environ)
    assert caught.value.log_tail == ("no driver",)
    program.write_text("#!/bin/sh\nexec sleep 30\n")
    with pytest.raises(StartFailed, match="did not answer"):
        await list_devices((str(program),), os.environ, deadline_s=0.2)
    with pytest.raises(StartFailed, match="cannot be run"):
        await list_devices((str(tmp_path / "gone"),), os.environ)


async def test_a_model_may_use_what_its_options_leave(tmp_path: Path) -> None:
    program = tmp_path / "llama-server"
    program.write_text(f"#!/bin/sh\ncat <<END\n{LISTED}END\n")
    program.chmod(0o755)
    engine = LlamaCppEngine(which=lambda name: str(program))

    async def names(**options: tuple[str, ...] | str) -> list[str]:
        return [device.name for device in await engine.devices(ModelSpec("m", options=options))]

    assert await names() == ["CUDA0", "Vulkan1", "RPC0"]
    assert await names(device=("Vulkan1", "CUDA0")) == ["Vulkan1", "CUDA0"]
    assert await names(device=("CUDA7",)) == []
    assert await names(device=("none",)) == []
    # Its draft may use others, and uses all unless told: the estimate chooses for each of the two.
    assert await names(device=("CUDA0",), model_draft="/d.gguf") == ["CUDA0", "Vulkan1", "RPC0"]
    nowhere = LlamaCppEngine(which=lambda name: str(tmp_path / "gone"))
    assert await nowhere.devices(ModelSpec("m")) == ()


def test_the_order_of_nvml_unless_somebody_chose() -> None:
    assert device_order({}, {}) == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert device_order({"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, {}) == {}
    assert device_order({}, {"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}) == {}
    assert usable((CUDA0,), ()) == (CUDA0,)


def test_a_gpu_that_nobody_uses_is_worth_a_sentence() -> None:
    def nodes(*there: str) -> tuple[str, ...]:
        return gpus_present(
            lambda pattern: [node for node in there if node.startswith(pattern.split("[")[0].rstrip("*"))]
        )

    assert nodes() == ()
    assert nodes("/dev/nvidia0", "/dev/dri/renderD128") == ("NVIDIA",)
    assert nodes("/dev/kfd", "/dev/dri/renderD128") == ("AMD",)
    assert nodes("/dev/dri/renderD128") == ("Intel or other",)
    wheel = Program("/x.so", embedded=True)
    assert "CUDA" in gpu_warning(wheel, ("NVIDIA",), ()) and "embedded engine" in gpu_warning(wheel, ("NVIDIA",), ())
    assert "ROCm" in gpu_warning(Program("/b"), ("AMD",), ())
    assert gpu_warning(wheel, ("NVIDIA",), ("CUDA0",)) == "" and gpu_warning(wheel, (), ()) == ""
