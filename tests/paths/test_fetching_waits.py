"""Fetches that wait: for a server that says nothing or wants to be left alone, for their turn, for who has the lock."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from corral.contracts.fetching import Progress
from corral.domain.errors import FetchFailed, FetchStopped
from corral.store.borrowing import borrow
from corral.store.fetch import attempt, lock
from corral.store.fetch.disk import Beside, Disk
from corral.store.fetch.patience import Patience
from corral.store.shelf.importing import How, planned, take_in
from tests.file_server import Ask, FileServer, Reply, of_file
from tests.models import ADA, model
from tests.paths.fetching_kit import DATA, PATH, SIZE, Told, plan_for, puller, whole

BESIDE = Beside.of("model.bin")


def doings(told: Told) -> list[str]:
    """What it did, one after the other."""
    found = [each.doing for each in told]
    return [each for before, each in zip(["", *found], found, strict=False) if each != before]


@pytest.mark.parametrize("number", [0, 1], ids=["at once", "midway"])
def test_a_server_that_wants_to_be_left_alone_is_waited_for_in_the_open(tmp_path: Path, number: int) -> None:
    """Without a hash and an ETag it is asked a second time, for all of it."""
    asked: list[Ask] = []

    def serve(ask: Ask) -> Reply:
        asked.append(ask)
        return Reply(429, {"Retry-After": "8"}) if len(asked) == number + 1 else of_file(ask, DATA, etag="")

    with FileServer(serve) as server:
        told = Told()
        plan = plan_for(f"{server.origin}/model.bin", known=False)
        assert whole(puller(tmp_path).fetch(plan, told))
    assert doings(told)[:4] == ["queued", "fetching", "stalled", "fetching"], doings(told)
    assert all(each.per_s == 0 and each.done_bytes == 0 for each in told if each.doing == "stalled")


def test_a_server_that_hangs_is_said_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt, "STALLED_S", 0.3)
    with FileServer(lambda ask: Reply(200, {"Content-Length": str(SIZE)}, DATA, cut=100_000, hang=True)) as server:
        told = Told()

        def stop() -> bool:
            return bool(told) and told[-1].doing == "stalled"

        with pytest.raises(FetchStopped):
            puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin"), told, stop=stop)
    assert doings(told) == ["queued", "fetching", "stalled"] and 0 < told[-1].done_bytes <= 100_000


def test_a_pause_between_two_attempts_is_said(tmp_path: Path) -> None:
    asked: list[Ask] = []

    def serve(ask: Ask) -> Reply:
        asked.append(ask)
        return replace(of_file(ask, DATA, ranges=False), cut=1_000_000 if len(asked) == 1 else None)

    with FileServer(serve) as server:
        told = Told()
        assert whole(puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin"), told))
    assert "stalled" in doings(told)


def test_who_waits_for_his_turn_keeps_nobody_out(tmp_path: Path) -> None:
    """He has no lock yet: who has more luck fetches it, and he finds it here."""
    with FileServer(lambda ask: of_file(ask, DATA)) as server:
        plan = plan_for(f"{server.origin}/model.bin")
        turn, waits, told = threading.Event(), threading.Event(), Told()

        def in_turn(progress: Progress) -> None:
            told.append(progress)
            if told[-1].doing == "queued":
                waits.set()
                assert turn.wait(10)

        thread = threading.Thread(target=puller(tmp_path).fetch, args=(plan, in_turn))
        thread.start()
        assert waits.wait(10)
        assert whole(puller(tmp_path).fetch(plan))
        turn.set()
        thread.join(10)
        assert server.sent_bytes == SIZE and told[-1].share == 1


def test_a_holder_of_the_lock_who_is_stopped_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "SILENT_S", 5.0)
    plan, told = plan_for("http://127.0.0.1:9/model.bin"), Told()
    with Disk().folder(tmp_path, ("web", "files"), make=True) as folder, lock.lock(folder, BESIDE) as mine:
        assert mine
        with pytest.raises(FetchFailed) as stuck:
            puller(tmp_path).fetch(plan, told)
    assert "Another process fetches model.bin" in stuck.value.message and ".model.bin.lock" in stuck.value.hint
    assert doings(told) == ["queued", "waiting"]


def test_a_holder_who_hashes_or_waits_himself_gives_signs_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "SILENT_S", 2.0)
    monkeypatch.setattr(lock, "BEAT_S", 0.1)
    first = threading.Event()

    def serve(ask: Ask) -> Reply:
        if not first.is_set():
            first.set()
            return Reply(200, {"Content-Length": str(SIZE)}, hang=True, cut=0)  # found out after three seconds
        return of_file(ask, DATA)

    with FileServer(serve) as server:
        plan = plan_for(f"{server.origin}/model.bin")
        holder = threading.Thread(target=puller(tmp_path).fetch, args=(plan,))
        holder.start()
        assert first.wait(10)
        fetched = replace(puller(tmp_path), patience=Patience()).fetch(plan)
        holder.join(10)
    assert whole(fetched) and (tmp_path / PATH).exists()


def test_who_hashes_another_programs_file_or_copies_one_gives_signs_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For minutes, of a large one; each sign is of the lock's own time, which is what those who wait look at."""
    monkeypatch.setattr(lock, "BEAT_S", 0.0)
    (tmp_path / "cache").write_bytes(DATA)
    seen: list[bool] = []

    def told(progress: Progress) -> None:
        (held,) = tmp_path.rglob(".*.lock")
        seen.append(held.stat().st_mtime > 1000)
        os.utime(held, (0, 0))

    plan = plan_for("https://example.org/files/model.bin")
    borrow(tmp_path / "store", plan, lambda digest, size: tmp_path / "cache", told, lambda: False)
    assert (tmp_path / "store" / PATH).exists()
    taken_in = len(seen)
    wanted = planned(model(ADA), name="mine", root=tmp_path / "store")
    take_in(tmp_path / "store", wanted, How.COPY, told)
    assert len(seen) > taken_in > 0 and all(seen)


def test_a_journal_is_a_sign_of_life_too(tmp_path: Path) -> None:
    """Another version of Corral may fetch into this store."""
    now_s = 0.0
    with Disk().folder(tmp_path, ("web", "files"), make=True) as folder, lock.lock(folder, BESIDE):
        holder = lock.Holder(folder, BESIDE, lambda: now_s)
        for number in range(5):
            folder.write(BESIDE.journal, b"%d" % number, "journal", sync=False)
            holder.check()
            now_s += lock.SILENT_S - 1
        holder.check()
        now_s += 2
        with pytest.raises(FetchFailed):
            holder.check()
