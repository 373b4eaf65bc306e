"""What the start of a GGUF file says, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class LongArray:
    """An array of which only the length was kept."""

    length: int


Value = int | float | bool | str | tuple[Any, ...] | LongArray


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor. `shape` as ggml has it: the first dimension varies fastest. `offset` counts from the data start."""

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    n_bytes: int


@dataclass(frozen=True, slots=True)
class SplitInfo:
    """Which part of a split model a file is: `index` counts from 0."""

    index: int
    count: int
    tensors: int


@dataclass(frozen=True, slots=True)
class Header:
    """All that the start of a GGUF file says. Properties give what it says about the model, in plain types."""

    version: int
    big_endian: bool
    metadata: dict[str, Value]
    tensors: tuple[TensorInfo, ...]
    data_offset: int
    file_bytes: int
    alignment: int

    @property
    def tensor_bytes(self) -> int:
        """Bytes of all tensors of this file, without padding."""
        return sum(tensor.n_bytes for tensor in self.tensors)

    @property
    def architecture(self) -> str:
        """`llama`, `qwen3moe`, ...; "" where the file does not say (parts after the first)."""
        return self.text("general.architecture")

    @property
    def name(self) -> str:
        """The model's own name, or ""."""
        return self.text("general.name")

    @property
    def chat_template(self) -> str:
        """The Jinja chat template, or ""."""
        return self.text("tokenizer.chat_template")

    @property
    def tools_template(self) -> str:
        """The one that llama-server takes instead where a request has tools, or ""."""
        return self.text("tokenizer.chat_template.tool_use")

    @property
    def context_length(self) -> int | None:
        """The context that the model was trained for."""
        return self.number("context_length")

    @property
    def split(self) -> SplitInfo | None:
        """None for a model in one file."""
        count = self._int("split.count")
        if count is None or count < 2:
            return None
        return SplitInfo(self._int("split.no") or 0, count, self._int("split.tensors.count") or 0)

    def text(self, key: str) -> str:
        """A string of the metadata, or ""."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""

    def number(self, key: str) -> int | None:
        """An integer of the architecture's own metadata: `number("block_count")`."""
        return self._int(f"{self.architecture}.{key}")

    def array_length(self, key: str) -> int | None:
        """How long an array of the metadata is, kept or not."""
        value = self.metadata.get(key)
        return value.length if isinstance(value, LongArray) else len(value) if isinstance(value, tuple) else None

    def _int(self, key: str) -> int | None:
        value = self.metadata.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None
