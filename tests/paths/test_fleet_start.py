"""Ten thousand Models start in a second or two, each with a file of its own too, and a file is read once."""

from __future__ import annotations

from pathlib import Path

import pytest

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


@pytest.mark.timeout(180)  # two whole surveys, beside other work
def test_ten_thousand_files_that_were_never_read_delay_neither_the_start_nor_a_request(tmp_path: Path) -> None:
    """
    The same bound, where reading all files would take 6 s of CPU: it serves first.

    The last Model is answered while the others are looked at; its start fails, because the files are headers and holes.
    """
    many, few = files(tmp_path, 10_000), files(tmp_path, SHARED_FILES)
    own = min(start(config(tmp_path, "toml", 10, few, SHARED_FILES), tmp_path / "cache").cpu_s for _ in range(2))
    fleet = config(tmp_path, "yaml", 10_000, many, 10_000)
    first = start(fleet, tmp_path / "cache", ask="m9999", to_the_end=True)
    assert first.cpu_s - own < 4 * own, (first, own)
    assert first.behind > 5_000, "most were looked at before it served"
    assert first.last_model_s < first.surveyed_s, "who asks waits for nobody else's file"
    again = start(fleet, tmp_path / "cache", to_the_end=True)
    assert again.surveyed_s - again.says_so_s < (first.surveyed_s - first.says_so_s) / 2, "they were read once more"
