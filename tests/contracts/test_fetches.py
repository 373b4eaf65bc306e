"""
What all Fetches promise: the store's, against a hub of our own, and the fake go through the same suite.

Each subject has two models: `hf.co/org/eye-GGUF` with a projector, and `hf.co/org/tiny-GGUF` with nothing else.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from corral.contracts.fetching import Fetches, Plan, Progress, Role
from corral.domain.errors import FetchStopped, NotThere, StoreFailed, WrongContent
from corral.domain.references import parse
from corral.domain.storage import StoreSpec
from corral.fakes.fetching import FakeFetches
from corral.store.fetches import StoreFetches
from tests.hub_server import HubServer, sha256

DATA = b"GGUF" + bytes(range(256)) * 4096  # a megabyte
EYE = b"GGUF" + bytes(200_000)
TINY, WITH_EYE = "hf.co/org/tiny-GGUF", "hf.co/org/eye-GGUF"
PLACES = {
    TINY: {"hf/org/tiny-GGUF/tiny-Q4_K_M.gguf": DATA},
    WITH_EYE: {"hf/org/eye-GGUF/eye-Q4_K_M.gguf": DATA, "hf/org/eye-GGUF/mmproj-F16.gguf": EYE},
}


class Subject:
    """Fetches into a folder, and how much has come over the network."""

    def __init__(self, root: Path, fetches: Fetches) -> None:
        self.root, self.fetches = root, fetches

    def fetched_bytes(self) -> int:
        """Of files, since the beginning."""
        raise NotImplementedError

    def slowly(self) -> contextlib.AbstractContextManager[None]:
        """The model's bytes come so that there is time to do something meanwhile."""
        raise NotImplementedError

    def plan(self, reference: str = TINY, *, hash_wanted: str = "") -> Plan:
        return self.fetches.plan(parse(reference), sha256=hash_wanted)


class Real(Subject):
    def __init__(self, root: Path, hub: HubServer) -> None:
        self.hub = hub
        for reference, files in PLACES.items():
            hub.repo(reference[6:], {path.rpartition("/")[2]: data for path, data in files.items()})
        spec = StoreSpec(str(root), endpoint=hub.endpoint, trusted=frozenset(hub.trusted))
        super().__init__(root, StoreFetches(spec, {"HOME": "/nonexistent"}))

    def fetched_bytes(self) -> int:
        spans = [
            each.headers["range"].removeprefix("bytes=").split("-")
            for each in self.hub.asked
            if each.where == "storage"
        ]
        return sum(int(last) - int(first) + 1 for first, last in spans)

    @contextlib.contextmanager
    def slowly(self) -> Iterator[None]:
        self.hub.pause_s = 0.05
        yield
        self.hub.pause_s = 0


class Fake(Subject):
    def __init__(self, root: Path) -> None:
        self.fake = FakeFetches(root, dict(PLACES), piece_bytes=64 * 1024)
        super().__init__(root, self.fake)

    def fetched_bytes(self) -> int:
        return self.fake.fetched_bytes

    @contextlib.contextmanager
    def slowly(self) -> Iterator[None]:
        self.fake.before = lambda path, done: time.sleep(0.05)
        yield
        self.fake.before = lambda path, done: None


@pytest.fixture(params=["real", "fake"])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    if request.param == "fake":
        yield Fake(tmp_path / "store")
        return
    with HubServer() as hub:
        yield Real(tmp_path / "store", hub)


def test_a_plan_says_what_there_is_and_fetches_nothing(subject: Subject) -> None:
    plan = subject.plan(WITH_EYE)
    assert [(file.role, file.size_bytes, file.sha256) for file in plan.files] == [
        (Role.MODEL, len(DATA), sha256(DATA)),
        (Role.PROJECTOR, len(EYE), sha256(EYE)),
    ]
    assert [file.path for file in plan.files] == list(PLACES[WITH_EYE])
    assert plan.size_bytes == len(DATA) + len(EYE)
    assert subject.fetched_bytes() == 0 and not subject.root.exists()


def test_what_is_not_there_and_what_is_another_is_said(subject: Subject) -> None:
    with pytest.raises(NotThere) as nothing:
        subject.plan("hf.co/org/nothing")
    assert "org/nothing" in nothing.value.message and nothing.value.hint
    with pytest.raises(WrongContent):
        subject.plan(hash_wanted="0" * 64)
    with pytest.raises(FetchStopped):
        subject.fetches.plan(parse(TINY), stop=lambda: True)


def test_all_files_come_once(subject: Subject) -> None:
    said: list[Progress] = []
    fetched = subject.fetches.fetch(subject.plan(WITH_EYE), said.append)
    assert [path.read_bytes() for path in fetched.paths] == [DATA, EYE]
    assert [path.relative_to(subject.root).as_posix() for path in fetched.paths] == list(PLACES[WITH_EYE])
    counts = [each.done_bytes for each in said]
    assert counts == sorted(counts) and counts[-1] == len(DATA) + len(EYE) == said[-1].total_bytes
    assert (said[-1].share, said[-1].files_done, said[-1].files) == (1, 2, 2)
    assert subject.fetched_bytes() == len(DATA) + len(EYE)
    assert subject.fetches.fetch(subject.plan(WITH_EYE)).paths == fetched.paths
    assert subject.fetched_bytes() == len(DATA) + len(EYE), "what is here is not fetched again"


def test_the_file_for_the_engine_is_in_its_place_last_and_only_whole(subject: Subject) -> None:
    model, eye = (subject.root / path for path in PLACES[WITH_EYE])

    def look(progress: Progress) -> None:
        if progress.done_bytes < len(DATA) + len(EYE):
            assert not model.exists()
        if progress.file == model.name:
            assert eye.read_bytes() == EYE

    subject.fetches.fetch(subject.plan(WITH_EYE), look)
    assert model.read_bytes() == DATA


def test_one_that_is_stopped_goes_on_where_it_was(subject: Subject) -> None:
    said: list[Progress] = []
    with subject.slowly(), pytest.raises(FetchStopped):
        subject.fetches.fetch(subject.plan(), said.append, stop=lambda: bool(said) and said[-1].done_bytes > 300_000)
    assert not (subject.root / next(iter(PLACES[TINY]))).exists()
    came = said[-1].done_bytes
    again: list[Progress] = []
    assert subject.fetches.fetch(subject.plan(), again.append).model.read_bytes() == DATA
    assert again[0].done_bytes >= came // 2
    assert subject.fetched_bytes() < 2 * len(DATA)


def test_all_who_want_the_same_file_get_it_by_one_fetch(subject: Subject) -> None:
    said: list[Progress] = []
    begun = threading.Event()

    def first(progress: Progress) -> None:
        if progress.done_bytes:
            begun.set()

    with subject.slowly(), ThreadPoolExecutor(3) as threads:
        one = threads.submit(subject.fetches.fetch, subject.plan(), first)
        assert begun.wait(10)
        others = [threads.submit(subject.fetches.fetch, subject.plan(), said.append) for _ in range(2)]
        assert {each.result(20).model for each in (one, *others)} == {subject.root / next(iter(PLACES[TINY]))}
    assert subject.fetched_bytes() == len(DATA)
    assert "waiting" in {each.doing for each in said}, "they follow it"


def test_who_waits_for_another_can_be_stopped_and_the_other_goes_on(subject: Subject) -> None:
    begun, enough = threading.Event(), threading.Event()

    def first(progress: Progress) -> None:
        if progress.done_bytes:
            begun.set()

    with subject.slowly(), ThreadPoolExecutor(2) as threads:
        one = threads.submit(subject.fetches.fetch, subject.plan(), first)
        assert begun.wait(10)
        other = threads.submit(lambda: subject.fetches.fetch(subject.plan(), stop=enough.is_set))
        enough.set()
        with pytest.raises(FetchStopped):
            other.result(5)
        assert one.result(20).model.read_bytes() == DATA


def test_a_plan_that_is_none_is_a_sentence(subject: Subject) -> None:
    """Nothing to fetch cannot be fetched."""
    with pytest.raises(StoreFailed):
        subject.fetches.fetch(Plan(parse(TINY), ()))
