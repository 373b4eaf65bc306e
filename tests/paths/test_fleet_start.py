"""Ten thousand Models start in a second or two, and a file of theirs is read once."""

from __future__ import annotations

from pathlib import Path

from tests.bench.fleet import SHARED_FILES, config, files, start


def test_ten_thousand_models_cost_little_more_than_the_program_itself(tmp_path: Path) -> None:
    """
    CPU, and in starts of ten Models, so that it means the same on every machine and beside other work.

    Such a start takes 0.5 s and ten thousand Models 1 s more; the bound is twice that.
    """
    sources = files(tmp_path, SHARED_FILES)
    few = config(tmp_path, "toml", 10, sources, SHARED_FILES)
    many = config(tmp_path, "yaml", 10_000, sources, SHARED_FILES)
    own = min(start(few, tmp_path / "cache").cpu_s for _ in range(2))
    took = min(start(many, tmp_path / "cache").cpu_s for _ in range(2))
    assert took - own < 4 * own, (took, own)
    assert (tmp_path / "cache" / "corral" / "headers").exists()
