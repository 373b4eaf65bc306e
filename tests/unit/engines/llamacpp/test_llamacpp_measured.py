"""What the engine's log says of its buffers, on lines as they were printed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from corral.domain.devices import RAM
from corral.engines.llamacpp import LlamaCppEngine
from corral.engines.llamacpp.measured import buffers_of
from tests.real.llama import spec

MIB = 1024 * 1024

CPU = """
0.00.007.738 I load_tensors: loading model tensors, this can take a while... (load_mode = mmap)
0.00.007.863 I load_tensors:   CPU_Mapped model buffer size =     0.25 MiB
0.00.008.048 I llama_context: constructing llama_context
0.00.008.063 I llama_context:        CPU  output buffer size =     0.50 MiB
0.00.008.082 I llama_kv_cache:        CPU KV buffer size =     2.00 MiB
0.00.008.085 I llama_kv_cache: size =    2.00 MiB (  1024 cells,   1 layers,  2/2 seqs), K (f16):    1.00 MiB
0.00.008.780 I sched_reserve:        CPU compute buffer size =     1.75 MiB
"""
GPU = """
llama_model_load_from_file_impl: using device CUDA0 (NVIDIA H200) (0000:01:00.0) - 140000 MiB free
llama_model_load_from_file_impl: using device CUDA1 (NVIDIA H200) (0000:02:00.0) - 140000 MiB free
load_tensors:   CPU_Mapped model buffer size =   100.00 MiB
load_tensors:    CUDA_Host model buffer size =     7.00 MiB
load_tensors:        CUDA0 model buffer size =  1000.00 MiB
load_tensors:        CUDA1 model buffer size =   900.00 MiB
load_tensors:   CUDA_Split model buffer size =    50.00 MiB
llama_context: constructing llama_context
llama_context:  CUDA_Host  output buffer size =     1.00 MiB
llama_kv_cache:      CUDA0 KV buffer size =    64.00 MiB
llama_memory_recurrent:      CUDA1 RS buffer size =    32.00 MiB
sched_reserve:      CUDA0 compute buffer size =   300.00 MiB
sched_reserve:  CUDA_Host compute buffer size =    20.00 MiB
"""


def test_the_lines_of_a_cpu_load() -> None:
    buffers = buffers_of(CPU.splitlines())
    assert buffers is not None
    assert (buffers.weights[RAM], buffers.cache[RAM]) == (MIB // 4, 2 * MIB)
    assert buffers.footprint().ram_bytes == int(4.5 * MIB)
    assert buffers.footprint().measured


def test_the_lines_of_a_load_on_two_gpus() -> None:
    found = LlamaCppEngine().measured(spec(Path("m.gguf"), ""), GPU.splitlines())
    assert found is not None
    assert found.ram_bytes == (100 + 7 + 1 + 20) * MIB
    assert found.devices == {"CUDA0": (1000 + 25 + 64 + 300) * MIB, "CUDA1": (900 + 25 + 32) * MIB}


def test_apples_memory_is_a_device_too() -> None:
    found = buffers_of(["load_tensors:   MTL0_Mapped model buffer size =    8.00 MiB"])
    assert found is not None
    assert found.footprint().devices == {"MTL0": 8 * MIB}


def test_a_compute_buffer_that_grows_counts_once() -> None:
    again = "sched_reserve:        CPU compute buffer size =     3.75 MiB"
    buffers = buffers_of([*CPU.splitlines(), again])
    assert buffers is not None
    assert buffers.compute[RAM] == int(3.75 * MIB)


def test_the_draft_model_has_buffers_of_its_own() -> None:
    buffers = buffers_of((CPU + CPU).splitlines())
    assert buffers is not None
    assert buffers.footprint().ram_bytes == 9 * MIB


def test_a_load_that_only_tries_is_left_out() -> None:
    trial = [
        "common_params_fit_impl: getting device memory data for initial parameters:",
        *CPU.splitlines(),
        "common_fit_params: fitting params to free memory took 0.00 seconds",
    ]
    assert buffers_of(trial) is None
    assert buffers_of(trial + CPU.splitlines()) == buffers_of(CPU.splitlines())


MAPPED = """
print_info: file size   = {file:.2f} MiB (4.50 BPW)
print_info: n_vocab               = 32768
print_info: n_embd                = 1024
load_tensors: {name:>12} model buffer size =   {there:.2f} MiB
load_tensors:   CPU_Mapped model buffer size =   {mapped:.2f} MiB
"""
EMBEDDING = 18  # MiB: 32768 x 1024 at 4.5 bits


@pytest.mark.parametrize(
    ("file", "name", "there", "mapped", "needed"),
    [
        (500, "CPU_REPACK", 480, 500, 20),  # rearranged: the rest of the mapping is not needed
        (500, "CUDA0", 300, 500, 200),  # some layers on a GPU, their tensors in the middle of the file
        (500, "CUDA0", 500, 18, EMBEDDING),  # all of them, and the output is a copy of the embedding
        (500, "CUDA0", 480, 20, 20),
        (500, "CPU", 0, 500, 500),
    ],
)
def test_pages_of_the_file_that_nobody_needs_are_spare(
    file: int, name: str, there: int, mapped: int, needed: int
) -> None:
    buffers = buffers_of(MAPPED.format(file=file, name=name, there=there, mapped=mapped).splitlines())
    assert buffers is not None
    elsewhere = buffers.weights - Counter({RAM: needed * MIB})
    assert sum(elsewhere.values()) == there * MIB
    assert buffers.spare == buffers.footprint().spare_bytes == (mapped - needed) * MIB


def test_the_projector_of_a_multimodal_model() -> None:
    lines = ["clip_ctx: CLIP using CUDA0 backend", "load_hparams: model size:         10.00 MiB", *CPU.splitlines()]
    buffers = buffers_of(lines)
    assert buffers is not None
    assert buffers.weights == {"CUDA0": 10 * MIB, RAM: MIB // 4}


def test_a_quiet_or_broken_log_says_nothing() -> None:
    assert buffers_of([]) is None
    assert buffers_of(["srv llama_server: model loaded"]) is None
    cut = ["load_tensors:   CPU_Mapped model buffer size =   nan MiB", "x: CPU KV buffer size = 1e999 MiB"]
    buffers = buffers_of(cut)
    assert buffers is not None
    assert buffers.footprint().ram_bytes == 0
