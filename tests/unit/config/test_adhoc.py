"""Models from nothing but files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from corral.config.adhoc import document_for, model_name
from corral.config.load import load_document
from corral.config.problems import ConfigErrors
from corral.config.yaml_text import parse
from corral.domain.storage import StoredModel
from corral.engines.llamacpp import LlamaCppEngine


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def models(folder: Path, *files: str) -> dict[str, Any]:
    data: dict[str, Any] = document_for(files, cwd=str(folder)).data["models"]
    return {name: Path(model["source"]).relative_to(folder).as_posix() for name, model in data.items()}


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("Qwen3-8B-Q4_K_M.gguf", "Qwen3-8B-Q4_K_M"),
        ("/a/b/big-00001-of-00003.gguf", "big"),
        ("my model (1).GGUF", "my-model-1"),
        ("--x.gguf", "x"),
        ("モデル.gguf", "model"),
        ("noext", "noext"),
    ],
)
def test_the_name_is_the_stem(file: str, name: str) -> None:
    assert model_name(file) == name


def test_names_are_unique(tmp_path: Path) -> None:
    touch(tmp_path, "a/m.gguf", "b/m.gguf", "c/m.gguf")
    assert models(tmp_path, "a/m.gguf", "b/m.gguf", "c/m.gguf", "a/m.gguf") == {
        "m": "a/m.gguf", "m-2": "b/m.gguf", "m-3": "c/m.gguf",
    }  # fmt: skip


def test_a_folder_gives_its_models_and_a_split_one_is_one(tmp_path: Path) -> None:
    touch(tmp_path, "d/a.gguf", "d/s-00001-of-00002.gguf", "d/s-00002-of-00002.gguf", "d/mmproj-x.gguf", "d/note.txt")
    assert models(tmp_path, "d") == {"a": "d/a.gguf", "s": "d/s-00001-of-00002.gguf"}


def test_files_that_cannot_be_served_are_told_together(tmp_path: Path) -> None:
    touch(tmp_path, "s-00002-of-00002.gguf", "c.yaml", "empty/x.txt")
    with pytest.raises(ConfigErrors) as caught:
        models(tmp_path, "none.gguf", "s-00002-of-00002.gguf", "c.yaml", "empty")
    told = [problem.message for problem in caught.value.problems]
    for part in ("no such file", "give part 1", "--config", "no .gguf file in this folder"):
        assert any(part in message for message in told), told


def test_files_join_the_models_of_a_config(tmp_path: Path) -> None:
    touch(tmp_path, "a.gguf")
    found = document_for(["a.gguf"], cwd=str(tmp_path), onto=parse("models: {a: {source: /x}}"))
    assert list(found.data["models"]) == ["a", "a-2"]


def test_models_of_the_store_have_their_names_their_projector_and_what_is_free_of_the_rest(tmp_path: Path) -> None:
    touch(tmp_path, "ada.gguf")
    stored = [
        StoredModel("ada", "/s/ada.gguf", ("import/ada", "ada-2"), "/s/mmproj.gguf"),
        StoredModel("ben", "/s/ben.gguf", ("import/ada", "hf.co/org/ben"), adapters=("/s/lora.gguf",)),
    ]
    assert document_for(["ada.gguf"], cwd=str(tmp_path), stored=stored).data["models"] == {
        "ada": {"source": str(tmp_path / "ada.gguf")},
        "ada-2": {"source": {"path": "/s/ada.gguf", "mmproj": "/s/mmproj.gguf"}, "aliases": ["import/ada"]},
        "ben": {"source": "/s/ben.gguf", "options": {"lora": ["/s/lora.gguf"]}, "aliases": ["hf.co/org/ben"]},
    }


def test_what_looks_like_a_template_in_a_path_is_none(tmp_path: Path) -> None:
    touch(tmp_path, "a{{b}}.gguf", "${env.HOME}.gguf")
    document = document_for(["a{{b}}.gguf", "${env.HOME}.gguf"], cwd=str(tmp_path))
    given = StoredModel("s", "/{model}/s.gguf", (), "/{{m}}.gguf", adapters=("/{model}.gguf", "/{{m}}.gguf"))
    stored = document_for([], cwd="/", stored=[given], onto=document)
    loaded = load_document(stored, engines={"llamacpp": LlamaCppEngine()}, env={}, cwd=str(tmp_path)).settings
    paths = [model.source.path for model in loaded.fleet.models.values()]
    assert paths == [str(tmp_path / "a{{b}}.gguf"), str(tmp_path / "${env.HOME}.gguf"), "/{model}/s.gguf"]
    assert loaded.fleet.models["s"].options["mmproj"] == "/{{m}}.gguf"
    assert loaded.fleet.models["s"].options["lora"] == ("/{model}.gguf", "/{{m}}.gguf")
