"""What model files say is read once, kept over restarts, and never believed when it may be wrong."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec
import pytest

from corral.domain.errors import FileMissing
from corral.domain.fleet import ModelSpec, Source
from corral.store import known, sealed
from corral.store.files import ModelFiles, resolve
from corral.store.gguf.memory import FileFootprints
from corral.store.known import KnownFiles
from tests.models import ADA, BEN, SPLIT, THINKER, model


class Reads(list[str]):
    """Reads files, and knows which."""

    def __call__(self, path: str) -> ModelFiles:
        self.append(path)
        return resolve(path)


def kept(path: Path, *models: Path) -> KnownFiles:
    files = KnownFiles(path)
    for each in models:
        files.of(str(each))
    files.save()
    return files


@pytest.mark.parametrize("spec", [ADA, THINKER, SPLIT])
def test_it_is_the_same_after_a_restart_and_no_file_was_read(tmp_path: Path, spec: object) -> None:
    file = model(spec)  # type: ignore[arg-type]
    before = kept(tmp_path / "cache" / "headers", file)
    reads = Reads()
    after = KnownFiles(tmp_path / "cache" / "headers", read=reads)
    assert after.of(str(file)).says == before.of(str(file)).says
    wanted = ModelSpec("m", Source(str(file)), options={"ctx_size": 4096})
    assert FileFootprints(after).estimate(wanted) == FileFootprints(before).estimate(wanted)
    assert reads == []


def test_a_changed_part_is_read_again(tmp_path: Path) -> None:
    for part in model(SPLIT).parent.glob(f"{model(SPLIT).name[:-20]}*"):
        shutil.copy(part, tmp_path / part.name)
    file = tmp_path / model(SPLIT).name
    kept(tmp_path / "headers", file)
    os.utime(tmp_path / file.name.replace("00001-of", "00002-of"), ns=(1, 1))
    reads = Reads()
    again = KnownFiles(tmp_path / "headers", read=reads)
    again.of(str(file))
    assert reads == [str(file)]
    file.unlink()
    with pytest.raises(FileMissing):
        again.of(str(file))


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "nonsense", "folder", "version"])
def test_a_damaged_cache_is_ignored_and_written_anew(
    tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "headers"
    kept(path, model(ADA))
    data = path.read_bytes()
    if damage == "folder":
        path.unlink()
        path.mkdir()
    elif damage == "version":
        monkeypatch.setattr(sealed, "__version__", "999")
    else:
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        path.write_bytes({"cut": data[:-1], "flipped": flipped, "empty": b"", "nonsense": b"x" * 99}[damage])
    reads = Reads()
    files = KnownFiles(path, read=reads)
    assert files.of(str(model(ADA))).says.base.name == "Ada"
    assert reads == [str(model(ADA))]
    files.save()
    if damage != "folder":  # that is not ours to remove
        again = KnownFiles(path, read=reads)
        assert again.of(str(model(ADA))).says.base.name == "Ada"
        assert len(reads) == 1


def test_two_corrals_keep_each_others_readings(tmp_path: Path) -> None:
    path = tmp_path / "headers"
    one, two = KnownFiles(path), KnownFiles(path)
    one.of(str(model(ADA)))
    two.of(str(model(BEN)))
    one.save()
    two.save()
    reads = Reads()
    both = KnownFiles(path, read=reads)
    both.of(str(model(ADA)))
    both.of(str(model(BEN)))
    assert reads == []


def test_it_is_bounded_and_a_long_start_saves_on_its_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "SAVED_AFTER", 2)
    paths = [tmp_path / f"m{number}.gguf" for number in range(4)]
    for each in paths:
        shutil.copy(model(ADA), each)
    files = KnownFiles(tmp_path / "headers", most=3)
    for each in paths:
        files.of(str(each))
    reads = Reads()
    again = KnownFiles(tmp_path / "headers", read=reads)
    for each in paths:
        again.of(str(each))
    assert reads == [str(paths[0])]
    assert not list(tmp_path.glob(".*.tmp"))


def test_where_nothing_can_be_written_it_only_costs_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    files = kept(tmp_path / "file" / "headers", model(ADA))
    assert files.of(str(model(ADA))).says.base.name == "Ada"


def test_an_entry_of_another_shape_costs_that_file_a_reading_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "headers"
    kept(path, model(ADA), model(BEN))
    odd = {**known._load(path), str(model(ADA)): msgspec.Raw(msgspec.msgpack.encode(["of", "another", "shape"]))}
    known._write(path, odd)
    reads = Reads()
    files = KnownFiles(path, read=reads)
    files.of(str(model(ADA)))
    files.of(str(model(BEN)))
    assert reads == [str(model(ADA))]


def test_what_was_never_wanted_is_kept_without_being_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "headers"
    kept(path, model(ADA), model(BEN))
    decoded: list[msgspec.Raw] = []
    own = known._decoded

    def noted(each: msgspec.Raw) -> known.Known | None:
        decoded.append(each)
        return own(each)

    monkeypatch.setattr(known, "_decoded", noted)
    kept(path, model(BEN), model(THINKER))
    assert len(decoded) == 1
    reads = Reads()
    files = KnownFiles(path, read=reads)
    for each in (ADA, BEN, THINKER):
        files.of(str(model(each)))
    assert reads == []


def test_a_cache_never_grows_beyond_what_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / f"m{number}.gguf" for number in range(3)]
    for each in paths:
        shutil.copy(model(ADA), each)
    kept(tmp_path / "headers", *paths)
    monkeypatch.setattr(known, "_LARGEST_FILE", (tmp_path / "headers").stat().st_size - 1)
    kept(tmp_path / "fewer", *paths)
    reads = Reads()
    again = KnownFiles(tmp_path / "fewer", read=reads)
    for each in reversed(paths):
        again.of(str(each))
    assert reads == [str(paths[0])]  # the oldest was left out, and the others are known
