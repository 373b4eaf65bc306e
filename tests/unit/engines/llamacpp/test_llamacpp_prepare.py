"""prepare: what a start needs on the disk is there, made, and named as the engine will open it."""

from __future__ import annotations

import os
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from corral.domain.errors import BadGguf, FileMissing
from corral.domain.fleet import ModelSpec, Source
from corral.engines.llamacpp.fits import spec_type_of
from corral.engines.llamacpp.prepare import files_of, prepare
from corral.engines.llamacpp.settings import settings_of
from corral.store.gguf.header import Header, TensorInfo


def gguf(path: Path) -> str:
    path.write_bytes(b"GGUF" + bytes(60))
    return str(path)


def header(architecture: str, *tensors: str, **metadata: Any) -> Header:
    named = {"general.architecture": architecture, **{key.replace("__", "."): value for key, value in metadata.items()}}
    return Header(3, False, named, tuple(TensorInfo(name, (64,), "F32", 0, 256) for name in tensors), 0, 0, 32)


def prepared(tmp_path: Path, name: str = "m", **options: Any) -> dict[str, Any]:
    model = ModelSpec(name, Source(gguf(tmp_path / "m.gguf")), options=options)
    return dict(prepare(model, settings_of(model), None).settings.options)


def test_second_files_are_known_by_any_part(tmp_path: Path) -> None:
    parts = [gguf(tmp_path / f"d-0000{number}-of-00002.gguf") for number in (1, 2)]
    assert prepared(tmp_path, model_draft=parts[1])["model_draft"] == parts[0]
    assert prepared(tmp_path, lora_scaled=(f"{parts[1]}:0.5",))["lora_scaled"] == (f"{parts[0]}:0.5",)
    model = ModelSpec("m", Source(str(tmp_path / "m.gguf")), options={"model_draft": parts[1]})
    assert list(files_of(model, settings_of(model))) == [str(tmp_path / "m.gguf"), *parts]


def test_a_second_file_that_is_not_there_names_its_option(tmp_path: Path) -> None:
    with pytest.raises(FileMissing, match=r"options\.model_draft: .*does not exist"):
        prepared(tmp_path, model_draft="/gone.gguf")
    (tmp_path / "page.gguf").write_text("<!DOCTYPE html>" + "x" * 60)
    with pytest.raises(BadGguf, match=r"options\.lora: .*not a GGUF file") as caught:
        prepared(tmp_path, lora=(str(tmp_path / "page.gguf"),))
    assert "web page" in caught.value.hint


def test_saved_slots_have_a_folder_of_the_models_own(tmp_path: Path) -> None:
    one = prepared(tmp_path, "a/b: c", slot_save_path=str(tmp_path / "new" / "slots"))["slot_save_path"]
    two = prepared(tmp_path, "..", slot_save_path=str(tmp_path / "new" / "slots"))["slot_save_path"]
    for folder in (one, two):
        assert Path(folder).parent == tmp_path / "new" / "slots"
        assert os.stat(folder).st_mode & 0o777 == 0o700
    assert one != two
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(FileMissing, match=r"options\.slot_save_path: .*cannot be made"):
        prepared(tmp_path, slot_save_path=str(blocked / "slots"))


def test_a_lookup_cache_that_is_written_is_made(tmp_path: Path) -> None:
    cache = tmp_path / "new" / "cache"
    prepared(tmp_path, spec_type=("ngram-cache",), lookup_cache_dynamic=str(cache))
    assert cache.read_bytes() == b""
    cache.write_bytes(b"kept")
    prepared(tmp_path, spec_type=("ngram-cache",), lookup_cache_dynamic=str(cache))
    assert cache.read_bytes() == b"kept"


def test_a_draft_model_says_what_it_is_for(tmp_path: Path) -> None:
    draft = gguf(tmp_path / "d.gguf")
    assert prepared(tmp_path, model_draft=draft)["spec_type"] == ("draft-simple",)  # nobody reads headers here
    assert prepared(tmp_path, model_draft=draft, spec_type=("draft-mtp",))["spec_type"] == ("draft-mtp",)
    assert "spec_type" not in prepared(tmp_path)


@pytest.mark.parametrize(
    ("draft", "kind"),
    [
        (header("llama"), "draft-simple"),
        (header("eagle3"), "draft-eagle3"),
        (header("dflash"), "draft-dflash"),
        (header("dflash", "markov_w1.weight"), "draft-dspark"),
        (header("qwen35", "blk.4.nextn.eh_proj.weight"), "draft-mtp"),
        (header("glm4moe", glm4moe__nextn_predict_layers=1), "draft-mtp"),
    ],
)
def test_the_kind_of_a_draft(draft: Header, kind: str) -> None:
    assert spec_type_of(draft) == kind


def test_settings_are_not_changed_in_place(tmp_path: Path) -> None:
    model = ModelSpec("m", Source(gguf(tmp_path / "m.gguf")), options=MappingProxyType({}))
    settings = settings_of(model)
    before = dict(settings.options)
    prepare(model, settings, None)
    assert dict(settings.options) == before
