"""What a header costs: time, memory, bytes. The figures of docs/performance.md, with room for a busy machine."""

from __future__ import annotations

from pathlib import Path

from tests.bench.headers import MB, SPARSE_BYTES, cost
from tests.large_headers import large


def test_the_largest_vocabulary_is_quick_and_small(tmp_path: Path) -> None:
    found = cost("corral", str(large(tmp_path / "gemma.gguf")), 5)
    assert found.best_s < 0.2
    assert found.grown_bytes < 20 * MB


def test_a_file_of_40_gb_is_read_where_its_header_is(tmp_path: Path) -> None:
    path = large(tmp_path / "sparse.gguf", tokens=150_000, merges=0, size_bytes=SPARSE_BYTES)
    assert path.stat().st_size == SPARSE_BYTES
    assert cost("corral", str(path), 5).best_s < 0.08
