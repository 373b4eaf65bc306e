"""The bandwidth of RAM: measured once, remembered, and measured again where that is not to be trusted."""

from __future__ import annotations

from pathlib import Path

import pytest

from corral.store.fit import measured
from corral.store.fit.measured import RamBandwidth
from corral.store.sealed import Sealed


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What is measured, one after the other."""
    left = [2e10, 3e10, 4e10]
    monkeypatch.setattr(measured, "measure", lambda: left.pop(0))
    monkeypatch.setattr(measured, "_cpus", lambda: 8)
    return left


def test_once_for_all(tmp_path: Path, figures: list[float]) -> None:
    path = tmp_path / "cache" / "bandwidth"
    first = RamBandwidth(path)
    assert (first.bytes_per_s(), first.bytes_per_s()) == (2e10, 2e10)
    assert RamBandwidth(path).bytes_per_s() == 2e10
    assert len(figures) == 2
    assert [each.name for each in path.parent.iterdir()] == ["bandwidth"]


@pytest.mark.parametrize(
    "kept", [b"nothing", b"[]", b'{"cpus":4,"bytes_per_s":9e9}', b'{"cpus":8,"bytes_per_s":-1}',
             b'{"cpus":8,"bytes_per_s":1e300}']
)  # fmt: skip
@pytest.mark.parametrize("sealed", [True, False])
def test_what_is_kept_is_not_believed_blindly(tmp_path: Path, figures: list[float], kept: bytes, sealed: bool) -> None:
    path = tmp_path / "bandwidth"
    if sealed:
        Sealed(path, "bandwidth 1", 4096).write(kept)
    else:
        path.write_bytes(kept)
    assert RamBandwidth(path).bytes_per_s() == 2e10


def test_one_that_is_whole_is(tmp_path: Path, figures: list[float]) -> None:
    path = tmp_path / "bandwidth"
    Sealed(path, "bandwidth 1", 4096).write(b'{"cpus":8,"bytes_per_s":9e9}')
    assert RamBandwidth(path).bytes_per_s() == 9e9


def test_a_folder_that_cannot_be_written_costs_another_measurement(tmp_path: Path, figures: list[float]) -> None:
    path = tmp_path / "file" / "bandwidth"
    path.parent.write_text("no folder")
    assert RamBandwidth(path).bytes_per_s() == 2e10
    assert RamBandwidth(path).bytes_per_s() == 3e10


def test_a_machine_in_need_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "memory_limit", lambda: 1024**2)
    assert measured.measure() is None
