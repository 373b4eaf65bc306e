"""files: what is not a model is found before an engine is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from corral.domain.errors import BadGguf, FileMissing, StoreFailed
from corral.engines.llamacpp.files import check_exists, check_folder, check_model, parts_of

WHOLE = b"GGUF" + bytes(60)


def test_a_model_is_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(WHOLE)
    assert check_model(str(path)) == str(path)


def test_part_1_is_used_whichever_part_is_named(tmp_path: Path) -> None:
    parts = [tmp_path / f"a-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    for part in parts:
        part.write_bytes(WHOLE)
    for part in parts:
        assert check_model(str(part)) == str(parts[0])
    assert parts_of(str(parts[2])) == tuple(map(str, parts))


def test_missing_parts_are_named(tmp_path: Path) -> None:
    (tmp_path / "a-00002-of-00003.gguf").write_bytes(WHOLE)
    with pytest.raises(FileMissing) as caught:
        check_model(str(tmp_path / "a-00002-of-00003.gguf"))
    assert "2 of 3 parts" in caught.value.message
    assert "a-00001-of-00003.gguf, a-00003-of-00003.gguf" in caught.value.message
    assert str(tmp_path) in caught.value.hint


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "0 bytes"),
        (b"GGUF\x03", "5 bytes"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"<!DOCTYPE html><html><head></head></html>", "web page"),
        (b"tjgg" + bytes(60), "GGJT"),
        (b"PK\x03\x04" + bytes(60), "zip"),
        (b"XXXX" + bytes(60), "b'XXXX'"),
    ],
)
def test_other_files_are_told_apart(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(content)
    with pytest.raises(BadGguf) as caught:
        check_model(str(path))
    assert words in caught.value.sentence() and str(path) in caught.value.message


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileMissing, match="does not exist"):
        check_model(str(tmp_path / "a.gguf"))
    with pytest.raises(BadGguf, match="is a folder"):
        check_model(str(tmp_path))
    with pytest.raises(FileMissing, match="has no file"):
        check_model("")
    with pytest.raises(StoreFailed, match=r"options\.mmproj: .*no such file"):
        check_exists(str(tmp_path / "p.gguf"), "options.mmproj:")
    with pytest.raises(FileMissing, match="not a folder"):
        check_folder(str(tmp_path / "slots"), "options.slot_save_path:")
