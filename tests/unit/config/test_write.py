"""The starter file, and never losing a config."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from corral.config.profiles import STARTER
from corral.config.write import write_new
from corral.domain.errors import ConfigError, Conflict
from tests.unit.config.conftest import Loader


def test_the_starter_ships_no_key(config: Loader) -> None:
    text = STARTER.replace("  # keys:", "  keys:").replace("  #   - {name", "    - {name")
    assert [line for line in config.problems(text) if "CORRAL_MY_KEY is not set" in line]


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    file = tmp_path / "corral.yaml"
    write_new(str(file), "a: 1\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(Conflict, match="exists already"):
        write_new(str(file), "b: 2\n")
    assert file.read_text() == "a: 1\n"
    write_new(str(file), "b: 2\n", force=True)
    assert file.read_text() == "b: 2\n"
    assert [path.name for path in file.parent.iterdir()] == ["corral.yaml"]


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in ("file", "none"):
        with pytest.raises(ConfigError, match=f"there is no folder {tmp_path}/{folder}"):
            write_new(str(tmp_path / folder / "corral.yaml"), "a: 1\n")
        assert not (tmp_path / "none").exists()
    (tmp_path / "corral.yaml").mkdir()
    with pytest.raises(ConfigError, match="cannot be written"):
        write_new(str(tmp_path / "corral.yaml"), "a: 1\n", force=True)
