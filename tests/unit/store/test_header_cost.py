"""What a header costs: time, memory, bytes. The figures of docs/performance.md, by the processor's clock."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.bench.headers import MB, SPARSE_BYTES, cost
from tests.large_headers import large
from tests.models import ADA, model


def test_the_largest_vocabulary_is_quick_and_small(tmp_path: Path) -> None:
    found = cost("corral", str(large(tmp_path / "gemma.gguf")))
    assert found.cpu_s < 0.2
    assert found.grown_bytes < 20 * MB


def test_a_file_of_40_gb_is_read_where_its_header_is(tmp_path: Path) -> None:
    path = large(tmp_path / "sparse.gguf", tokens=150_000, merges=0, size_bytes=SPARSE_BYTES)
    assert path.stat().st_size == SPARSE_BYTES
    assert cost("corral", str(path)).cpu_s < 0.08


def test_the_command_gets_by_without_numpy() -> None:
    """It alone takes longer to import than all else that the command does."""
    words = "import sys; from corral.cli import main; sys.exit(main.run(sys.argv[1:]) or 'numpy' in sys.modules)"
    argv = [sys.executable, "-c", words, "models", "inspect", str(model(ADA))]
    assert subprocess.run(argv, check=False, stdout=subprocess.DEVNULL, timeout=30).returncode == 0
