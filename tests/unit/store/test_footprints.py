"""What earlier loads have shown: kept over restarts, corrected both ways, and never a reason to fail."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

import pytest

from corral.contracts.footprint import Footprints
from corral.domain.devices import DeviceMemory
from corral.domain.fleet import ModelSpec, Source
from corral.domain.launch import Footprint
from corral.store.footprints import LoadFootprints
from tests.models import ADA, model

SMALL, LARGE = Footprint(100, {"CUDA0": 10}), Footprint(250, {"CUDA0": 5, "CUDA1": 7})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "footprints.json"


def record(store: Footprints, digest: str, measured: Footprint, load_s: float = 2.0) -> None:
    store.record(digest, estimated=SMALL, measured=measured, load_s=load_s)


def test_a_measurement_replaces_the_estimate_up_and_down(path: Path) -> None:
    store = LoadFootprints(path)
    spec = ModelSpec("m", source=Source(str(model(ADA))), options={"ctx_size": 512})
    estimated = store.footprint(spec, digest="d")
    assert not estimated.measured
    for measured in (LARGE, SMALL):
        record(store, "d", measured)
        found = store.footprint(spec, digest="d")
        assert found.by_device() == measured.by_device()
        assert found.measured
    assert store.footprint(spec, digest="another") == store.footprint(spec) == store.estimate(spec) == estimated


def test_it_is_remembered_over_a_restart(path: Path) -> None:
    record(LoadFootprints(path), "d", LARGE)
    seen = LoadFootprints(path).seen("d")
    assert seen is not None
    assert (seen.estimated.by_device(), seen.measured.by_device()) == (SMALL.by_device(), LARGE.by_device())
    assert (seen.load_s, seen.loads) == (2.0, 1)
    assert LoadFootprints(path).seen("another") is None
    assert LoadFootprints(path).load_seconds("another") is None


def test_it_is_known_when_it_was_measured(path: Path) -> None:
    store = LoadFootprints(path, wall=lambda: 1234.5)
    record(store, "d", LARGE)
    seen = LoadFootprints(path).seen("d")
    assert seen is not None and seen.at == 1234.5


def gpu(name: str, total: int) -> DeviceMemory:
    return DeviceMemory(name, total, total)


@pytest.mark.parametrize(
    ("now", "counts"),
    [
        ([gpu("ram", 7), gpu("CUDA0", 24_000)], True),
        ([gpu("CUDA0", 24_500)], True),  # another driver hides more or less of it
        ([gpu("CUDA0", 16_000)], False),
        ([gpu("Vulkan0", 24_000)], False),
        ([gpu("CUDA0", 24_000), gpu("CUDA1", 24_000)], False),
        ([], False),
    ],
)
def test_what_was_measured_beside_other_gpus_is_estimated_again(
    path: Path, now: list[DeviceMemory], counts: bool
) -> None:
    then = [gpu("ram", 5), gpu("CUDA0", 24_000)]
    LoadFootprints(path).record("d", estimated=SMALL, measured=LARGE, load_s=1.0, devices=then)
    spec = ModelSpec("m", source=Source(str(model(ADA))), options={"ctx_size": 512})
    assert LoadFootprints(path).footprint(spec, digest="d", devices=now).measured is counts


def test_a_file_of_before_has_no_dates_and_no_gpus(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b'{"version":1,"loads":{"d":{"estimated":{},"measured":{"ram":5},"load_s":1,"loads":1}}}')
    store = LoadFootprints(path)
    seen = store.seen("d")
    assert seen is not None and seen.at == 0
    assert store.footprint(ModelSpec("m"), digest="d", devices=[gpu("CUDA0", 9)]).measured


def test_load_times_are_averaged(path: Path) -> None:
    store = LoadFootprints(path)
    for seconds in (10.0, 20.0, 20.0):
        record(store, "d", LARGE, seconds)
    assert store.load_seconds("d") == pytest.approx(15.1)
    seen = store.seen("d")
    assert seen is not None
    assert seen.loads == 3


def test_the_oldest_is_forgotten_when_there_are_too_many(path: Path) -> None:
    store = LoadFootprints(path, most=3)
    for digest in ("a", "b", "c", "a", "d"):
        record(store, digest, LARGE)
    kept = LoadFootprints(path, most=3)
    assert [digest for digest in "abcd" if kept.seen(digest)] == ["a", "c", "d"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\x00 no JSON",
        b'{"version":1,"loads":{"d":{"estimated":{},"meas',
        b'{"version":2,"loads":{}}',
        b'{"version":1,"loads":{"d":{"estimated":{},"measured":{"ram":-5},"load_s":1,"loads":1}}}',
        b'{"version":1,"loads":{"d":{"estimated":{},"measured":{"ram":"x"},"load_s":1,"loads":1}}}',
        b'{"version":1,"loads":{"d":{"estimated":{},"measured":{},"load_s":1e999,"loads":1}}}',
        b'{"version":1,"loads":{"d":{"estimated":{},"measured":{},"load_s":1,"loads":1,"at":1e300}}}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_file_is_a_warning_and_a_fresh_start(
    path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    store = LoadFootprints(path)
    with caplog.at_level(logging.WARNING):
        assert store.seen("d") is None
    assert [line for line in caplog.messages if "measured afresh" in line]
    assert path.with_suffix(".damaged").read_bytes() == content
    record(store, "d", LARGE)
    assert LoadFootprints(path).seen("d") is not None


def test_a_file_that_cannot_be_written_costs_a_warning(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.parent.write_text("a file where the folder should be")
    store = LoadFootprints(path)
    with caplog.at_level(logging.WARNING):
        record(store, "d", LARGE)
    assert "cannot be remembered" in caplog.text
    assert store.seen("d") is not None  # for as long as it lives


def test_a_write_that_breaks_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LoadFootprints(path)
    record(store, "d", SMALL)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    record(store, "e", LARGE)
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    kept = LoadFootprints(path)
    assert (kept.seen("d") is not None, kept.seen("e")) == (True, None)


def test_without_a_path_nothing_is_written(tmp_path: Path) -> None:
    store = LoadFootprints()
    record(store, "d", LARGE)
    assert store.seen("d") is not None
    assert not list(tmp_path.iterdir())


def test_many_threads_may_ask_and_record(path: Path) -> None:
    store = LoadFootprints(path)

    def load(name: int) -> None:
        for count in range(10):
            record(store, f"{name}-{count}", LARGE)

    threads = [threading.Thread(target=load, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    kept = LoadFootprints(path)
    assert all(kept.seen(f"{name}-{count}") for name in range(4) for count in range(10))
