"""Models as tests imagine them: headers with a few numbers, tensors with sizes and no contents."""

from __future__ import annotations

from corral.domain.devices import RAM, DeviceMemory
from corral.domain.fleet import OptionValue
from corral.store.gguf.asked import Asked
from corral.store.gguf.header import Header, TensorInfo, Value
from corral.store.gguf.shape import ModelShape, shape_of

MIB = 1024 * 1024


def header(arch: str = "llama", /, **values: Value) -> Header:
    """`attention__head_count=32` is `llama.attention.head_count`."""
    metadata: dict[str, Value] = {"general.architecture": arch}
    metadata |= {f"{arch}." + key.replace("__", "."): value for key, value in values.items()}
    return Header(3, False, metadata, (), 0, 0, 32)


def tensors(**sizes: int) -> tuple[TensorInfo, ...]:
    """`blk__0__attn_q=100` is a tensor `blk.0.attn_q.weight` of 100 bytes."""
    return tuple(
        TensorInfo(name.replace("__", ".") + ".weight", (size,), "I8", 0, size) for name, size in sizes.items()
    )


def shape(arch: str = "llama", weights: tuple[TensorInfo, ...] = (), /, **values: Value) -> ModelShape:
    """A model."""
    return shape_of(header(arch, **values), weights)


def asked(slots: int = 1, /, **options: OptionValue) -> Asked:
    """A load."""
    return Asked(options, slots)


def gpu(name: str, free: int, total: int | None = None) -> DeviceMemory:
    """A GPU with so much free."""
    return DeviceMemory(name, total or free, free)


def ram(total: int) -> DeviceMemory:
    """The host."""
    return DeviceMemory(RAM, total, total)


# Llama 3.1 8B: 32 layers, 8 key-value heads of 128: 128 KiB for each token in f16.
LLAMA_8B = shape(
    block_count=32,
    context_length=131072,
    embedding_length=4096,
    feed_forward_length=14336,
    attention__head_count=32,
    attention__head_count_kv=8,
)

MAMBA = shape("mamba", block_count=2, embedding_length=64, ssm__conv_kernel=4, ssm__inner_size=128, ssm__state_size=16)
MAMBA_STATE = (3 * 128 + 16 * 128) * 4 * 2  # bytes for one slot: what the convolution remembers, and the state
