"""Supply: what is here is found by looking, and the rest is fetched. Over fetches without a network."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from corral.contracts.fetching import Progress
from corral.domain.errors import FetchRefused, FetchStopped, NoSpace, NotThere, StoreFailed
from corral.domain.fleet import Fleet, ModelSpec, Source
from corral.fakes.fetching import FakeFetches
from corral.store.fetch.linked import is_there
from corral.store.shelf import origin
from corral.store.supply import StoreSupply, resolved
from tests.unit.store.shelf.kit import closed

FOLDER = "hf/org/r-GGUF"
MODEL, EYE = f"{FOLDER}/r-Q4_K_M.gguf", f"{FOLDER}/mmproj-F16.gguf"
PARTS = [f"{FOLDER}/r-Q8_0-0000{number}-of-00002.gguf" for number in (1, 2)]
Q4, Q8, BARE = "hf.co/org/r-GGUF:Q4_K_M", "hf.co/org/r-GGUF:Q8_0", "hf.co/org/r-GGUF"
DATA = b"the model"
THERE = {
    Q4: {MODEL: DATA, EYE: b"the eye"},
    BARE: {MODEL: DATA, EYE: b"the eye"},
    Q8: {PARTS[0]: b"one", PARTS[1]: b"two"},
    "ollama:m:latest": {
        f"ollama/registry.ollama.ai/library/m/latest/{name}": b"x" for name in ("model.gguf", "mmproj.gguf")
    },
    "https://example.org/files/x.gguf": {"web/example.org/files/x.gguf": DATA},
}


class Shelf:
    """A store in a folder; what was asked of whom."""

    def __init__(self, root: Path) -> None:
        self.root = root / "store"
        self.made: list[FakeFetches] = []
        self.fails: dict[str, StoreFailed] = {}
        self.there: dict[str, Mapping[str, bytes]] = dict(THERE)
        self.supply = StoreSupply(self.root, self.into)

    def into(self, root: Path) -> FakeFetches:
        self.made.append(FakeFetches(root, self.there, fails=self.fails))
        return self.made[-1]

    @property
    def asked(self) -> list[str]:
        return [reference for each in self.made for reference in each.asked]

    def put(self, *paths: str, reference: str = "", data: bytes = DATA) -> None:
        """Files in their places, with an origin where a reference is given."""
        for path in paths:
            place = self.root / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
            if reference:
                said = origin.Origin(1, reference, "https://x", len(data), hashlib.sha256(data).hexdigest())
                origin.write(self.root, path, said)

    def here(self, reference: str, **fields: Any) -> tuple[str, str] | None:
        found = self.supply.here(Source(reference=reference, **fields))
        return None if found is None else (self.inside(found.path), self.inside(found.projector))

    def bring(self, reference: str, **fields: Any) -> tuple[str, str]:
        found = self.supply.bring(Source(reference=reference, **fields), quiet, lambda: False)
        assert found == dataclasses.replace(found, reference=reference, **fields), "and nothing else is another"
        return self.inside(found.path), self.inside(found.projector)

    def inside(self, path: str) -> str:
        return path.removeprefix(f"{self.root}/")


def quiet(progress: Progress) -> None:
    pass


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def test_an_empty_store_has_nothing_and_nobody_is_asked(shelf: Shelf) -> None:
    assert [shelf.here(reference) for reference in THERE] == [None] * len(THERE)
    assert shelf.made == []


def test_what_is_here_is_chosen_as_what_there_is_would_be(shelf: Shelf) -> None:
    shelf.put(MODEL)
    assert shelf.here(Q4) == (MODEL, "")
    assert shelf.here(Q8) is None
    shelf.put(EYE)
    assert shelf.here(Q4) == (MODEL, EYE)
    assert shelf.here(Q4, pictures=False) == (MODEL, "")
    assert shelf.here(f"hf.co/org/r-GGUF/{MODEL.rpartition('/')[2]}") == (MODEL, EYE)


def test_which_quantisation_was_chosen_is_known_to_its_origin_alone(shelf: Shelf) -> None:
    shelf.put(MODEL)
    assert shelf.here(BARE) is None, "another may be the usual one there"
    shelf.put(MODEL, reference=BARE)
    assert shelf.here(BARE) == (MODEL, "")


def test_what_would_be_chosen_of_all_that_there_is_is_not_guessed_from_what_is_here(shelf: Shelf) -> None:
    within, mixed = f"{FOLDER}/sub/x.gguf", f"{FOLDER}/r-UD-Q4_K_M.gguf"
    shelf.put(within, reference=f"{BARE}/sub/x.gguf")
    shelf.put(mixed, reference=f"{BARE}:UD-Q4_K_M")
    assert shelf.here(f"{BARE}/x.gguf") is None, "there may be one"
    assert shelf.here(Q4) is None, "and an exact Q4_K_M"
    assert shelf.here(f"{BARE}/sub/x.gguf") == (within, "")
    assert shelf.here(f"{BARE}:UD-Q4_K_M") == (mixed, "")


def test_all_parts_or_none(shelf: Shelf) -> None:
    shelf.put(PARTS[0])
    assert shelf.here(Q8) is None
    shelf.put(PARTS[1])
    assert shelf.here(Q8) == (PARTS[0], "")


def test_what_is_unfinished_is_not_here(shelf: Shelf) -> None:
    shelf.put(f"{FOLDER}/.r-Q4_K_M.gguf.part")
    assert shelf.here(Q4) is None


def test_a_hash_that_is_wanted_must_be_vouched_for(shelf: Shelf) -> None:
    right = hashlib.sha256(DATA).hexdigest()
    shelf.put(MODEL)
    assert shelf.here(Q4, sha256=right) is None, "nobody has looked"
    shelf.put(MODEL, reference=Q4)
    assert shelf.here(Q4, sha256=right) == (MODEL, "")
    assert shelf.here(Q4, sha256="0" * 64) is None


def test_models_of_a_registry_and_by_their_address(shelf: Shelf) -> None:
    for reference in ("ollama:m:latest", "https://example.org/files/x.gguf"):
        shelf.put(*THERE[reference])
        model, *eye = THERE[reference]
        assert shelf.here(reference) == (model, eye[0] if eye else "")


def test_at_the_operators_own_place(shelf: Shelf, tmp_path: Path) -> None:
    place = tmp_path / "mine" / "model.gguf"
    eye = place.with_name("model.mmproj.gguf")
    assert shelf.here(Q4, place=str(place)) is None
    shelf.put(MODEL)
    assert shelf.here(Q4, place=str(place)) is None, "what stands in the store is not there"
    assert shelf.bring(Q4, place=str(place)) == (str(place), str(eye))
    assert place.read_bytes() == DATA
    assert shelf.here(Q4, place=str(place)) == (str(place), str(eye))
    origin.write(place.parent, eye.name, origin.Origin(1, Q4, "https://x", 7, ""))
    assert shelf.here(Q8, place=str(place)) == (str(place), str(eye))
    assert shelf.here("hf.co/org/r-GGUF-2", place=str(place)) == (str(place), ""), "another repository's"


@pytest.mark.parametrize("known", [True, False])
def test_what_came_by_http_to_the_operators_place_is_not_what_is_asked_for_by_https(
    shelf: Shelf, tmp_path: Path, known: bool
) -> None:
    place, digest = tmp_path / "model.gguf", hashlib.sha256(DATA).hexdigest()
    place.write_bytes(DATA)
    url = "example.org/files/x.gguf"
    assert shelf.here(f"https://{url}", place=str(place)), "he has put it there himself"
    origin.write(tmp_path, place.name, origin.Origin(1, f"http://{url}", f"http://{url}", len(DATA), digest))
    assert shelf.here(f"http://{url}", place=str(place))
    fields = {"sha256": digest} if known else {}
    assert bool(shelf.here(f"https://{url}", place=str(place), **fields)) is known


def test_what_cannot_be_looked_at_is_that_models_matter_alone(shelf: Shelf, tmp_path: Path) -> None:
    """A folder that this user may not read raises as a name does that is too long."""
    place = tmp_path / ("x" * 300) / "model.gguf"
    assert shelf.here(Q4, place=str(place)) is None
    shelf.put(MODEL)
    sources = {"closed": Source(reference=Q4, place=str(place)), "open": Source(reference=Q4)}
    found = resolved(Fleet({name: ModelSpec(name, source) for name, source in sources.items()}), shelf.supply)
    assert {name: shelf.inside(each.source.path) for name, each in found.models.items()} == {
        "closed": "",
        "open": MODEL,
    }
    with pytest.raises(StoreFailed, match=r"model\.gguf cannot be looked at: File name too long"):
        is_there(place)


@pytest.fixture
def open_shelf() -> Iterator[Shelf]:
    """In folders that everybody may enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield Shelf(folder)
    shutil.rmtree(folder)


FOLDERS = ("", "hf", FOLDER, f"{FOLDER}/sub", "ollama/registry.ollama.ai/library/m/latest", "web/example.org")


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_cannot_be_looked_at_is_not_said_to_be_missing(open_shelf: Shelf, folder: str) -> None:
    reference = {"ollama": "ollama:m:latest", "web": "https://example.org/files/x.gguf"}.get(folder.split("/")[0], Q8)
    path = f"{FOLDER}/sub/r-Q8_0.gguf" if reference == Q8 else next(iter(THERE[reference]))
    open_shelf.put(path)
    with closed(open_shelf.root / folder):
        assert open_shelf.here(reference) is None
        with pytest.raises(StoreFailed, match="cannot be looked at: Permission denied") as said:
            open_shelf.bring(reference, auto_download=False)
        assert str(open_shelf.root) in said.value.message and "Let the user that Corral runs as" in said.value.hint
        assert not isinstance(said.value, FetchRefused), "who asks again may be served"
    assert open_shelf.bring(reference, auto_download=False)[0] == path
    assert open_shelf.made == []


def test_a_folder_that_cannot_be_looked_at_hides_nothing_else(open_shelf: Shelf) -> None:
    open_shelf.put(MODEL, f"{FOLDER}/BF16/r-BF16.gguf")
    with closed(open_shelf.root / FOLDER / "BF16"):
        assert open_shelf.bring(Q4, auto_download=False) == (MODEL, "")


def test_at_a_place_that_cannot_be_looked_at_nobody_is_told_to_put_anything(open_shelf: Shelf) -> None:
    place = open_shelf.root.parent / "mine" / "model.gguf"
    place.parent.mkdir()
    place.write_bytes(DATA)
    with closed(place.parent), pytest.raises(StoreFailed, match=r"mine/model\.gguf cannot be looked at") as said:
        open_shelf.bring(Q4, place=str(place), auto_download=False)
    assert "Put it" not in said.value.hint


def test_where_nobody_can_be_asked_either_the_disk_is_what_is_told(open_shelf: Shelf) -> None:
    """A disk that fails: offline, its model would be served as it is."""
    open_shelf.put(MODEL)

    def offline(root: Path) -> FakeFetches:
        raise FetchRefused("Corral is offline.")

    open_shelf.supply = StoreSupply(open_shelf.root, offline)
    with closed(open_shelf.root / FOLDER), pytest.raises(StoreFailed, match="cannot be looked at: Permission denied"):
        open_shelf.bring(Q4)


def test_two_models_in_one_folder_have_each_their_own_projector(shelf: Shelf, tmp_path: Path) -> None:
    shelf.there["hf.co/org/s-GGUF:Q4_K_M"] = {
        "hf/org/s-GGUF/s-Q4_K_M.gguf": b"the other",
        "hf/org/s-GGUF/mmproj-F16.gguf": b"another eye",
    }
    for name, reference in (("a", Q4), ("b", "hf.co/org/s-GGUF:Q4_K_M")):
        place = tmp_path / f"{name}.gguf"
        assert shelf.bring(reference, place=str(place)) == (str(place), str(tmp_path / f"{name}.mmproj.gguf"))
    assert (tmp_path / "a.mmproj.gguf").read_bytes() == b"the eye"
    assert (tmp_path / "b.mmproj.gguf").read_bytes() == b"another eye"


def test_what_is_no_part_of_the_model_is_not_put_beside_it(shelf: Shelf, tmp_path: Path) -> None:
    layers = ("model.gguf", "adapter.gguf", "adapter-2.gguf", "params.json", "license.txt", "template.txt")
    shelf.there["ollama:o:latest"] = {f"ollama/registry.ollama.ai/library/o/latest/{each}": b"x" for each in layers}
    (tmp_path / "params.json").write_text("mine")
    source = Source(reference="ollama:o:latest", place=str(tmp_path / "a.gguf"))
    found = shelf.supply.bring(source, quiet, lambda: False)
    adapters = (str(tmp_path / "a.adapter.gguf"), str(tmp_path / "a.adapter-2.gguf"))
    assert found.adapters == adapters
    assert shelf.supply.here(source) == found
    assert {each.name for each in tmp_path.iterdir() if each.is_file() and not each.name.startswith(".")} == {
        "a.gguf", "a.adapter.gguf", "a.adapter-2.gguf", "params.json",
    }  # fmt: skip
    assert (tmp_path / "params.json").read_text() == "mine"


def test_a_file_of_the_operators_own_is_never_replaced(shelf: Shelf, tmp_path: Path) -> None:
    place, eye = tmp_path / "m.gguf", tmp_path / "m.mmproj.gguf"
    eye.write_bytes(b"my eye!")
    with pytest.raises(FetchRefused, match=r"m\.mmproj\.gguf is there, is not what hf\.co/org") as said:
        shelf.bring(Q4, place=str(place))
    assert said.value.hint == "Move it away, or set another source.path."
    assert eye.read_bytes() == b"my eye!" and not place.exists(), "nothing has come"
    eye.write_bytes(b"the eye")
    assert shelf.bring(Q4, place=str(place)) == (str(place), str(eye)), "the very same is used"
    place.write_bytes(b"my model!")
    right = hashlib.sha256(DATA).hexdigest()
    with pytest.raises(FetchRefused, match=r"m\.gguf is there"):
        shelf.bring(Q4, place=str(place), sha256=right)
    place.write_bytes(DATA)
    assert shelf.bring(Q4, place=str(place), sha256=right) == (str(place), str(eye))
    assert shelf.here(Q4, place=str(place), sha256=right) == (str(place), str(eye)), "it is vouched for now"


def test_parts_go_under_the_operators_names(shelf: Shelf, tmp_path: Path) -> None:
    place = tmp_path / "mine" / "m-00001-of-00002.gguf"
    assert shelf.bring(Q8, place=str(place)) == (str(place), "")
    assert place.with_name("m-00002-of-00002.gguf").read_bytes() == b"two"
    assert shelf.here(Q8, place=str(place)) == (str(place), "")
    place.with_name("m-00002-of-00002.gguf").unlink()
    assert shelf.here(Q8, place=str(place)) is None
    with pytest.raises(StoreFailed, match=r"has 2 parts, and one\.gguf is the name of 1"):
        shelf.bring(Q8, place=str(tmp_path / "one.gguf"))


def test_what_is_missing_is_fetched_with_all_that_belongs_to_it(shelf: Shelf) -> None:
    assert shelf.bring(Q4) == (MODEL, EYE)
    assert (shelf.root / EYE).read_bytes() == b"the eye"
    assert shelf.bring(Q4) == shelf.here(Q4) == (MODEL, EYE)
    assert shelf.asked == [Q4], "once"
    assert shelf.bring("ollama:m:latest")[1].endswith("/mmproj.gguf")
    assert shelf.bring(Q8) == (PARTS[0], "")


def test_a_projector_that_nobody_wants_does_not_come(shelf: Shelf) -> None:
    assert shelf.bring(Q4, pictures=False) == (MODEL, "")
    assert not (shelf.root / EYE).exists()


def test_without_leave_nobody_is_asked_and_the_way_out_is_said(shelf: Shelf, tmp_path: Path) -> None:
    with pytest.raises(FetchRefused, match="auto_download is off") as refused:
        shelf.bring(Q4, auto_download=False)
    assert refused.value.hint == f"`corral models pull {Q4}` fetches it."
    with pytest.raises(FetchRefused) as refused:
        shelf.bring(Q4, auto_download=False, place=str(tmp_path / "x.gguf"))
    assert str(tmp_path / "x.gguf") in refused.value.hint
    assert shelf.made == []
    shelf.put(MODEL)
    assert shelf.bring(Q4, auto_download=False) == (MODEL, ""), "what is here needs none"


def test_what_goes_wrong_is_told_and_tried_again_from_where_it_was(shelf: Shelf) -> None:
    shelf.fails[MODEL] = NoSpace("The disk is full.")
    with pytest.raises(NoSpace):
        shelf.bring(Q4)
    assert shelf.here(Q4) is None
    del shelf.fails[MODEL]
    assert shelf.bring(Q4) == (MODEL, EYE)
    assert sum(each.fetched_bytes for each in shelf.made) == len(DATA) + len(b"the eye")


def test_who_is_stopped_has_not_asked(shelf: Shelf) -> None:
    with pytest.raises(FetchStopped):
        shelf.supply.bring(Source(reference=Q4), quiet, lambda: True)
    assert shelf.asked == []


def test_a_reference_that_names_nothing_is_not_there(shelf: Shelf) -> None:
    with pytest.raises(NotThere):
        shelf.here("nonsense")


def test_a_fleet_gets_the_paths_of_what_is_here(shelf: Shelf) -> None:
    shelf.put(MODEL)
    models = {
        "here": ModelSpec("here", Source(reference=Q4)),
        "elsewhere": ModelSpec("elsewhere", Source(reference=Q8)),
        "own": ModelSpec("own", Source("/own.gguf")),
        "known": ModelSpec("known", Source("/known.gguf", Q4)),
    }
    found = resolved(Fleet(models), shelf.supply)
    paths = {name: shelf.inside(model.source.path) for name, model in found.models.items()}
    assert paths == {"here": MODEL, "elsewhere": "", "own": "/own.gguf", "known": "/known.gguf"}
    assert shelf.made == []
