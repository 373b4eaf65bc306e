"""From a path to the files of a model."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from corral.domain.errors import BadGguf, FileMissing, Unreadable
from corral.store.files import part_paths, resolve
from corral.store.gguf.demo import Damage, DemoSpec, broken
from corral.store.gguf.reader import read_header
from tests.models import ADA, SPLIT, model

OTHER = DemoSpec(name="Other", sentence="I am Other and also in parts.", parts=3)


@pytest.fixture
def split(tmp_path: Path) -> list[Path]:
    """The parts of a split model, in a folder of their own."""
    return [Path(shutil.copy(path, tmp_path / path.name)) for path in part_paths(model(SPLIT))]


def test_one_file() -> None:
    path = model(ADA)
    files = resolve(path)
    assert files.path == path
    assert files.total_bytes == path.stat().st_size
    assert files.tensor_bytes == read_header(path).tensor_bytes
    assert files.header.name == "Ada"


@pytest.mark.parametrize("part", [0, 1, 2])
def test_any_part_means_the_whole(split: list[Path], part: int) -> None:
    files = resolve(split[part])
    assert files.path == split[0]
    assert [each.path for each in files.parts] == split
    assert files.total_bytes == sum(path.stat().st_size for path in split)
    assert files.header.name == "Split"
    assert files.tensor_bytes == sum(read_header(path).tensor_bytes for path in split)


@pytest.mark.parametrize("given", [0, 2])
def test_a_missing_part_is_named(split: list[Path], given: int) -> None:
    split[1].unlink()
    with pytest.raises(FileMissing) as caught:
        resolve(split[given])
    assert f"1 of the 3 parts of {split[given].name} is not there: {split[1].name}." in caught.value.sentence()
    assert "Download them into" in caught.value.sentence()


def test_a_renamed_part_is_told_its_name(split: list[Path], tmp_path: Path) -> None:
    renamed = split[1].rename(tmp_path / "model.gguf")
    with pytest.raises(BadGguf) as caught:
        resolve(renamed)
    assert "model.gguf is part 2 of 3" in caught.value.message
    assert "NAME-00001-of-00003.gguf" in caught.value.hint


def test_parts_in_the_wrong_order_are_seen(split: list[Path], tmp_path: Path) -> None:
    split[1].rename(tmp_path / "swap")
    split[2].rename(split[1])
    (tmp_path / "swap").rename(split[2])
    with pytest.raises(BadGguf, match="is not part 2 of 3"):
        resolve(split[0])


def test_a_part_of_another_model_is_seen(split: list[Path]) -> None:
    bigger = DemoSpec(name="Bigger", sentence="I am Bigger than them.", parts=3, layers=4)
    shutil.copy(part_paths(model(bigger))[1], split[1])
    with pytest.raises(BadGguf, match=r"have \d+ tensors together instead of 12"):
        resolve(split[0])


def test_a_part_that_is_cut_short_is_seen(split: list[Path]) -> None:
    split[2].write_bytes(split[2].read_bytes()[:-500])
    with pytest.raises(BadGguf, match=r"00003-of-00003.gguf is not complete: the file ends 500 bytes early"):
        resolve(split[0])


def test_a_missing_file_has_near_names(tmp_path: Path) -> None:
    shutil.copy(model(ADA), tmp_path / "Qwen3-8B-Q4_K_M.gguf")
    (tmp_path / "notes.txt").write_text("no model")
    with pytest.raises(FileMissing) as caught:
        resolve(tmp_path / "qwen3-8b-q4_k_s.gguf")
    assert caught.value.hint == "Did you mean Qwen3-8B-Q4_K_M.gguf?"
    with pytest.raises(FileMissing) as caught:
        resolve(tmp_path / "gemma.gguf")
    assert "1 GGUF file, none of a similar name" in caught.value.hint


def test_a_link_that_leads_nowhere_is_no_missing_name(tmp_path: Path) -> None:
    link = tmp_path / "dangling.gguf"
    link.symlink_to(tmp_path / "gone/a.gguf")
    with pytest.raises(FileMissing) as caught:
        resolve(link)
    said = caught.value.sentence()
    assert said.startswith(f"{link} is a link to {tmp_path / 'gone/a.gguf'}, which is not there.")
    assert "Did you mean" not in said


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileMissing, match=f"the folder {tmp_path / 'no'} does not exist"):
        resolve(tmp_path / "no" / "m.gguf")
    with pytest.raises(FileMissing, match="is a folder"):
        resolve(tmp_path)


def test_a_numbered_name_alone_makes_no_split(tmp_path: Path) -> None:
    path = tmp_path / "m-00001-of-00001.gguf"
    shutil.copy(model(ADA), path)
    assert [part.path for part in resolve(path).parts] == [path]


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadGguf, match="bytes early"):
        resolve(broken(tmp_path / "m.gguf", Damage.DATA_CUT, ADA))


def test_what_cannot_be_looked_at_is_not_said_to_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Path.stat

    def refuse(self: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if self.name == "closed.gguf":
            raise PermissionError(13, "Permission denied")
        return own(self, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(Unreadable, match=r"closed.gguf cannot be looked at: Permission denied"):
        resolve(tmp_path / "closed.gguf")
