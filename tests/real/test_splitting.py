"""Cutting and joining with llama.cpp's own tool, and what the engine says to the result."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from corral.store.files import resolve
from corral.store.splitting import find_tool, merge, split
from tests.architectures import architecture
from tests.real.llama import BINARY, spec, started

pytestmark = pytest.mark.llama_server


async def test_there_and_back(tmp_path: Path, short_tmp: Path) -> None:
    tool = find_tool(servers=[BINARY])
    whole = resolve(architecture("gpt-oss"))
    parts = await asyncio.to_thread(split, whole.path, tmp_path / "parts", 20_000_000, tool)
    cut = resolve(parts[0])
    assert [part.path for part in cut.parts] == parts
    assert len(parts) > 2
    assert all(part.size <= 21_000_000 for part in cut.parts)
    assert {tensor.name for tensor in cut.tensors} == {tensor.name for tensor in whole.tensors}
    joined = await asyncio.to_thread(merge, parts[1], tmp_path / "joined.gguf", tool)
    again = resolve(joined)
    assert again.header.split is None
    assert again.tensor_bytes == whole.tensor_bytes
    assert again.tensors == whole.tensors  # the same order, the same places
    before, after = whole.path.read_bytes(), joined.read_bytes()
    assert before[whole.header.data_offset :] == after[again.header.data_offset :]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["joined.gguf", "parts"]
    async with started(spec(parts[0], BINARY, options={"ctx_size": 256}), short_tmp) as running:
        await running.ready()
