"""Models are taken in, looked at again and removed, and nothing outside the store is ever touched."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from corral.contracts.fetching import Progress, Role
from corral.domain.errors import BadGguf, Conflict, FetchStopped, FileMissing, NoSpace, StoreFailed
from corral.domain.storage import StoreSpec
from corral.store.fetch.disk import Beside
from corral.store.fetch.journal import Identity, Journal
from corral.store.known import KnownFiles
from corral.store.shelf import gc, importing, origin, removing
from corral.store.shelf.caches.finding import Caches
from corral.store.shelf.elsewhere import items_of
from corral.store.shelf.importing import How
from corral.store.shelf.index import CHANGED_LINK, Index
from corral.store.shelf.items import Item
from corral.store.shelf.origin import Origin
from corral.store.shelf.serving import stored_models
from corral.store.shelf.verifying import Verdict, verify
from corral.store.shelf.walk import walk
from tests import second_files
from tests.models import ADA, BEN, model
from tests.second_files import projector
from tests.unit.store.shelf import kit

DAY = 86400.0


def quiet(progress: Progress) -> None:
    """Nobody looks."""


def item_of(root: Path, name: str) -> Item:
    return next(item for item in Index(root).items() if item.name == name)


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()} - {
        ".index",
        ".names",
    }


def take_off(root: Path, *several: str) -> None:
    walked = walk(root)
    items = Index(root).items_of(walked)
    for plan in removing.planned(
        root, [next(each for each in items if each.name == name) for name in several], items, walked
    ):
        removing.remove(root, plan)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    lock = path.with_name(Beside.of(path.name).lock)
    with open(lock, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# removing


def test_all_of_a_split_model_goes_with_what_came_with_it(tmp_path: Path) -> None:
    for number, part in enumerate(kit.parts_of_split(), 1):
        kit.put(tmp_path / f"hf/org/R/s-{number:05d}-of-00003.gguf", part)
        kit.describe(tmp_path, f"hf/org/R/s-{number:05d}-of-00003.gguf")
    kit.put(tmp_path / "hf/org/R/LICENSE", Path(__file__))
    kit.describe(tmp_path, "hf/org/R/LICENSE")
    kit.put(tmp_path / "hf/org/R/mine.txt", Path(__file__))
    kit.put(tmp_path / "import/a.gguf", model(ADA))
    take_off(tmp_path, "s")
    assert names(tmp_path) == {"hf/org/R/mine.txt", "import/a.gguf"}  # what no fetch has brought is not ours
    (tmp_path / "hf/org/R/mine.txt").unlink()
    take_off(tmp_path, "a")
    assert names(tmp_path) == set()
    assert tmp_path.is_dir() and not (tmp_path / "import").exists()


def tuned(root: Path) -> str:
    """A model of Ollama's with an adapter, as a pull leaves it; its folder."""
    folder = "ollama/registry.ollama.ai/library/tuned/latest"
    for name, source, role in (("model", model(ADA), "model"), ("adapter", second_files.lora(), "adapter")):
        place = f"{folder}/{name}.gguf"
        size = kit.put(root / place, source).stat().st_size
        origin.write(
            root, place, Origin(origin.VERSION, "ollama:tuned:latest", "", size, kit.sha256(source), role=role)
        )
    return folder


def test_an_adapter_is_a_part_of_its_model_and_goes_with_it(tmp_path: Path) -> None:
    folder = tuned(tmp_path)
    item = item_of(tmp_path, "tuned")
    assert item.adapters == (tmp_path / folder / "adapter.gguf",)
    assert [each.role for each in Index(tmp_path).items() if each.name != "tuned"] == [Role.ADAPTER]
    (served,) = stored_models(StoreSpec(str(tmp_path)), ())
    assert (served.name, served.adapters) == ("tuned", (str(item.adapters[0]),))
    assert gc.find(tmp_path, older_s=0.0, now=time.time() + 10 * DAY) == [], "nobody throws it away"
    take_off(tmp_path, "tuned")
    assert names(tmp_path) == set()


def test_an_adapter_whose_header_does_not_say_so_is_one_all_the_same(tmp_path: Path) -> None:
    folder = tuned(tmp_path)
    kit.put(tmp_path / folder / "adapter.gguf", model(BEN))
    assert [each.name for each in stored_models(StoreSpec(str(tmp_path)), ())] == ["tuned"]


def test_what_another_model_of_the_folder_may_need_stays(tmp_path: Path) -> None:
    for name in ("a.gguf", "b.gguf", "LICENSE"):
        kit.put(tmp_path / "hf/o/R" / name, model(ADA))
        kit.describe(tmp_path, f"hf/o/R/{name}")
    take_off(tmp_path, "a")
    assert {name for name in names(tmp_path) if "/." not in name} == {"hf/o/R/b.gguf", "hf/o/R/LICENSE"}


def fetched(root: Path, place: str, source: Path, reference: str = "hf.co/org/R") -> Path:
    path = kit.put(root / place, source)
    kit.describe(root, place, reference=reference, url=f"https://huggingface.co/{place}")
    return path


def test_the_projector_that_came_with_a_model_goes_with_the_last_that_may_need_it(tmp_path: Path) -> None:
    """Also from the top of a repository whose models lie in folders, and where both models go at once."""
    for name in ("a", "b"):
        fetched(tmp_path, f"hf/org/R/{name}/{name}-Q4_K_M.gguf", model(ADA), f"hf.co/org/R/{name}/{name}-Q4_K_M.gguf")
    fetched(tmp_path, "hf/org/R/mmproj-F16.gguf", projector(), "hf.co/org/R:Q4_K_M")
    fetched(tmp_path, "hf/org/R/LICENSE", Path(__file__))
    kit.put(tmp_path / "hf/org/Other/a.gguf", model(ADA))
    before = names(tmp_path)
    take_off(tmp_path, "a-q4_k_m")
    assert {name for name in before - names(tmp_path) if "/." not in name} == {"hf/org/R/a/a-Q4_K_M.gguf"}
    fetched(tmp_path, "hf/org/R/a/a-Q4_K_M.gguf", model(ADA), "hf.co/org/R/a/a-Q4_K_M.gguf")
    take_off(tmp_path, "a-q4_k_m", "b-q4_k_m")
    assert names(tmp_path) == {"hf/org/Other/a.gguf"}


def test_what_came_with_a_model_may_be_spelled_otherwise(tmp_path: Path) -> None:
    fetched(tmp_path, "hf/org/R/a-Q4_K_M.gguf", model(ADA), "hf.co/org/R:Q4_K_M")
    fetched(tmp_path, "hf/org/R/mmproj-F16.gguf", projector(), "hf.co/Org/r:Q4_K_M")
    take_off(tmp_path, "r-q4_k_m")
    assert names(tmp_path) == set()


@pytest.mark.parametrize("verified", [False, True])
def test_a_projector_that_somebody_put_there_stays(tmp_path: Path, verified: bool) -> None:
    """Also where its hash was remembered, and where it was imported: it may be the only one."""
    eyes = kit.put(tmp_path / "mmproj-mine.gguf", projector())
    root = tmp_path / "store"
    bring(root, eyes, How.MOVE)
    bring(root, kit.put(tmp_path / "ada.gguf", model(ADA)))
    fetched(root, "hf/org/R/ben.gguf", model(BEN), "hf.co/org/R:Q4_K_M")
    kit.put(root / "hf/org/R/mmproj-other.gguf", projector())
    if verified:
        for item in Index(root).items():
            list(verify(root, item, quiet))
    take_off(root, "ada", "r-q4_k_m")
    left = {name for name in names(root) if "/." not in name}
    assert left == {"import/mmproj-mine.gguf", "hf/org/R/mmproj-other.gguf"}


def test_what_was_fetched_by_its_own_address_stays(tmp_path: Path) -> None:
    folder = "web/example.org/f"
    fetched(tmp_path, f"{folder}/a.gguf", model(ADA), "https://example.org/f/a.gguf")
    fetched(tmp_path, f"{folder}/mmproj-x.gguf", projector(), "https://example.org/f/mmproj-x.gguf")
    take_off(tmp_path, "a")
    assert {name for name in names(tmp_path) if "/." not in name} == {f"{folder}/mmproj-x.gguf"}


def test_a_link_is_removed_as_a_link(tmp_path: Path) -> None:
    outside = kit.put(tmp_path / "outside.gguf", model(ADA))
    (tmp_path / "store/import").mkdir(parents=True)
    (tmp_path / "store/import/a.gguf").symlink_to(outside)
    take_off(tmp_path / "store", "a")
    assert outside.exists() and names(tmp_path / "store") == set()


def test_a_folder_that_became_a_link_stops_the_removal(tmp_path: Path) -> None:
    root = tmp_path / "store"
    kit.put(root / "import/a.gguf", model(ADA))
    walked = walk(root)
    items = Index(root).items_of(walked)
    (plan,) = removing.planned(root, items, items, walked)
    (root / "import").rename(tmp_path / "elsewhere")
    (root / "import").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreFailed, match="is a link"):
        removing.remove(root, plan)
    assert (tmp_path / "elsewhere/a.gguf").exists()


def test_what_is_being_fetched_is_not_removed(tmp_path: Path) -> None:
    path = kit.put(tmp_path / "import/a.gguf", model(ADA))
    with locked(path), pytest.raises(Conflict, match="being fetched"):
        take_off(tmp_path, "a")
    assert path.exists()


def test_nothing_of_another_program_is_removed(tmp_path: Path) -> None:
    path = kit.hub(tmp_path / ".cache/huggingface/hub", "org/R", "a.gguf", model(ADA))
    (item,) = items_of(Caches({"HOME": str(tmp_path)}).all(), KnownFiles())
    with pytest.raises(Conflict, match="kept by Hugging Face"):
        removing.planned(tmp_path, [item], [item], walk(tmp_path))
    assert path.exists()


# verifying


def test_bytes_that_changed_are_told_and_those_that_did_not(tmp_path: Path) -> None:
    for name in ("a", "b"):
        kit.put(tmp_path / f"import/{name}.gguf", model(ADA))
        kit.describe(tmp_path, f"import/{name}.gguf")
    path = tmp_path / "import/b.gguf"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    told: list[Progress] = []
    (right,) = verify(tmp_path, item_of(tmp_path, "a"), told.append)
    (wrong,) = verify(tmp_path, item_of(tmp_path, "b"), told.append)
    assert (right.verdict, right.sha256) == (Verdict.RIGHT, kit.sha256(model(ADA)))
    assert (wrong.verdict, wrong.why) == (Verdict.WRONG, "Its content has changed: the SHA-256 is another.")
    assert told[-1].share == 1.0
    path.write_bytes(data[:-4])
    (short,) = verify(tmp_path, item_of(tmp_path, "b"), quiet)
    assert f"{len(data) - 4} bytes instead of {len(data)}" in short.why


def test_a_file_that_was_copied_in_by_hand_is_vouched_for_from_then_on(tmp_path: Path) -> None:
    path = kit.put(tmp_path / "hf/o/R/a.gguf", model(ADA))
    assert [each.verdict for each in verify(tmp_path, item_of(tmp_path, "a"), quiet)] == [Verdict.NEW]
    assert [each.verdict for each in verify(tmp_path, item_of(tmp_path, "a"), quiet)] == [Verdict.RIGHT]
    path.write_bytes(model(BEN).read_bytes())
    assert [each.verdict for each in verify(tmp_path, item_of(tmp_path, "a"), quiet)] == [Verdict.WRONG]


def test_every_part_of_a_split_model_is_looked_at(tmp_path: Path) -> None:
    for number, part in enumerate(kit.parts_of_split(), 1):
        last = kit.put(tmp_path / f"import/s-{number:05d}-of-00003.gguf", part)
        kit.describe(tmp_path, f"import/{last.name}")
    data = bytearray(last.read_bytes())
    data[-1] ^= 1
    last.write_bytes(data)
    found = list(verify(tmp_path, item_of(tmp_path, "s"), quiet))
    assert [each.verdict for each in found] == [Verdict.RIGHT, Verdict.RIGHT, Verdict.WRONG]
    assert found[2].path == last


def test_right_files_that_are_no_whole_model_are_wrong(tmp_path: Path) -> None:
    for number, part in list(enumerate(kit.parts_of_split(), 1))[:2]:
        kit.put(tmp_path / f"import/s-{number:05d}-of-00003.gguf", part)
        kit.describe(tmp_path, f"import/s-{number:05d}-of-00003.gguf")
    found = list(verify(tmp_path, item_of(tmp_path, "s"), quiet))
    assert {each.verdict for each in found} == {Verdict.WRONG}
    assert all("s-00003-of-00003.gguf" in each.why for each in found)


def test_what_another_program_keeps_is_verified_and_nothing_is_written_there(tmp_path: Path) -> None:
    kit.put(tmp_path / ".lmstudio/models/org/R/a.gguf", model(ADA))
    (item,) = items_of(Caches({"HOME": str(tmp_path)}).all(), KnownFiles())
    before = names(tmp_path)
    for _ in range(2):
        (found,) = verify(tmp_path, item, quiet)
        assert (found.verdict, found.sha256) == (Verdict.NEW, kit.sha256(model(ADA)))
    assert names(tmp_path) == before


def test_what_is_no_model_and_what_is_gone_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "import").mkdir()
    (tmp_path / "import/bad.gguf").write_bytes(b"no model" * 9)
    (tmp_path / "import/gone.gguf").symlink_to(tmp_path / "nowhere")
    for name in ("bad", "gone"):
        (found,) = verify(tmp_path, item_of(tmp_path, name), quiet)
        assert found.verdict is Verdict.WRONG and found.why
    assert names(tmp_path) == {"import/bad.gguf", "import/gone.gguf"}


def test_verifying_can_be_ended(tmp_path: Path) -> None:
    kit.put(tmp_path / "import/a.gguf", model(ADA))
    with pytest.raises(FetchStopped):
        list(verify(tmp_path, item_of(tmp_path, "a"), quiet, stop=lambda: True))


# importing


def bring(root: Path, path: Path, how: How = How.LINK, name: str = "") -> list[str]:
    done = importing.take_in(root, importing.planned(path, name=name, root=root), how, quiet)
    assert all(each.sha256 == kit.sha256(root / each.wanted.path) for each in done)
    return [each.done for each in done]


@pytest.mark.parametrize(
    ("how", "done", "stays", "same"),
    [(How.LINK, "linked", True, True), (How.COPY, "copied", True, False), (How.MOVE, "moved", False, True)],
)
def test_a_file_is_linked_copied_or_moved(tmp_path: Path, how: How, done: str, stays: bool, same: bool) -> None:
    path = kit.put(tmp_path / "there/ada.gguf", model(ADA))
    inode = path.stat().st_ino
    root = tmp_path / "store"
    assert bring(root, path, how) == [done]
    assert path.exists() == stays
    assert ((root / "import/ada.gguf").stat().st_ino == inode) == same
    assert names(root) == {"import/ada.gguf", "import/.ada.gguf.origin.json"}
    said = origin.read(root, "import/ada.gguf")
    assert said is not None and (said.reference, said.sha256) == (f"file:{path}", kit.sha256(model(ADA)))
    assert [each.verdict for each in verify(root, item_of(root, "ada"), quiet)] == [Verdict.RIGHT]


def test_on_another_disk_a_symbolic_link_stands_and_a_move_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = kit.put(tmp_path / "there/ada.gguf", model(ADA))
    rename = os.rename

    def elsewhere(source: Any, target: Any, **how: int) -> None:
        if str(source) == str(path):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(source, target, **how)

    monkeypatch.setattr(os, "link", elsewhere)
    monkeypatch.setattr(os, "rename", elsewhere)
    root = tmp_path / "store"
    assert bring(root, path) == ["symlinked"]
    assert (root / "import/ada.gguf").readlink() == path
    said = origin.read(root, "import/ada.gguf")
    assert said is not None and (said.linked, said.linked_mtime_ns) == (str(path), path.stat().st_mtime_ns)
    kit.put(path, model(BEN))
    assert item_of(root, "ada").problem == CHANGED_LINK and stored_models(StoreSpec(str(root)), ()) == []
    other = kit.put(tmp_path / "ada.gguf", model(ADA))
    with pytest.raises(Conflict):
        bring(root, other)  # it is not what the link was made for
    assert bring(root, path) == ["symlinked"] and not item_of(root, "ada").problem
    assert [each.verdict for each in verify(root, item_of(root, "ada"), quiet)] == [Verdict.RIGHT]
    assert bring(root, path) == ["there"]
    assert bring(root, path, name="other") == ["symlinked"]
    assert bring(root, path, How.MOVE, name="moved") == ["moved"]
    assert not path.exists() and not (root / "import/moved.gguf").is_symlink()


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder of a file system that is not the one of `tmp_path`."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev or not os.access(memory, os.W_OK):
        pytest.skip("there is no second file system here: /dev/shm is none, or the same")
    folder = Path(tempfile.mkdtemp(dir=memory))
    yield folder
    shutil.rmtree(folder)


def test_a_disk_that_is_really_another_one(tmp_path: Path, other_disk: Path) -> None:
    root = tmp_path / "store"
    parts = [kit.put(other_disk / f"s-{n:05d}-of-00003.gguf", each) for n, each in enumerate(kit.parts_of_split(), 1)]
    assert bring(root, parts[1]) == ["symlinked"] * 3
    places = [root / "import/s" / part.name for part in parts]
    assert [place.readlink() for place in places] == parts
    (served,) = stored_models(StoreSpec(str(root)), ())
    assert served.path == str(places[0])
    assert [each.verdict for each in verify(root, item_of(root, "s"), quiet)] == [Verdict.RIGHT] * 3
    ada = kit.put(other_disk / "ada.gguf", model(ADA))
    assert bring(root, ada, How.MOVE) == ["moved"]
    assert not ada.exists() and not (root / "import/ada.gguf").is_symlink()
    assert (root / "import/ada.gguf").read_bytes() == model(ADA).read_bytes()
    take_off(root, "s")
    assert all(part.exists() for part in parts) and not any(os.path.lexists(place) for place in places)
    assert names(root) == {"import/ada.gguf", "import/.ada.gguf.origin.json"}


def test_a_disk_that_is_away_for_a_while_and_a_file_that_is_another_since(tmp_path: Path, other_disk: Path) -> None:
    root, path = tmp_path / "store", kit.put(other_disk / "ada.gguf", model(ADA))
    assert bring(root, path) == ["symlinked"]
    path.rename(other_disk / "away")
    assert item_of(root, "ada").problem and stored_models(StoreSpec(str(root)), ()) == []
    (other_disk / "away").rename(path)
    assert not item_of(root, "ada").problem and len(stored_models(StoreSpec(str(root)), ())) == 1
    kit.put(path, model(BEN))
    assert item_of(root, "ada").problem == CHANGED_LINK and stored_models(StoreSpec(str(root)), ()) == []
    assert [each.verdict for each in verify(root, item_of(root, "ada"), quiet)] == [Verdict.WRONG]


def test_a_split_model_comes_whole_whatever_part_is_named(tmp_path: Path) -> None:
    for number, part in enumerate(kit.parts_of_split(), 1):
        last = kit.put(tmp_path / f"there/s-{number:05d}-of-00003.gguf", part)
    root = tmp_path / "store"
    assert bring(root, last) == ["linked"] * 3
    assert item_of(root, "s").problem == "" and len(item_of(root, "s").paths) == 3
    assert bring(root, last, name="new") == ["linked"] * 3
    assert item_of(root, "new").path.name == "new-00001-of-00003.gguf"


def test_what_is_there_is_left_and_another_of_its_name_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "store"
    assert bring(root, kit.put(tmp_path / "a/x.gguf", model(ADA))) == ["linked"]
    assert bring(root, kit.put(tmp_path / "b/x.gguf", model(ADA)), How.COPY) == ["there"]
    with pytest.raises(Conflict, match="another file"):
        bring(root, kit.put(tmp_path / "c/x.gguf", model(BEN)))
    assert kit.sha256(root / "import/x.gguf") == kit.sha256(model(ADA))
    with pytest.raises(Conflict, match="in the store already"):
        bring(root, root / "import/x.gguf")


def test_other_bytes_of_the_same_length_are_another_file(tmp_path: Path) -> None:
    path = kit.put(tmp_path / "x.gguf", model(ADA))
    root = tmp_path / "store"
    bring(root, path, How.COPY)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(Conflict, match="another file"):
        bring(root, path, How.COPY)
    assert kit.sha256(root / "import/x.gguf") == kit.sha256(model(ADA))


def test_the_projector_beside_a_model_comes_with_it(tmp_path: Path) -> None:
    path = kit.put(tmp_path / "there/ada.gguf", model(ADA))
    (tmp_path / "there/mmproj-broken.gguf").write_bytes(b"nothing")
    kit.put(tmp_path / "there/mmproj-ada-F16.gguf", projector())
    root = tmp_path / "store"
    assert bring(root, path) == ["linked"] * 2
    assert {name for name in names(root) if "/." not in name} == {
        "import/ada/ada.gguf", "import/ada/mmproj-ada-F16.gguf"
    }  # fmt: skip
    assert item_of(root, "ada").projector == root / "import/ada/mmproj-ada-F16.gguf"
    kit.put(root / "import/ada/mmproj-by-hand.gguf", projector())
    take_off(root, "ada")
    assert names(root) == {"import/ada/mmproj-by-hand.gguf"}, "what came with the model goes with it, and no more"


def test_a_copy_that_has_no_room_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = kit.put(tmp_path / "a.gguf", model(ADA))
    root = tmp_path / "store"
    there = os.fstatvfs

    def full(fd: int) -> os.statvfs_result:
        return os.statvfs_result([*there(fd)[:4], 1, *there(fd)[5:]])

    monkeypatch.setattr(os, "fstatvfs", full)
    with pytest.raises(NoSpace, match=r"a\.gguf needs .*, and .* has .* free"):
        bring(root, path, How.COPY)
    assert names(root) == set()
    assert bring(root, path) == ["linked"], "which needs none"


def test_only_whole_models_come_in(tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(model(ADA).read_bytes()[:-100])
    with pytest.raises(BadGguf):
        bring(tmp_path / "store", bad)
    with pytest.raises(FileMissing):
        bring(tmp_path / "store", tmp_path / "none.gguf")
    assert not (tmp_path / "store").exists()


def test_a_link_can_be_linked_and_copied_and_is_not_moved(tmp_path: Path) -> None:
    path = kit.put(tmp_path / "blob", model(ADA))
    (tmp_path / "name.gguf").symlink_to("blob")
    root = tmp_path / "store"
    assert bring(root, tmp_path / "name.gguf") == ["linked"]
    assert os.path.samefile(root / "import/name.gguf", path) and not (root / "import/name.gguf").is_symlink()
    with pytest.raises(Conflict, match="is a link"):
        bring(root, tmp_path / "name.gguf", How.MOVE, name="n")


@pytest.mark.parametrize(
    "name",
    ["../../x", "/abs", "..", ".hidden", "a/b", "a\\b", "new\nline", "\u202e", "ü" * 200, "-rf", "c:d", "a" * 250],
)
def test_hostile_names_stay_in_the_store(tmp_path: Path, name: str) -> None:
    root = tmp_path / "store"
    path = kit.put(tmp_path / "a.gguf", model(ADA))
    assert bring(root, path, name=name) == ["linked"]
    (item,) = Index(root).items()
    assert item.path.parent == root / "import" and item.problem == ""
    assert {each.name for each in tmp_path.iterdir()} == {"a.gguf", "store"}


def test_a_full_disk_leaves_nothing_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = kit.put(tmp_path / "a.gguf", model(ADA))
    root = tmp_path / "store"
    sync = os.fsync

    def full(fd: int) -> None:
        if os.readlink(f"/proc/self/fd/{fd}").endswith(".part"):
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(fd)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NoSpace):
        bring(root, path, How.COPY)
    assert names(root) == set()


def split_at(folder: Path) -> list[Path]:
    return [kit.put(folder / f"s-{n:05d}-of-00003.gguf", part) for n, part in enumerate(kit.parts_of_split(), 1)]


def test_a_move_that_meets_another_file_moves_nothing(tmp_path: Path) -> None:
    parts, root = split_at(tmp_path / "there"), tmp_path / "store"
    kit.put(root / "import/s/s-00001-of-00003.gguf", model(BEN))
    before = names(tmp_path)
    with pytest.raises(Conflict, match="another file"):
        bring(root, parts[0], How.MOVE)
    assert names(tmp_path) == before


def test_a_move_that_was_stopped_goes_on(tmp_path: Path) -> None:
    parts, root = split_at(tmp_path / "there"), tmp_path / "store"
    calls: list[Progress] = []

    def interrupted(progress: Progress) -> None:
        calls.append(progress)
        if len({each.file for each in calls}) > 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        importing.take_in(root, importing.planned(parts[0], root=root), How.MOVE, interrupted)
    assert all(part.exists() for part in parts) and len(list((root / "import/s").glob("s-*"))) == 2
    assert bring(root, parts[0], How.MOVE) == ["moved"] * 3
    assert not any(part.exists() for part in parts)
    assert item_of(root, "s").problem == ""


def test_a_move_onto_a_link_to_itself_loses_nothing(tmp_path: Path) -> None:
    path, root = kit.put(tmp_path / "there/ada.gguf", model(ADA)), tmp_path / "store"
    (root / "import").mkdir(parents=True)
    (root / "import/ada.gguf").symlink_to(path)
    assert bring(root, path, How.MOVE) == ["there"]
    assert path.exists()


def test_a_disk_without_hard_links_moves_one_file_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any, **__: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", none)
    path = kit.put(tmp_path / "there/ada.gguf", model(ADA))
    inode, root = path.stat().st_ino, tmp_path / "store"
    assert bring(root, path, How.MOVE) == ["moved"]
    assert not path.exists() and (root / "import/ada.gguf").stat().st_ino == inode
    parts = split_at(tmp_path / "there")
    assert bring(root, parts[0], How.MOVE) == ["moved"] * 3
    assert not any(part.exists() for part in parts)


@pytest.mark.parametrize("below", [".lmstudio/models/o/R/a.gguf", ".ollama/models/blobs/sha256-1", "hub/blobs/2"])
def test_nothing_is_moved_out_of_another_programs_folder(tmp_path: Path, below: str) -> None:
    path, root = kit.put(tmp_path / "home" / below, model(ADA)), tmp_path / "store"
    caches = Caches({"HOME": str(tmp_path / "home"), "HF_HUB_CACHE": str(tmp_path / "home/hub")})
    (tmp_path / "other").symlink_to(tmp_path / "home")
    for given in (path, tmp_path / "other" / below):
        with pytest.raises(Conflict, match="is kept by another program"):
            importing.take_in(root, importing.planned(given, root=root), How.MOVE, quiet, caches=caches)
        assert path.exists() and not root.exists()
    importing.take_in(root, importing.planned(path, root=root), How.LINK, quiet, caches=caches)
    assert path.exists()


def test_what_is_imported_alone_is_what_its_header_says(tmp_path: Path) -> None:
    root = tmp_path / "store"
    for source, name, role in (
        (projector(), "eyes.gguf", "projector"),
        (second_files.lora(), "lora.gguf", "adapter"),
        (model(ADA), "a.gguf", "model"),
    ):
        bring(root, kit.put(tmp_path / name, source))
        said = origin.read(root, f"import/{name}")
        assert said is not None and said.role == role


def test_of_several_projectors_the_one_that_a_pull_would_choose_comes(tmp_path: Path) -> None:
    path = kit.put(tmp_path / "there/ada.gguf", model(ADA))
    for quant in ("BF16", "F16", "F32"):
        kit.put(tmp_path / f"there/mmproj-{quant}.gguf", projector())
    root = tmp_path / "store"
    assert bring(root, path) == ["linked"] * 2
    assert item_of(root, "ada").projector == root / "import/ada/mmproj-F16.gguf"


# gc


def test_only_what_nobody_needs_goes(tmp_path: Path) -> None:
    folder = tmp_path / "hf/o/R"
    kept = kit.put(folder / "a.gguf", model(ADA))
    kit.describe(tmp_path, "hf/o/R/a.gguf")
    for name in (".old.gguf.part", ".old.gguf.part.json", ".gone.gguf.origin.json", ".x.gguf.lock",
                 ".y.gguf.part.json.new", ".busy.gguf.part", ".busy.gguf.part.json"):  # fmt: skip
        (folder / name).write_bytes(b"" if name.endswith(".lock") else b"1")
        os.utime(folder / name, (1, 1))
    for name in (".new.gguf.part", ".new.gguf.part.json"):
        (folder / name).write_bytes(b"1")
    (tmp_path / "web/empty/inner").mkdir(parents=True)
    (tmp_path / ".mine/empty").mkdir(parents=True)
    now = (folder / ".new.gguf.part").stat().st_mtime + DAY
    os.utime(folder / ".new.gguf.part.json", (1, 1))  # beside a part that came to the disk lately it is needed
    litter = gc.find(tmp_path, older_s=7 * DAY, now=now)
    assert {each.path.rpartition("/")[2] for each in litter} == {
        ".old.gguf.part", ".old.gguf.part.json", ".gone.gguf.origin.json", ".x.gguf.lock", ".y.gguf.part.json.new",
        ".busy.gguf.part", ".busy.gguf.part.json",
    }  # fmt: skip
    assert sorted(gc.empty_folders(tmp_path)) == ["web", "web/empty", "web/empty/inner"]
    with locked(folder / "busy.gguf"):
        gone = list(gc.sweep(tmp_path, litter))
    gc.remove_folders(tmp_path, gc.empty_folders(tmp_path))
    assert len(gone) == 5
    assert {path.name for path in folder.iterdir()} - {".busy.gguf.lock"} == {
        kept.name, ".a.gguf.origin.json", ".new.gguf.part", ".new.gguf.part.json", ".busy.gguf.part",
        ".busy.gguf.part.json",
    }  # fmt: skip
    assert not (tmp_path / "web").exists() and (tmp_path / ".mine/empty").exists()


def test_hidden_files_of_other_programs_stay(tmp_path: Path) -> None:
    for name in (
        "hf/o/R/.syncthing.big.gguf.tmp",
        "hf/o/R/.a.gguf.new",
        "hf/o/R/.editor.lock",
        "hf/o/R/.notes.part",
        ".notes.tmp",
        ".index.tmp",
        "import/.index.1-2.tmp",
        "import/.origin.json",
        "import/.lock",
        "import/.a.gguf.lock",
        "mine/.big.gguf.part",
        "mine/.editor.lock",
        "mine/.thing.origin.json",
        "mine/.thing.part.json",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b'{"version": 1, "of": "another program"}')
    (tmp_path / "mine/.empty.lock").touch()
    before = names(tmp_path)
    assert list(gc.sweep(tmp_path, gc.find(tmp_path, older_s=0, now=4e9))) == []
    assert names(tmp_path) == before


def test_what_corral_left_goes_wherever_and_however_it_is_called(tmp_path: Path) -> None:
    said = Origin(origin.VERSION, "", "", 1, "")
    for path in ("hf/o/R/LICENSE", "mine/a.gguf", f"import/{'y' * 250}.gguf"):
        kit.put(tmp_path / path, Path(__file__))
        origin.write(tmp_path, path, said)
        (tmp_path / path).with_name(Beside.of(Path(path).name).lock).touch()
        (tmp_path / path).unlink()
    identity = Identity("https://example.com/x", 5, "", "")
    (tmp_path / "hf/o/R/.x.part.json").write_bytes(msgspec.json.encode(Journal(1, identity, "", [], [])))
    (tmp_path / "hf/o/R/.x.part").write_bytes(b"12")
    (tmp_path / ".index.12-34.tmp").write_bytes(b"half")
    (tmp_path / ".names.12-34.tmp").write_bytes(b"half")
    gone = list(gc.sweep(tmp_path, gc.find(tmp_path, older_s=0, now=4e9)))
    assert len(gone) == 10
    assert names(tmp_path) == set()


def test_the_origin_of_a_very_long_name_is_no_orphan(tmp_path: Path) -> None:
    name = f"{'y' * 250}.gguf"
    kit.put(tmp_path / "import" / name, model(ADA))
    kit.describe(tmp_path, f"import/{name}")
    assert gc.find(tmp_path, older_s=0, now=4e9) == []
