"""The store's list follows what is on the disk, and what is kept of it is only ever a help."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from corral.contracts.fetching import Role
from corral.domain.errors import Unreadable
from corral.domain.names import MODEL_NAME
from corral.domain.storage import StoreSpec
from corral.store.files import ModelFiles, resolve
from corral.store.shelf import origin
from corral.store.shelf import walk as walking
from corral.store.shelf.index import INDEX, Index
from corral.store.shelf.items import Item
from corral.store.shelf.names import NAMES, named
from corral.store.shelf.origin import VERSION, Origin
from corral.store.shelf.serving import stored_models
from corral.store.shelf.walk import DEEPEST
from tests.models import ADA, BEN, SPLIT, model
from tests.second_files import projector
from tests.unit.store.shelf import kit


class Counting:
    """Reads files and says which."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def __call__(self, path: str) -> ModelFiles:
        self.read.append(os.path.basename(path))
        return resolve(path)


def put(root: Path, place: str, source: Path | None = None) -> Path:
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source or model(ADA), path)
    return path


def put_split(root: Path, folder: str) -> list[Path]:
    first = model(SPLIT)
    parts = sorted(first.parent.glob(first.name.replace("-00001-of-", "-?????-of-")))
    return [put(root, f"{folder}/split-{number:05d}-of-00003.gguf", part) for number, part in enumerate(parts, 1)]


def listed(root: Path) -> dict[str, Item]:
    return {item.name: item for item in Index(root).items()}


def test_a_store_that_is_not_there_is_empty_and_is_not_made(tmp_path: Path) -> None:
    assert Index(tmp_path / "none").items() == []
    assert not (tmp_path / "none").exists()


def test_what_a_file_says_is_in_the_list(tmp_path: Path) -> None:
    put(tmp_path, "hf/org/Ada-GGUF/ada-Q4.gguf")
    (ada,) = Index(tmp_path).items()
    assert (ada.name, ada.key, ada.role) == ("ada-q4", "hf/org/Ada-GGUF/ada-Q4", Role.MODEL)
    assert (ada.title, ada.architecture, ada.problem) == ("Ada", "llama", "")
    assert ada.size_bytes == model(ADA).stat().st_size
    assert ada.parameters and ada.context_tokens
    assert ada.reference == "hf.co/org/Ada-GGUF/ada-Q4.gguf"


def test_a_split_model_is_one(tmp_path: Path) -> None:
    parts = put_split(tmp_path, "import/split")
    (split,) = Index(tmp_path).items()
    assert (split.name, split.paths, split.problem) == ("split", tuple(parts), "")
    assert split.size_bytes == sum(part.stat().st_size for part in parts)


def test_a_split_model_that_lacks_a_part_says_so(tmp_path: Path) -> None:
    parts = put_split(tmp_path, "import/split")
    parts[1].unlink()
    (split,) = Index(tmp_path).items()
    assert "split-00002-of-00003.gguf" in split.problem
    shutil.copyfile(model(SPLIT).with_name(model(SPLIT).name.replace("-00001-", "-00002-")), parts[1])
    assert Index(tmp_path).items()[0].problem == ""


def test_files_that_are_on_their_way_and_ours_are_no_models(tmp_path: Path) -> None:
    put(tmp_path, "web/h/.a.gguf.part")
    put(tmp_path, "web/h/.hidden.gguf")
    put(tmp_path, ".trash/b.gguf")
    put(tmp_path, "web/h/notes.txt")
    assert Index(tmp_path).items() == []


def test_only_what_has_changed_is_read_again(tmp_path: Path) -> None:
    path = put(tmp_path, "import/a.gguf")
    put(tmp_path, "import/b.gguf")
    reads = Counting()
    Index(tmp_path, read=reads).items()
    assert reads.read == ["a.gguf", "b.gguf"]
    Index(tmp_path, read=reads).items()
    assert len(reads.read) == 2
    shutil.copyfile(model(BEN), path)
    os.utime(path, ns=(1, 1))
    assert {item.title for item in Index(tmp_path, read=reads).items()} == {"Ada", "Ben"}
    assert reads.read[2:] == ["a.gguf"]


def test_a_moved_store_needs_nothing_read(tmp_path: Path) -> None:
    put(tmp_path / "one", "import/a.gguf")
    Index(tmp_path / "one").items()
    (tmp_path / "one").rename(tmp_path / "two")
    reads = Counting()
    (item,) = Index(tmp_path / "two", read=reads).items()
    assert (item.path, reads.read) == (tmp_path / "two/import/a.gguf", [])


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-3]),
        lambda path: path.write_bytes(path.read_bytes()[:40] + b"x" + path.read_bytes()[41:]),
        lambda path: path.write_bytes(path.read_bytes().replace(b"Ada", b"Bob")),
        lambda path: (path.unlink(), path.mkdir()),
    ],
    ids=["lost", "empty", "cut", "flipped", "another truth", "a folder"],
)
def test_an_index_that_is_lost_or_damaged_is_made_again(tmp_path: Path, harm: Callable[[Path], object]) -> None:
    put(tmp_path, "import/a.gguf")
    kit.describe(tmp_path, "import/a.gguf", reference="hf.co/org/repo:Q4")
    before = Index(tmp_path).items()
    harm(tmp_path / INDEX)
    assert Index(tmp_path).items() == before
    assert before[0].reference == "hf.co/org/repo:Q4"
    assert not list(tmp_path.glob("*.tmp"))


def test_an_origin_that_is_written_later_is_seen_and_the_header_is_not_read_for_it(tmp_path: Path) -> None:
    put(tmp_path, "import/a.gguf")
    Index(tmp_path).items()
    kit.describe(tmp_path, "import/a.gguf", reference="ollama:tiny:latest")
    reads = Counting()
    (item,) = Index(tmp_path, read=reads).items()
    assert (item.name, item.reference, reads.read) == ("tiny", "ollama:tiny:latest", [])


def test_a_store_that_cannot_be_written_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "import/a.gguf")

    def refuse(self: Path, data: bytes) -> int:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    assert len(Index(tmp_path).items()) == 1


def test_what_is_damaged_is_listed_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "import").mkdir()
    (tmp_path / "import/bad.gguf").write_bytes(b"<html>" * 100)
    (tmp_path / "import/gone.gguf").symlink_to(tmp_path / "nowhere.gguf")
    found = listed(tmp_path)
    assert "GGUF" in found["bad"].problem
    assert "a link to a file that is not there" in found["gone"].problem


def test_a_link_that_leads_to_no_file_says_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "import").mkdir()
    for name, target in (("circle", "circle.gguf"), ("folder", tmp_path), ("device", "/dev/null"), ("gone", "nowhere")):
        (tmp_path / f"import/{name}.gguf").symlink_to(target)
    found = listed(tmp_path)
    assert {name: found[name].problem for name in found} == {
        "circle": "It is a link that leads in a circle.",
        "folder": "It is a link to what is no file.",
        "device": "It is a link to what is no file.",
        "gone": "It is a link to a file that is not there.",
    }
    assert all(time.time() - item.modified_at < 3600 for item in found.values()), "their age is the link's own"


def test_a_link_into_a_closed_folder_is_listed_and_is_a_model_once_it_opens() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, behind = Path(folder, "store"), put(Path(folder), "closed/ada.gguf")
        (root / "import").mkdir(parents=True)
        (root / "import/ada.gguf").symlink_to(behind)
        Path(folder).chmod(0o755)  # so that another user gets as far as the store
        with kit.closed(behind.parent):
            assert listed(root)["ada"].problem.startswith(
                "It is a link to what cannot be looked at: Permission denied."
            )
        assert not listed(root)["ada"].problem
        with kit.closed(behind.parent):
            assert "Permission denied" in listed(root)["ada"].problem
        assert not listed(root)["ada"].problem


class Closed:
    """Reads files, where they let themselves be read: what modes do is not to be shown to root, who runs tests too."""

    def __init__(self, *names: str) -> None:
        self.names = set(names)

    def __call__(self, path: str) -> ModelFiles:
        if os.path.basename(path) in self.names:
            raise Unreadable(f"{path} cannot be read: Permission denied.")
        return resolve(path)


def test_a_file_that_cannot_be_read_is_one_as_soon_as_it_can(tmp_path: Path) -> None:
    """To one user at one time: nothing of it is kept, and what was known of others is."""
    put(tmp_path, "import/a.gguf")
    put(tmp_path, "import/b.gguf")
    kit.describe(tmp_path, "import/a.gguf", reference="hf.co/org/tiny")
    closed = Closed("a.gguf")
    found = {item.name: item for item in Index(tmp_path, read=closed).items()}
    assert found["tiny"].problem.endswith("import/a.gguf cannot be read: Permission denied.")
    assert (found["tiny"].reference, found["b"].problem) == ("hf.co/org/tiny", "")
    reads = Counting()
    found = {item.name: item for item in Index(tmp_path, read=reads).items()}
    assert (found["tiny"].problem, found["tiny"].title) == ("", "Ada")
    assert reads.read == ["a.gguf"]
    Index(tmp_path, read=reads).items()
    assert reads.read == ["a.gguf"]


def test_a_file_that_cannot_be_read_is_no_reason_to_write_the_index(tmp_path: Path) -> None:
    put(tmp_path, "import/a.gguf")
    put(tmp_path, "import/b.gguf")
    Index(tmp_path, read=Closed("a.gguf")).items()
    written = (tmp_path / INDEX).stat().st_ino
    Index(tmp_path, read=Closed("a.gguf")).items()
    assert (tmp_path / INDEX).stat().st_ino == written


def test_a_damaged_file_is_not_read_again(tmp_path: Path) -> None:
    (tmp_path / "import").mkdir()
    (tmp_path / "import/bad.gguf").write_bytes(b"<html>" * 100)
    Index(tmp_path).items()
    reads = Counting()
    assert "GGUF" in Index(tmp_path, read=reads).items()[0].problem
    assert reads.read == []


def test_links_to_folders_are_not_entered(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", "a.gguf")
    (tmp_path / "store").mkdir()
    (tmp_path / "store/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "store/round").symlink_to(tmp_path / "store")
    assert Index(tmp_path / "store").items() == []


def test_folders_that_lie_too_deep_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    deep = "/".join(["f"] * DEEPEST)
    put(tmp_path, f"{deep}/a.gguf")
    put(tmp_path, f"{deep}/g/b.gguf")
    put(tmp_path, f"{deep}/h/c.gguf")
    assert [*listed(tmp_path)] == ["a"]
    (told,) = caplog.messages
    assert told == f"{deep}/g, and 1 more is not looked into: it lies more than 16 folders deep in {tmp_path}"


def test_a_store_of_too_many_files_is_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        put(tmp_path, f"a/b/c{number}/m{number}.gguf")
        put(tmp_path, f"d{number}.gguf")
    monkeypatch.setattr(walking, "MOST_FILES", 4)
    assert sorted(listed(tmp_path)) == ["m0", "m1", "m2", "m3"]
    (told,) = caplog.messages
    assert told == f"{tmp_path} has more files than Corral looks at (4)"


def test_who_was_there_first_has_the_name_that_several_would_have() -> None:
    """Where nothing is remembered: by when they came, else by how old they are, models before their companions."""
    ages = {"hf/b/R/a": (2.0, 1.0), "hf/c/R/a": (1.0, 3.0), "hf/a/R/a": (1.0, 2.0), "hf/d/R/a": (0.0, 0.0)}
    items = [
        Item(key, (f"/s/{key}.gguf",), 1, modified_at, came_at=came_at,
             role=Role.PROJECTOR if key == "hf/d/R/a" else Role.MODEL)
        for key, (came_at, modified_at) in ages.items()
    ]  # fmt: skip
    assert [item.key for item in named(items) if item.name == "a"] == ["hf/a/R/a"]
    assert {item.name for item in named(items)} == {"a", "hf/b/R/a", "hf/c/R/a", "hf/d/R/a"}
    assert [item.key for item in named(items[:2]) if item.name == "a"] == ["hf/c/R/a"]


HOSTILE = [
    "..gguf", "a b.gguf", "ü-日本.gguf", "new\nline.gguf", "semi;colon.gguf", "$(id).gguf", "-rf.gguf", "%2e%2e.gguf",
    "x" * 250 + ".gguf", "A.GGUF", "tab\t.gguf", "\u202egnp.gguf", "'quote\".gguf", "-00001-of-00002.gguf",
]  # fmt: skip


def test_hostile_names_give_names_that_a_model_may_have(tmp_path: Path) -> None:
    for name in HOSTILE:
        put(tmp_path, f"import/{name}")
    put(tmp_path, "import/a.gguf")
    os.link(tmp_path / "import/a.gguf", os.fsencode(tmp_path / "import") + b"/no\xffutf8.gguf")
    items = Index(tmp_path).items()
    names = [item.name for item in items]
    assert len(set(names)) == len(names) == len(HOSTILE)  # with a.gguf, without `..gguf` and what is no UTF-8
    assert all(MODEL_NAME.fullmatch(name) and "/../" not in f"/{name}/" for name in names), names


# What is called how


def import_at(root: Path, place: str, fetched_at: float) -> None:
    """As `import` leaves it."""
    put(root, place)
    size = (root / place).stat().st_size
    origin.write(root, place, Origin(VERSION, "", "", size, kit.sha256(root / place), fetched_at=fetched_at))


def keys(root: Path) -> dict[str, str]:
    return {name: item.key for name, item in listed(root).items()}


LOST: dict[str, tuple[str, ...]] = {"nothing": (), "the index": (INDEX,), "all memory": (INDEX, NAMES)}


@pytest.mark.parametrize("lost", LOST)
@pytest.mark.parametrize("described", [True, False])
def test_what_comes_later_takes_no_name_away_however_old_it_says_it_is(
    tmp_path: Path, lost: str, described: bool
) -> None:
    """`cp -p` of an old file, and one that was fetched by the same name."""
    put(tmp_path, "import/x.gguf")
    if described:
        import_at(tmp_path, "import/x.gguf", time.time() - 1)
    assert keys(tmp_path) == {"x": "import/x"}
    time.sleep(0.02)  # the clock of the disk may be a coarse one
    os.utime(put(tmp_path, "web/h/x.gguf"), (1, 1))
    import_at(tmp_path, "web/i/x.gguf", time.time())
    wanted = {"x": "import/x", "web/h/x": "web/h/x", "web/i/x": "web/i/x"}
    assert keys(tmp_path) == wanted
    for name in LOST[lost]:
        (tmp_path / name).unlink()
    assert keys(tmp_path) == wanted == keys(tmp_path)


def test_a_name_is_kept_whatever_happens_to_its_file_or_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("import/x.gguf", "web/h/x.gguf", "web/i/x.gguf"):
        put(tmp_path, place)
        listed(tmp_path)
    wanted = {"x": "import/x", "web/h/x": "web/h/x", "web/i/x": "web/i/x"}
    import_at(tmp_path, "import/x.gguf", time.time() + 5)  # written to, and described, later than the others
    os.utime(tmp_path / "import/x.gguf")
    (tmp_path / INDEX).unlink()
    monkeypatch.setattr("corral.store.sealed.__version__", "another")
    assert keys(tmp_path) == wanted
    (tmp_path / "import/x.gguf").unlink()  # nobody inherits it: clients would get other weights by it
    assert keys(tmp_path) == {key: key for key in ("web/h/x", "web/i/x")}
    put(tmp_path, "hf/o/R/x.gguf")
    assert keys(tmp_path) == {"x": "hf/o/R/x", "web/h/x": "web/h/x", "web/i/x": "web/i/x"}
    put(tmp_path, "import/x.gguf")
    put(tmp_path, "x.gguf")  # whose place is called so
    found = keys(tmp_path)
    assert found["x"] == "hf/o/R/x" and found["import/x"] == "import/x" and len(found) == 5


def test_a_store_that_remembers_nothing_has_names_all_the_same(tmp_path: Path) -> None:
    put(tmp_path, "import/x.gguf")
    put(tmp_path, "web/h/x.gguf")
    listed(tmp_path)
    memory = (tmp_path / NAMES).read_bytes()
    for harm in (b"", memory[:-1], memory[:20] + b"?" + memory[21:]):
        (tmp_path / NAMES).write_bytes(harm)
        assert sorted(keys(tmp_path)) == ["web/h/x", "x"]
    written = (tmp_path / NAMES).stat().st_ino
    listed(tmp_path)
    assert (tmp_path / NAMES).stat().st_ino == written, "it is written when it is another"


def test_letters_that_no_name_may_have_give_names_of_their_own_that_stay(tmp_path: Path) -> None:
    put(tmp_path, "import/模型一.gguf")
    (first,) = listed(tmp_path)
    put(tmp_path, "import/模型二.gguf")
    put(tmp_path, "web/h/模型一.gguf")
    put(tmp_path, "import/Größe-7B.gguf")
    put(tmp_path, "import/Modèle.gguf")
    found = keys(tmp_path)
    assert found[first] == "import/模型一" and found["modele"] == "import/Modèle"
    assert all(re.fullmatch(r"(web/h-)?[a-z0-9-]+", name) for name in found), found
    assert [name for name in found if re.fullmatch(r"gro-e-7b-[0-9a-f]{8}", name)]
    for path in (INDEX, NAMES, "import/模型一.gguf"):
        (tmp_path / path).unlink()
    left = keys(tmp_path)
    assert left.pop(first) == "web/h/模型一"  # the only one of that name, after all memory is lost
    assert left.items() <= found.items(), "a name does not depend on who else is there"


@pytest.mark.parametrize(
    "name", ["x", "模型", "a b", "..", "y" * 240], ids=["plain", "letters", "blank", "dots", "long"]
)
def test_ten_thousand_that_would_have_one_name_are_named_at_once(name: str) -> None:
    items = [Item(f"web/h{n}/{name}", (f"/s/web/h{n}/{name}.gguf",), 1, 1.0) for n in range(10_000)]
    began = time.process_time()
    found = {item.name for item in named(items)}
    spent = time.process_time() - began
    assert len(found) == 10_000 and all(MODEL_NAME.fullmatch(each) for each in found)
    assert spent < 0.8, "0.1 s as measured"
    alike = [Item(f"web/h/{'?' * n}x", ("/s/x.gguf",), 1, 1.0) for n in range(3_000)]
    began = time.process_time()
    assert len({item.name for item in named(alike)}) == 3_000
    assert time.process_time() - began < 0.5, "names that keys would share are no search"


def test_a_name_of_255_bytes_has_its_origin(tmp_path: Path) -> None:
    put(tmp_path, f"import/{'y' * 250}.gguf")
    kit.describe(tmp_path, f"import/{'y' * 250}.gguf", reference="https://h/y.gguf")
    (item,) = Index(tmp_path).items()
    assert item.reference == "https://h/y.gguf"


def test_thousands_of_files_cost_little_when_nothing_has_changed(tmp_path: Path) -> None:
    first = put(tmp_path, "hf/o/first/a.gguf")
    for number in range(2_000):
        folder = tmp_path / f"hf/o/repo{number}"
        folder.mkdir()
        os.link(first, folder / f"m{number}.gguf")
    reads = Counting()
    assert len(Index(tmp_path, read=reads).items()) == len(reads.read) == 2_001
    spent = []
    for _ in range(3):
        began = time.process_time()
        assert len(Index(tmp_path, read=reads).items()) == 2_001
        spent.append(time.process_time() - began)
    assert len(reads.read) == 2_001
    assert min(spent) < 0.2, "0.07 s as measured: ten thousand would take more than a second"


_LISTER = """
import sys, pathlib
from corral.store.shelf.index import Index
for _ in range(30):
    items = Index(pathlib.Path(sys.argv[1])).items()
    assert "keep" in [item.name for item in items], items
"""


def test_two_processes_and_files_that_come_and_go(tmp_path: Path) -> None:
    put(tmp_path, "import/keep.gguf")
    argv = [sys.executable, "-c", _LISTER, str(tmp_path)]
    others = [subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    number = 0
    while any(other.poll() is None for other in others):
        path = put(tmp_path, f"import/n{number % 5}.gguf")
        Index(tmp_path).items()
        if number % 2:
            path.unlink()
        number += 1
    for other in others:
        _, error = other.communicate(timeout=30)
        assert other.returncode == 0, error
    reads = Counting()
    there = {path.name for path in (tmp_path / "import").glob("*.gguf")}
    assert {item.path.name for item in Index(tmp_path, read=reads).items()} == there
    assert not list(tmp_path.glob("*.tmp"))


def test_a_projector_above_a_model_is_its_own_unless_there_is_a_nearer_one(tmp_path: Path) -> None:
    """As repositories of large models have it: each quantisation in a folder, one projector above them all."""
    for place in ("hf/o/R/Q4_K_M/ada-Q4_K_M.gguf", "hf/o/R/Q8_0/ada-Q8_0.gguf", "import/x/b.gguf"):
        kit.put(tmp_path / place, model(ADA))
    for place in ("hf/o/R/mmproj-F16.gguf", "hf/o/R/Q8_0/mmproj-near.gguf", "import/mmproj.gguf"):
        kit.put(tmp_path / place, projector())
    found = {item.path.name: item.projector for item in Index(tmp_path).items() if item.role is Role.MODEL}
    assert found == {
        "ada-Q4_K_M.gguf": tmp_path / "hf/o/R/mmproj-F16.gguf",
        "ada-Q8_0.gguf": tmp_path / "hf/o/R/Q8_0/mmproj-near.gguf",
        "b.gguf": None,
    }


def test_a_borrowed_link_whose_file_has_changed_is_a_problem_until_it_is_made_anew(tmp_path: Path) -> None:
    theirs = kit.put(tmp_path / "theirs", model(ADA))
    root = tmp_path / "store"
    (root / "hf/o/R").mkdir(parents=True)
    (root / "hf/o/R/ada.gguf").symlink_to(theirs)

    def describe() -> None:
        now = theirs.stat()
        said = Origin(VERSION, "hf.co/o/R", "", now.st_size, kit.sha256(theirs), linked=str(theirs),
                      linked_mtime_ns=now.st_mtime_ns)  # fmt: skip
        origin.write(root, "hf/o/R/ada.gguf", said)

    describe()
    assert [item.problem for item in Index(root).items()] == [""]
    assert [each.name for each in stored_models(StoreSpec(str(root)), ())] == ["r"]
    kit.put(theirs, model(BEN))
    assert "has changed since" in Index(root).items()[0].problem
    assert stored_models(StoreSpec(str(root)), ()) == []
    describe()
    assert [item.problem for item in Index(root).items()] == [""]


def test_names_that_cannot_be_read_now_are_not_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = put(tmp_path, "web/h/m.gguf")
    put(tmp_path, "import/m.gguf")
    before = listed(tmp_path)
    first.unlink()
    read = Path.read_bytes

    def closed(self: Path) -> bytes:
        if self.name == NAMES:
            raise PermissionError(13, "Permission denied")
        return read(self)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", closed)
        assert len(listed(tmp_path)) == 1
    assert set(listed(tmp_path)) < set(before), "what is left has its own name"
    (left,) = listed(tmp_path).values()
    assert before[left.name].key == left.key
