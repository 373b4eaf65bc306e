"""Fetching onto disks that fail, fill up or cannot be written: a clear error, and afterwards it goes on."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from corral.domain.errors import FetchStopped, NoSpace, StoreFailed
from corral.domain.references import parse
from corral.domain.storage import StoreSpec
from corral.store.fetch import attempt
from corral.store.fetch.disk import POINTS
from corral.store.fetch.journal import Journal
from corral.store.fetch.spans import Spans
from corral.store.fetches import StoreFetches
from corral.store.shelf.index import Index
from tests.file_server import PIECE, Ask, FileServer, Reply, of_file
from tests.hub_server import HubServer
from tests.models import ADA, model
from tests.paths.fetching_kit import DATA, PATH, SIZE, Told, data_of, left, plan_for, puller, whole


def good(ask: Ask) -> Reply:
    return of_file(ask, DATA)


class Fault:
    """The Nth time that a fetch comes to a point, the disk says this."""

    def __init__(self, point: str, number: int, code: int) -> None:
        self._point, self._left, self._code = point, number, code
        self._lock = threading.Lock()

    @property
    def came(self) -> bool:
        """Whether the fetch came to it so often."""
        return self._left <= 0

    def __call__(self, point: str) -> None:
        with self._lock:
            if point == self._point:
                self._left -= 1
                if self._left == 0:
                    raise OSError(self._code, os.strerror(self._code))


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("point", POINTS)
def test_a_disk_that_fails_at_any_step_is_told_and_then_it_goes_on(
    tmp_path: Path, point: str, code: int, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "SETTLED_AFTER", 1_000_000)
    slowly = point == "part.settle"  # it is flushed beside what comes: a file that is there at once is not
    with FileServer(lambda ask: of_file(ask, DATA, per_s=20e6 if slowly else 0)) as server:
        plan = plan_for(f"{server.origin}/model.bin")
        failed: StoreFailed | None = None
        fault = Fault(point, number, code)
        try:
            puller(tmp_path, fault=fault).fetch(plan)
        except StoreFailed as error:
            failed = error
        if failed is not None:
            assert isinstance(failed, NoSpace) == (code == errno.ENOSPC)
            assert str(tmp_path) in failed.message and failed.hint
            assert os.strerror(code) in failed.message
        place = tmp_path / PATH
        assert not place.exists() or place.read_bytes() == DATA
        assert fault.came == (failed is not None), "whatever fails is told"
        assert fault.came or number == 2, "every step is one of a fetch"
        assert whole(puller(tmp_path).fetch(plan))


@pytest.mark.parametrize("point", ["part.rename", "origin.write", "origin.rename"])
def test_an_origin_never_speaks_of_other_bytes_than_those_that_lie_there(tmp_path: Path, point: str) -> None:
    """A file in the place of an older one of the same size: what said where that came from is gone before."""
    new = data_of(4)
    with FileServer(lambda ask: of_file(ask, new if ask.path == "/new" else DATA)) as server:
        puller(tmp_path).fetch(plan_for(f"{server.origin}/old"))
        with pytest.raises(StoreFailed):
            puller(tmp_path, fault=Fault(point, 1, errno.EIO)).fetch(plan_for(f"{server.origin}/new", new))
        assert not (tmp_path / "web/files/.model.bin.origin.json").exists()
        assert whole(puller(tmp_path).fetch(plan_for(f"{server.origin}/old")))


def test_only_what_was_there_before_a_flush_began_counts_after_a_loss_of_power(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes while it flushes may be in the file, and not on the disk."""
    monkeypatch.setattr(attempt, "SETTLED_AFTER", 1_000_000)
    journal = tmp_path / "web/files/.model.bin.part.json"
    bounds: list[int] = []
    settled: list[int] = []

    def slow(point: str) -> None:
        if point == "part.settle":
            bounds.append(server.sent_bytes + 4 * PIECE)
            time.sleep(0.6)  # three megabytes come meanwhile; and at the second flush the first is in the journal
            settled.append(Spans.of(msgspec.json.decode(journal.read_bytes(), type=Journal).settled).count)

    with FileServer(lambda ask: of_file(ask, DATA, per_s=1.25e6)) as server:
        with pytest.raises(FetchStopped):
            puller(tmp_path, fault=slow).fetch(plan_for(f"{server.origin}/model.bin"), stop=lambda: len(settled) > 1)
    assert settled[0] == 0 and 1_000_000 <= settled[1] <= bounds[0]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Of 1 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    options = ["-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if subprocess.run(["mount", *options], check=False, capture_output=True, timeout=20).returncode:
        pytest.skip("only root can mount a small disk")
    yield place
    subprocess.run(["umount", str(place)], check=True, timeout=20)


def test_a_full_disk_is_told_before_a_byte_is_fetched_where_the_size_is_known(small_disk: Path) -> None:
    with FileServer(good) as server:
        with pytest.raises(NoSpace, match=r"needs 11\.8 MiB more, and .* has 1 MiB free"):
            puller(small_disk).fetch(plan_for(f"{server.origin}/model.bin"))
        assert server.asked == []


def test_a_disk_that_gets_full_meanwhile_keeps_what_fits(small_disk: Path) -> None:
    data = data_of(3, 900_000)
    with FileServer(lambda ask: of_file(ask, data)) as server:
        plan = plan_for(f"{server.origin}/model.bin", data)
        (small_disk / "ballast").write_bytes(bytes(500_000))
        blind = puller(small_disk)
        object.__setattr__(blind, "free_bytes", lambda fd: SIZE)
        with pytest.raises(NoSpace, match="No space left on device") as full:
            blind.fetch(plan)
        assert "Free some space" in full.value.hint
        assert not [name for name in left(small_disk) if name.endswith(".new")]
        (small_disk / "ballast").unlink()
        assert whole(puller(small_disk).fetch(plan), data)


class Full:
    """A disk that has no room after some writes, not even for a first journal, until something is given up."""

    def __init__(self) -> None:
        self._writes = 0
        self._full, self._freed = threading.Event(), False

    def __call__(self, point: str) -> None:
        if point == "part.write":
            self._writes += 1
            if self._writes > 12:
                self._full.set()
        elif point == "part.truncate":
            self._freed = self._writes > 0
        elif point == "journal.write" and not self._freed:
            self._full.wait(10)
        if self._full.is_set() and not self._freed and point in ("part.write", "journal.write"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_came_before_the_disk_was_full_counts_though_its_journal_found_no_room(tmp_path: Path) -> None:
    with FileServer(lambda ask: of_file(ask, DATA, per_s=20e6)) as server:
        plan = plan_for(f"{server.origin}/model.bin")
        with pytest.raises(NoSpace):
            puller(tmp_path, fault=Full(), connections=1).fetch(plan)
        told = Told()
        assert whole(puller(tmp_path).fetch(plan, told))
        assert told[0].done_bytes > 0, "it said that what has come is kept"


def test_what_the_journal_has_is_not_given_up_for_a_journal_that_finds_no_room_either(tmp_path: Path) -> None:
    with FileServer(lambda ask: of_file(ask, DATA, per_s=2e6)) as server:
        plan = plan_for(f"{server.origin}/model.bin")
        before: list[int] = []

        def enough() -> bool:
            before[:] = [each.done_bytes for each in told[-1:]]
            return bool(before) and before[0] > 500_000

        told = Told()
        with pytest.raises(FetchStopped):
            puller(tmp_path, connections=1).fetch(plan, told, stop=enough)

        def full(point: str) -> None:
            if point == "journal.write":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with pytest.raises(NoSpace):
            puller(tmp_path, fault=full, connections=1).fetch(plan)
        told = Told()
        assert whole(puller(tmp_path).fetch(plan, told))
        assert next(each for each in told if each.doing == "fetching").done_bytes >= before[0]


def test_a_store_that_is_read_only_gives_what_it_has_and_says_so_for_the_rest(small_disk: Path) -> None:
    data = data_of(3, 500_000)
    with FileServer(lambda ask: of_file(ask, data)) as server:
        plan = plan_for(f"{server.origin}/model.bin", data)
        puller(small_disk).fetch(plan)
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True, timeout=20)
        asked = len(server.asked)
        assert whole(puller(small_disk).fetch(plan), data)
        with pytest.raises(StoreFailed, match="Read-only file system") as refused:
            puller(small_disk).fetch(plan_for(f"{server.origin}/x", data[:100], path="web/other/x"))
        assert "store.path" in refused.value.hint and len(server.asked) == asked


def test_what_a_read_only_store_has_is_used_whatever_could_be_tidied_or_noted(small_disk: Path) -> None:
    """A lost origin, what a kill has left, a reference by which it was never asked for: nothing of it needs writing."""
    data = model(ADA).read_bytes()
    with HubServer() as hub:
        hub.repo("org/ada-GGUF", {"ada-Q8_0.gguf": data})
        spec = StoreSpec(str(small_disk), endpoint=hub.endpoint, trusted=frozenset(hub.trusted))
        fetches = StoreFetches(spec, {"HOME": str(small_disk)})
        place = fetches.fetch(fetches.plan(parse("hf.co/org/ada-GGUF"))).model
        for lost in (False, True):
            subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True, timeout=20)
            place.with_name(f".{place.name}.part").write_bytes(b"left")
            if lost:
                place.with_name(f".{place.name}.origin.json").unlink()
            subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True, timeout=20)
            before = left(small_disk)
            for reference in ("hf.co/org/ada-GGUF", "hf.co/org/ada-GGUF:Q8_0", "hf.co/org/ada-GGUF/ada-Q8_0.gguf"):
                fetched = fetches.fetch(fetches.plan(parse(reference)))
                assert fetched.model == place and place.read_bytes() == data
            assert [item.problem for item in Index(small_disk).items()] == [""]
            assert left(small_disk) == before
        assert len(hub.paths("storage")) == 1
