"""
How much memory a load will take: an estimate from file sizes and headers, before anything has run.

It is meant to be a little high, because a load that is refused is better than one that is killed. It counts weights
at their file size, the KV cache at full length for every layer, one compute buffer and what the program itself takes,
and all of it as RAM. So it is too high where layers go to a GPU, where attention is windowed or compressed (MLA), and
for a file that is mapped and used in part. It does not count the engine's prompt cache, which grows while it serves.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from corral.domain.fleet import ModelSpec
from corral.domain.launch import Footprint
from corral.store.files import FileStamp, ModelFiles, resolve, stamp
from corral.store.gguf.ggml import BY_NAME
from corral.store.gguf.header import Header

PROGRAM_BYTES: Final = 48 * 1024 * 1024  # measured beside the weights: 23 MiB for llama-server, 38 for the wheel
CELLS: Final = 256  # llama.cpp rounds the context of each slot up to a multiple of this
_DEFAULT_CONTEXT: Final = 4096
_DEFAULT_UBATCH: Final = 512
_CACHED_FILES: Final = 1024


class FileFootprints:
    """
    Footprints from model files, for the scheduler. Files that have not changed are not read again.

    Safe to call from several threads: at worst a file is read twice.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[tuple[FileStamp, ...], ModelFiles]] = {}

    def footprint(self, model: ModelSpec) -> Footprint:
        """The estimate for one load; nothing for a Model without a file. Raises StoreFailed."""
        if not model.source.path:
            return Footprint()
        files = self.files(model.source.path)
        extra = [self.files(path) for path in _companions(model)]
        ram = files.total_bytes + sum(each.total_bytes for each in extra)
        return Footprint(ram_bytes=ram + working_bytes(files.header, model) + PROGRAM_BYTES)

    def files(self, path: str) -> ModelFiles:
        """`store.files.resolve`, remembered by path, size and mtime of every part. Raises StoreFailed."""
        known = self._seen.get(path)
        if known is not None and all(_unchanged(part) for part in known[0]):
            return known[1]
        found = resolve(path)
        if len(self._seen) >= _CACHED_FILES:
            self._seen.clear()
        self._seen[path] = (found.parts, found)
        return found


def working_bytes(header: Header, model: ModelSpec) -> int:
    """KV cache and compute buffer of a load."""
    cells = context_cells(header, model)
    return kv_bytes(header, cells, _cache_type(model, "k"), _cache_type(model, "v")) + _compute_bytes(
        header, model, cells
    )


def context_cells(header: Header, model: ModelSpec) -> int:
    """Tokens that the KV cache holds, all slots together: `ctx_size`, or the context the model was trained for."""
    wanted = _whole(model, "ctx_size") or header.context_length or _DEFAULT_CONTEXT
    slots = max(1, _whole(model, "parallel") or model.slots)
    per_slot = -(-wanted // slots)
    return -(-per_slot // CELLS) * CELLS * slots


def kv_bytes(header: Header, cells: int, type_k: str, type_v: str) -> int:
    """The KV cache of so many tokens: for every layer its key-value heads times the length of a key and a value."""
    layers = header.number("block_count") or 0
    heads = header.number("attention.head_count") or 0
    if header.metadata.get(f"{header.architecture}.attention.causal") is False:
        return 0  # encoders keep no cache
    kv_heads = header.layer_sum("attention.head_count_kv", layers)
    usual = (header.number("embedding_length") or 0) // heads if heads else 0
    key, value = header.number("attention.key_length"), header.number("attention.value_length")
    total = heads * layers if kv_heads is None else kv_heads
    per_cell = _row_bytes(total * (usual if key is None else key), type_k)
    return cells * (per_cell + _row_bytes(total * (usual if value is None else value), type_v))


def _compute_bytes(header: Header, model: ModelSpec, cells: int) -> int:
    """Activations, logits and attention mask of one physical batch, as measured on llama.cpp b11434 without a GPU."""
    ubatch = _whole(model, "ubatch_size") or _DEFAULT_UBATCH
    width = (header.number("embedding_length") or 0) * 6
    if (header.number("block_count") or 0) > 1:  # the last layer computes only tokens whose logits are wanted
        width += (header.number("feed_forward_length") or 0) * 2
    vocabulary = header.array_length("tokenizer.ggml.tokens") or 0
    return ubatch * (4 * (width + vocabulary) + 2 * cells)


def _row_bytes(elements: int, name: str) -> int:
    kind = BY_NAME.get(name, BY_NAME["f16"])
    return -(-elements // kind.block) * kind.bytes


def _cache_type(model: ModelSpec, half: str) -> str:
    return str(model.options.get(f"cache_type_{half}", "f16"))


def _whole(model: ModelSpec, option: str) -> int:
    """An integer option; 0 where it is not set or is a word such as `auto`."""
    value = model.options.get(option)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _companions(model: ModelSpec) -> list[str]:
    """Other model files that the options load beside it."""
    single = [model.options.get(name) for name in ("mmproj", "model_draft")]
    adapters = model.options.get("lora", ())
    several = [adapters] if isinstance(adapters, str) else list(adapters) if isinstance(adapters, tuple) else []
    return [str(path) for path in (*single, *several) if path]


def _unchanged(part: FileStamp) -> bool:
    path = Path(part.path)
    return path.exists() and stamp(path) == part
