"""Models and hosts for the tests of fitting: sizes in MiB, nothing on a disk."""

from __future__ import annotations

from corral.domain.devices import RAM, DeviceMemory
from corral.domain.fleet import ModelSpec, OptionValue
from corral.engines.llamacpp import LlamaCppEngine
from corral.store.fit.rooms import Rooms, rooms_of
from corral.store.fit.subject import Subject, of_header
from corral.store.gguf.header import Header, TensorInfo, Value
from tests.unit.store.shapes import MIB, header

GIB = 1024 * MIB
USUAL: dict[str, OptionValue] = dict(LlamaCppEngine().resolved(ModelSpec("any")).options)
LAYERS = 32


def llama(
    arch: str = "llama", /, *, layer: int = 128, expert: int = 0, **values: Value
) -> tuple[Header, list[TensorInfo]]:
    """32 layers of so many MiB each, with experts beside them; embedding and output of 256 MiB each."""
    numbers: dict[str, Value] = {
        "block_count": LAYERS, "context_length": 131072, "embedding_length": 4096, "feed_forward_length": 14336,
        "attention__head_count": 32, "attention__head_count_kv": 8, **values,
    }  # fmt: skip
    sizes = {"token_embd.weight": 256, "output.weight": 256}
    for number in range(LAYERS):
        sizes[f"blk.{number}.ffn_up.weight"] = layer
        if expert:
            sizes[f"blk.{number}.ffn_up_exps.weight"] = expert
    tensors = [TensorInfo(name, (size * MIB,), "I8", 0, size * MIB) for name, size in sizes.items()]
    return header(arch, **numbers), tensors


def subject(
    made: tuple[Header, list[TensorInfo]] | None = None,
    /,
    *,
    offered: dict[str, int] | None = None,
    **chosen: OptionValue,
) -> Subject:
    """A model of which these options are chosen."""
    head, tensors = made or llama()
    usual: dict[str, OptionValue] = {"parallel": 4, "kv_unified": True, "n_gpu_layers": "auto"}
    return of_header(
        "m", head, tensors, options={**usual, **chosen}, chosen=frozenset(chosen), slots=4, offered=offered
    )


def host(ram: float, *gpus: float | tuple[float, float], names: str = "") -> Rooms:
    """GiB of RAM and of GPUs; (total, free) for one that is partly used."""
    devices = [DeviceMemory(RAM, int(ram * GIB), int(ram * GIB))]
    for index, each in enumerate(gpus):
        total, free = each if isinstance(each, tuple) else (each, each)
        devices.append(DeviceMemory(f"CUDA{index}", int(total * GIB), int(free * GIB), names))
    return rooms_of(devices, {each.name: each.free_bytes for each in devices})
