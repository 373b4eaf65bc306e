"""What can be served of a store, and when somebody hears that it has changed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from corral.domain.errors import Conflict, Unreadable
from corral.domain.fleet import ModelSpec, Source
from corral.domain.storage import StoreSpec
from corral.store.gguf.header import Header
from corral.store.gguf.reader import read_header
from corral.store.shelf import origin, removing, serving
from corral.store.shelf.index import CHANGED_LINK, Index
from corral.store.shelf.origin import Origin
from corral.store.shelf.serving import SETTLED_S, StoreWatch, stored_models
from corral.store.shelf.walk import Walked, walk
from tests.models import ADA, BEN, model
from tests.unit.store.shelf import kit


class Told:
    """Counts how often the store has changed, with a clock that goes on by hand."""

    def __init__(self, root: Path, known: tuple[str, ...] = ()) -> None:
        self.times, self.late_s, self.error = 0, 0.0, False
        served = [ModelSpec(path, Source(path)) for path in known]
        self.watch = StoreWatch(str(root), self.changed, known=served, now=lambda: time.time() + self.late_s)

    async def changed(self) -> None:
        self.times += 1
        if self.error:
            raise Conflict("No.")

    async def look(self) -> int:
        """Now, and when what is new now has become old."""
        before = self.times
        await self.watch.step()
        self.late_s += SETTLED_S + 1
        await self.watch.step()
        return self.times - before


def test_only_whole_models_are_served(tmp_path: Path) -> None:
    ada = kit.put(tmp_path / "hf/o/R/ada.gguf", model(ADA))
    kit.put(tmp_path / "import/cut.gguf", model(BEN)).write_bytes(b"GGUF")
    kit.put(tmp_path / "import/s-00001-of-00003.gguf", kit.parts_of_split()[0])
    (found,) = stored_models(StoreSpec(str(tmp_path)), ())
    assert (found.name, found.path, found.projector) == ("ada", str(ada), "")
    assert found.aliases == ("hf/o/R/ada", "hf.co/o/R", "hf.co/o/R:ada.gguf") and found.pulled == "hf.co/o/R"
    assert stored_models(StoreSpec(str(tmp_path / "none")), ()) == []


async def test_a_model_that_could_not_be_read_is_served_once_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its mode is changed, or that of the folder that a link leads into: neither size nor time of change say so."""
    path = kit.put(tmp_path / "import/ada.gguf", model(ADA))
    closed, own = True, read_header

    def read(each: Path) -> Header:
        if closed:
            raise Unreadable(f"{each} cannot be read: Permission denied.")
        return own(each)

    monkeypatch.setattr("corral.store.files.read_header", read)
    told = Told(tmp_path)
    assert await told.look() == 0
    closed = False
    path.chmod(0o640)
    assert await told.look() == 1
    assert [each.name for each in stored_models(StoreSpec(str(tmp_path)), ())] == ["ada"]


PLACES = {
    "hf.co/o/R:Q8_0": "hf/o/R/r-Q8_0.gguf",
    "hf.co/o/R/r-Q8_0.gguf": "hf/o/R/r-Q8_0.gguf",
    "hf.co/o/R@v2:Q8_0": "hf/o/R@v2/r-Q8_0.gguf",
    "ollama:tiny:4b": "ollama/registry.ollama.ai/library/tiny/4b/model.gguf",
    "https://example.org/a/b.gguf?token=1": "web/example.org/a/b-212b674c.gguf",
}


@pytest.mark.parametrize("reference", PLACES)
def test_what_a_model_means_by_a_reference_is_not_served_twice(tmp_path: Path, reference: str) -> None:
    kit.put(tmp_path / PLACES[reference], model(ADA))
    kit.put(tmp_path / "import/ben.gguf", model(BEN))
    mine = ModelSpec("mine", Source(reference=reference))
    found = stored_models(StoreSpec(str(tmp_path)), [mine])
    assert [each.name for each in found if not each.model] == ["ben"]
    named = [each.aliases[0] for each in found if each.model == "mine"]
    wanted = {
        "hf.co/o/R:Q8_0": "hf.co/o/R:Q8_0",
        "hf.co/o/R/r-Q8_0.gguf": "hf.co/o/R:Q8_0",
        "ollama:tiny:4b": "tiny:4b",
    }
    assert named == [wanted[reference]] if reference in wanted else named == [], "to Ollama's clients it is that Model"
    assert len(stored_models(StoreSpec(str(tmp_path)), [ModelSpec("mine", Source(reference="hf.co/o/other"))])) == 2


def test_a_reference_without_a_quantisation_means_what_was_fetched_for_it(tmp_path: Path) -> None:
    for name, source, reference in (("r-Q4_K_M", ADA, "hf.co/o/R"), ("r-Q8_0", BEN, "hf.co/o/R:Q8_0")):
        kit.put(tmp_path / f"hf/o/R/{name}.gguf", model(source))
        kit.describe(tmp_path, f"hf/o/R/{name}.gguf", reference=reference)
    used, left = stored_models(StoreSpec(str(tmp_path)), [ModelSpec("mine", Source(reference="hf.co/o/R"))])
    assert (left.path, left.model) == (str(tmp_path / "hf/o/R/r-Q8_0.gguf"), "")
    assert (used.model, used.aliases) == ("mine", ("hf.co/o/R:Q4_K_M", "hf.co/o/R"))


@pytest.mark.parametrize("how", ["path", "link", "hard link", "draft", "program", "place"])
def test_a_file_that_a_model_uses_in_any_way_is_not_served_twice(tmp_path: Path, how: str) -> None:
    store, path = tmp_path / "store", str(kit.put(tmp_path / "store/import/ada.gguf", model(ADA)))
    other = tmp_path / "other.gguf"
    if how in ("link", "hard link"):
        (other.symlink_to if how == "link" else other.hardlink_to)(path)
    mine = {
        "path": ModelSpec("mine", Source(path)),
        "draft": ModelSpec("mine", Source("/x.gguf"), options={"model_draft": path}),
        "program": ModelSpec("mine", engine="command", options={"command": ("serve", path)}),
        "place": ModelSpec("mine", Source(reference="hf.co/o/R", place=path)),
    }.get(how, ModelSpec("mine", Source(str(other))))
    assert stored_models(StoreSpec(str(store)), [mine]) == []


def test_any_part_of_a_split_model_is_the_model(tmp_path: Path) -> None:
    for part in kit.parts_of_split():
        kit.put(tmp_path / "import" / part.name, part)
    for part in kit.parts_of_split():
        mine = ModelSpec("mine", Source(str(tmp_path / "import" / part.name)))
        assert stored_models(StoreSpec(str(tmp_path)), [mine]) == []
    assert len(stored_models(StoreSpec(str(tmp_path)), ())) == 1


async def test_models_that_come_and_go_are_told_once(tmp_path: Path) -> None:
    kit.put(tmp_path / "import/a.gguf", model(ADA))
    told = Told(tmp_path, known=(str(tmp_path / "import/a.gguf"),))
    assert await told.look() == 0
    kit.put(tmp_path / "hf/o/R/ben.gguf", model(BEN))
    assert [await told.look(), await told.look()] == [1, 0]
    walked = walk(tmp_path)
    items = Index(tmp_path).items_of(walked)
    (plan,) = removing.planned(tmp_path, [next(i for i in items if i.name == "ben")], items, walked)
    removing.remove(tmp_path, plan)
    assert [await told.look(), await told.look()] == [1, 0]


async def test_what_came_between_the_start_and_the_first_look_is_told(tmp_path: Path) -> None:
    kit.put(tmp_path / "import/a.gguf", model(ADA))
    assert await Told(tmp_path).look() == 1


async def test_a_store_that_comes_later_is_seen(tmp_path: Path) -> None:
    told = Told(tmp_path / "store")
    assert await told.look() == 0
    kit.put(tmp_path / "store/import/a.gguf", model(ADA))
    assert await told.look() == 1


async def test_a_file_that_is_still_being_copied_is_told_when_it_is_whole(tmp_path: Path) -> None:
    path = kit.put(tmp_path / "import/a.gguf", model(ADA))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    os.utime(path, (1, 1))
    told = Told(tmp_path)
    assert await told.look() == 0
    with open(path, "r+b") as file:  # the folder has nothing new
        file.write(whole)
    assert await told.look() == 1


async def test_what_is_being_fetched_is_no_news(tmp_path: Path) -> None:
    kit.put(tmp_path / "import/a.gguf", model(ADA))
    told = Told(tmp_path, known=(str(tmp_path / "import/a.gguf"),))
    await told.look()
    for number in range(3):
        (tmp_path / "import/.b.gguf.part.json").write_text(str(number))
        (tmp_path / "import/.b.gguf.part").write_bytes(model(ADA).read_bytes()[: 100 * number])
        assert await told.look() == 0


def linked(root: Path, source: Path) -> Path:
    """A model of another folder, as `import` links it where a hard link cannot be."""
    place = root / "import/l.gguf"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(source)
    status, digest = source.stat(), kit.sha256(source)
    said = Origin(
        origin.VERSION, "", "", status.st_size, digest, linked=str(source), linked_mtime_ns=status.st_mtime_ns
    )
    origin.write(root, "import/l.gguf", said)
    return place


async def test_a_link_whose_file_is_replaced_by_another_is_told_and_not_served(tmp_path: Path) -> None:
    outside = kit.put(tmp_path / "outside/l.gguf", model(ADA))
    os.utime(outside, (1, 1))
    place = linked(tmp_path / "store", outside)
    told = Told(tmp_path / "store", known=(str(place),))
    assert await told.look() == 0
    other = kit.put(tmp_path / "outside/other.gguf", model(BEN))
    os.utime(other, (2, 2))
    other.replace(outside)  # nothing below the store has changed, not even the link
    assert [await told.look(), await told.look()] == [1, 0]
    assert stored_models(StoreSpec(str(tmp_path / "store")), ()) == []
    (item,) = Index(tmp_path / "store").items()
    assert item.problem == CHANGED_LINK


@pytest.mark.parametrize("which", ["link", "file"])
async def test_a_link_that_goes_and_one_that_leads_nowhere_are_told(tmp_path: Path, which: str) -> None:
    outside = kit.put(tmp_path / "outside/l.gguf", model(ADA))
    os.utime(outside, (1, 1))
    place = linked(tmp_path / "store", outside)
    told = Told(tmp_path / "store", known=(str(place),))
    assert await told.look() == 0
    (place if which == "link" else outside).unlink()
    assert [await told.look(), await told.look()] == [1, 0]
    assert stored_models(StoreSpec(str(tmp_path / "store")), ()) == []
    if which == "file":
        kit.put(outside, model(ADA))
        os.utime(outside, (1, 1))
        assert [await told.look(), await told.look()] == [1, 0], "the very same is back"
        assert [each.path for each in stored_models(StoreSpec(str(tmp_path / "store")), ())] == [str(place)]


async def test_a_store_that_stays_as_it_is_is_walked_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kit.put(tmp_path / "import/a.gguf", model(ADA))
    told = Told(tmp_path, known=(str(tmp_path / "import/a.gguf"),))
    walks: list[Path] = []

    def counted(root: Path) -> Walked:
        walks.append(root)
        return walk(root)

    monkeypatch.setattr(serving, "walk", counted)
    await told.look()
    first = len(walks)
    for _ in range(3):
        await told.look()
    assert (first, len(walks)) == (2, 2)


async def test_a_config_that_is_bad_by_then_does_not_end_the_watch(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.error = True
    kit.put(tmp_path / "import/a.gguf", model(ADA))
    assert await told.look() == 1
    kit.put(tmp_path / "import/b.gguf", model(BEN))
    assert await told.look() == 1
