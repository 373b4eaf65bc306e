"""Links to a fetched model: relative, in one step, and nothing that is no link is lost."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from corral.contracts.fetching import Fetched, Plan, RemoteFile, Role
from corral.domain.errors import StoreFailed
from corral.domain.references import parse
from corral.store import links as made
from corral.store.links import link_model


def fetched(root: Path, *names: str, projector: str = "") -> Fetched:
    files = [RemoteFile("https://x", name) for name in names]
    files += [RemoteFile("https://x", projector, Role.PROJECTOR)] if projector else []
    for each in files:
        path = root / each.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(each.path)
    return Fetched(Plan(parse("hf.co/o/r"), tuple(files)), tuple(root / each.path for each in files))


def links(folder: Path) -> dict[str, str]:
    return {path.name: os.readlink(path) for path in folder.iterdir()}


def test_a_link_is_relative_and_holds_where_the_volume_is_moved(tmp_path: Path) -> None:
    model = fetched(tmp_path / "volume" / "store", "hf/o/r/m-Q4_K_M.gguf")
    link = tmp_path / "volume" / "weights" / "model.gguf"
    assert link_model(link, model) == [link]
    assert links(link.parent) == {"model.gguf": "../store/hf/o/r/m-Q4_K_M.gguf"}
    (tmp_path / "volume").rename(tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere/weights/model.gguf").read_text() == "hf/o/r/m-Q4_K_M.gguf"


def test_all_parts_and_the_projector(tmp_path: Path) -> None:
    names = [f"hf/o/r/m-{number:05d}-of-00002.gguf" for number in (1, 2)]
    model = fetched(tmp_path / "store", *names, projector="hf/o/r/mmproj-F16.gguf")
    link_model(tmp_path / "w" / "model.gguf", model)
    assert links(tmp_path / "w") == {
        "model.gguf": f"../store/{names[0]}",
        "model-00001-of-00002.gguf": f"../store/{names[0]}",
        "model-00002-of-00002.gguf": f"../store/{names[1]}",
        "mmproj.gguf": "../store/hf/o/r/mmproj-F16.gguf",
    }


def test_what_was_good_stays_when_the_disk_fails_at_the_last_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "w" / "model.gguf"
    link_model(link, fetched(tmp_path / "store", "a.gguf"))
    seen: list[str] = []

    def fails(fresh: Path, name: Path) -> None:
        seen.append(f"{name.name} {name.read_text()}")
        raise OSError(28, "No space left on device", str(fresh), None, str(name))

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(StoreFailed, match=r"model\.gguf cannot be made: No space"):
        link_model(link, fetched(tmp_path / "store", "b.gguf"))
    assert seen == ["model.gguf a.gguf"], "it is there up to the moment in which it becomes another one"
    assert links(link.parent) == {"model.gguf": "../store/a.gguf"}, "and nothing is left over"


def test_what_is_right_is_left_alone_and_what_is_not_is_replaced(tmp_path: Path) -> None:
    link = tmp_path / "model.gguf"
    first, second = fetched(tmp_path / "store", "a.gguf"), fetched(tmp_path / "store", "b.gguf")
    link_model(link, first)
    before = os.lstat(link)
    link_model(link, first)
    assert os.lstat(link).st_ino == before.st_ino
    link_model(link, second)
    assert link.read_text() == "b.gguf"
    link.unlink()
    link.symlink_to("nowhere")
    link_model(link, first)
    assert link.read_text() == "a.gguf"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.gguf", "store"], "nothing is left over"


def test_what_an_earlier_model_has_left_goes(tmp_path: Path) -> None:
    folder = tmp_path / "w"
    link = folder / "model.gguf"
    parts = [f"hf/o/r/m-{number:05d}-of-00002.gguf" for number in (1, 2)]
    link_model(link, fetched(tmp_path / "store", *parts, projector="hf/o/r/mmproj-F16.gguf"))
    (folder / "model-00001-of-00009.gguf").symlink_to("elsewhere.gguf")
    (folder / "model-00002-of-00009.gguf").write_text("mine")
    link_model(link, fetched(tmp_path / "store", "hf/o/s/text.gguf"))
    assert sorted(each.name for each in folder.iterdir()) == [
        "model-00001-of-00009.gguf", "model-00002-of-00009.gguf", "model.gguf",
    ]  # fmt: skip


def test_two_links_in_one_folder_have_each_their_own_projector(tmp_path: Path) -> None:
    for name in ("a", "b"):
        model = fetched(tmp_path / "store", f"hf/o/{name}/m.gguf", projector=f"hf/o/{name}/mmproj-F16.gguf")
        link_model(tmp_path / "w" / f"{name}.gguf", model)
    link_model(tmp_path / "w" / "c.gguf", fetched(tmp_path / "store", "hf/o/c/m.gguf"))
    assert links(tmp_path / "w") == {
        "a.gguf": "../store/hf/o/a/m.gguf",
        "a.mmproj.gguf": "../store/hf/o/a/mmproj-F16.gguf",
        "b.gguf": "../store/hf/o/b/m.gguf",
        "b.mmproj.gguf": "../store/hf/o/b/mmproj-F16.gguf",
        "c.gguf": "../store/hf/o/c/m.gguf",
    }


def test_a_folder_that_is_a_link_counts_as_what_it_is(tmp_path: Path) -> None:
    model = fetched(tmp_path / "store", "a.gguf")
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "near").symlink_to(tmp_path / "far" / "away")
    link_model(tmp_path / "near" / "model.gguf", model)
    assert (tmp_path / "far" / "away" / "model.gguf").read_text() == "a.gguf"


def test_a_file_is_not_replaced(tmp_path: Path) -> None:
    link = tmp_path / "model.gguf"
    link.write_text("mine")
    with pytest.raises(StoreFailed, match="is no link"):
        link_model(link, fetched(tmp_path / "store", "a.gguf"))
    assert link.read_text() == "mine"


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreFailed, match="cannot be made"):
        link_model(tmp_path / "file" / "model.gguf", fetched(tmp_path / "store", "a.gguf"))


def split(root: Path, count: int) -> Fetched:
    return fetched(root / "store", *(f"hf/o/r/m-{number:05d}-of-{count:05d}.gguf" for number in range(1, count + 1)))


def test_a_link_may_have_the_number_of_the_first_part(tmp_path: Path) -> None:
    """Which is what llama.cpp is given, and what people write for a split model."""
    link = tmp_path / "w/model-00001-of-00003.gguf"
    assert link_model(link, split(tmp_path, 3))[0] == link
    assert sorted(links(link.parent)) == [f"model-{number:05d}-of-00003.gguf" for number in (1, 2, 3)]


@pytest.mark.parametrize("name", ["model-00002-of-00003.gguf", "model-00001-of-00009.gguf"])
def test_it_may_have_no_number_of_another_part(tmp_path: Path, name: str) -> None:
    for way in (link_model, made.check_links):
        with pytest.raises(StoreFailed, match="is not that of part 1 of 3") as caught:
            way(tmp_path / "w" / name, split(tmp_path, 3))
        assert caught.value.hint == f"Leave the number out: {tmp_path}/w/model.gguf."
    assert not (tmp_path / "w").exists()


def test_two_who_make_the_same_links_do_not_hinder_each_other(tmp_path: Path) -> None:
    link, few, many = tmp_path / "w/model.gguf", fetched(tmp_path / "store", "a.gguf"), split(tmp_path, 30)
    failed: list[StoreFailed] = []

    def go() -> None:
        try:
            link_model(link, few)
        except StoreFailed as error:
            failed.append(error)

    for _ in range(30):
        link_model(link, many)
        both = [threading.Thread(target=go) for _ in range(2)]
        for each in both:
            each.start()
        for each in both:
            each.join()
    assert failed == [] and links(link.parent) == {"model.gguf": "../store/a.gguf"}


def test_what_somebody_else_has_removed_already_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tmp_path / "w/model.gguf"
    link_model(link, split(tmp_path, 3))
    unlink = Path.unlink

    def twice(path: Path, missing_ok: bool = False) -> None:
        unlink(path)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", twice)
    link_model(link, fetched(tmp_path / "store", "a.gguf"))
    assert links(link.parent) == {"model.gguf": "../store/a.gguf"}


def test_what_a_killed_command_has_left_goes_once_it_is_old(tmp_path: Path) -> None:
    link, model = tmp_path / "w/model.gguf", fetched(tmp_path / "store", "a.gguf")
    link.parent.mkdir()
    for name in (".model.gguf.0123abcd", ".model.gguf.89abcdef", ".other.gguf.0123abcd"):
        (link.parent / name).symlink_to("../store/a.gguf")
        if "89" not in name:
            os.utime(link.parent / name, (1, 1), follow_symlinks=False)
    (link.parent / ".model.gguf.abcdabcd").symlink_to("elsewhere")
    os.utime(link.parent / ".model.gguf.abcdabcd", (1, 1), follow_symlinks=False)
    (link.parent / ".model.gguf.fffff000").write_text("mine")
    os.utime(link.parent / ".model.gguf.fffff000", (1, 1))
    link_model(link, model)
    assert time.time() - (link.parent / ".model.gguf.89abcdef").lstat().st_mtime < 60
    assert {path.name for path in link.parent.iterdir()} == {
        "model.gguf", ".model.gguf.89abcdef", ".other.gguf.0123abcd", ".model.gguf.abcdabcd", ".model.gguf.fffff000",
    }  # fmt: skip


def test_whether_links_can_be_is_known_before(tmp_path: Path) -> None:
    model = Fetched(Plan(parse("hf.co/o/r"), (RemoteFile("https://x", "a.gguf"),)), (tmp_path / "store/a.gguf",))
    made.check_links(tmp_path / "a/b/model.gguf", model)
    assert list(tmp_path.iterdir()) == [], "nothing was made for that"
    (tmp_path / "file").write_text("x")
    (tmp_path / "there.gguf").symlink_to("nowhere")
    made.check_links(tmp_path / "there.gguf", model)
    for link, said in ((tmp_path / "file", "is no link"), (tmp_path, "is no link"), (tmp_path / "file/x", "no folder")):
        with pytest.raises(StoreFailed, match=said):
            made.check_links(link, model)


def test_a_second_run_needs_no_leave_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = split(tmp_path, 2)
    link = tmp_path / "links/model.gguf"
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(StoreFailed, match="may not write"):
        made.check_links(link, files)
    link_model(link, files)
    made.check_links(link, files)
