"""What is believed of an earlier fetch."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from corral.store.fetch import journal
from corral.store.fetch.disk import Beside, Disk
from corral.store.fetch.journal import Identity, Journal

ONE = Identity("https://a/x", 100, "aa", '"t"')


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (ONE, True),
        (Identity("https://mirror/x", 100, "aa", '"u"'), True),  # the hash says it
        (Identity("https://a/x", 101, "aa", '"t"'), False),
        (Identity("https://a/x", None, "aa", '"t"'), True),
        (Identity("https://a/x", 100, "bb", '"t"'), False),
        (Identity("https://a/x", 100, "", '"t"'), False),
    ],
)
def test_the_same_file_by_hash(other: Identity, same: bool) -> None:
    assert ONE.same(other) is other.same(ONE) is same


def test_the_same_file_by_address_and_strong_etag() -> None:
    one = Identity("https://a/x", 100, "", '"t"')
    assert one.same(one) and one.told
    assert not one.same(Identity("https://b/x", 100, "", '"t"'))
    assert not one.same(Identity("https://a/x", 100, "", '"u"'))
    untold = Identity("https://a/x", 100)
    assert not untold.same(untold) and not untold.told


def test_after_a_kill_all_that_was_written_counts_and_after_a_loss_of_power_what_was_flushed() -> None:
    found = Journal(1, ONE, "boot 1", [(0, 50), (60, 80)], [(0, 30)])
    assert found.there("boot 1", 80).spans == [(0, 50), (60, 80)]
    assert found.there("boot 2", 80).spans == [(0, 30)]
    assert found.there("", 80).spans == [(0, 30)]  # a system that does not tell its boots


@pytest.mark.parametrize("written", [[(0, 81)], [(-5, 10)], [(70, 200)]])
def test_a_journal_that_cannot_be_right_is_not_believed(written: list[tuple[int, int]]) -> None:
    assert Journal(1, ONE, "b", written, []).there("b", 80).count == 0


def test_it_is_kept_and_followed(tmp_path: Path) -> None:
    beside = Beside.of("m.gguf")
    with Disk().folder(tmp_path, ("hf", "o"), make=True) as folder:
        assert journal.load(folder, beside) is None
        kept = Journal(1, ONE, "b", [(0, 50)], [(0, 30)])
        journal.save(folder, beside, kept)
        assert journal.load(folder, beside) == kept
        assert journal.progress_of(folder, beside) == (50, 100, "fetching")
        assert os.listdir(folder.path) == [".m.gguf.part.json"]
        for body in (b"", b"\xff", b"[]", b'{"version": 2}', b'{"version":1,"identity":{},"boot":1}'):
            (folder.path / ".m.gguf.part.json").write_bytes(body)
            assert journal.load(folder, beside) is None
        journal.discard(folder, beside, part=True)
        assert os.listdir(folder.path) == []


def test_names_beside_a_file_fit_and_differ() -> None:
    for name in ("m.gguf", "x" * 255, "x" * 254 + "y", "ä" * 127, "模" * 85):
        beside = Beside.of(name)
        for each in (beside.part, f"{beside.journal}.new", beside.lock, f"{beside.origin}.new"):
            assert each.startswith(".") and len(os.fsencode(each)) <= 255
    assert Beside.of("x" * 255).part != Beside.of("x" * 254 + "y").part
    assert Beside.of("m.gguf").origin == ".m.gguf.origin.json"
