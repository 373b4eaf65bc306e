"""The projector that a model has is the same to a list, to who serves, to inspection and to an import."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np

from corral.contracts.fetching import Role
from corral.domain.storage import StoreSpec
from corral.store.inspect.places import FolderFiles, inspect_files
from corral.store.shelf.importing import planned
from corral.store.shelf.index import Index
from corral.store.shelf.serving import stored_models

WIDTH = 64


def language(path: Path, arch: str, width: int = WIDTH) -> Path:
    def add(writer: Any) -> None:
        writer.add_block_count(1)
        writer.add_embedding_length(width)

    return write(path, arch, add)


def sight(path: Path, kind: str, said: int = WIDTH, **tensors: tuple[int, ...]) -> Path:
    def add(writer: Any) -> None:
        writer.add_bool("clip.has_vision_encoder", True)
        writer.add_string("clip.projector_type", kind)
        writer.add_uint32("clip.vision.projection_dim", said)
        for name, shape in tensors.items():
            writer.add_tensor(name.replace("_", "."), np.zeros(shape[::-1], np.float16))

    return write(path, "clip", add)


def write(path: Path, arch: str, add: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, arch)
    add(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def everywhere(path: Path, root: Path) -> str | None:
    """The name of its projector; the same by every way there is."""
    found = inspect_files(FolderFiles(path))[0]
    inspected = found.projector.file if found.projector else None
    taken = [each.source.name for each in planned(path, root=root / "none") if each.role is Role.PROJECTOR]
    items = {item.path: item for item in Index(root).items()}
    served = {each.path: each.projector for each in stored_models(StoreSpec(str(root)), ())}
    listed = items[path].projector
    assert taken == ([inspected] if inspected else [])
    assert inspected == (listed.name if listed else None)
    assert served[str(path)] == (str(listed) if listed else "")
    assert ("vision" in found.capabilities) is (inspected is not None)
    return inspected


def test_a_text_model_has_no_other_model_s_projector(tmp_path: Path) -> None:
    folder = tmp_path / "import/mine"
    text = language(folder / "Qwen2.5-7B.gguf", "qwen2")
    seeing = language(folder / "Qwen2.5-VL-7B.gguf", "qwen2vl")
    sight(folder / "mmproj-Qwen2.5-VL-7B.gguf", "qwen2.5vl_merger")
    assert everywhere(text, tmp_path) is None
    assert everywhere(seeing, tmp_path) == "mmproj-Qwen2.5-VL-7B.gguf"


def test_an_old_one_is_known_by_its_last_tensor(tmp_path: Path) -> None:
    folder = tmp_path / "import/llava"
    llava = language(folder / "llava-v1.5-7b-Q4_K.gguf", "llama")
    narrow = language(folder / "tiny.gguf", "llama", width=768)
    sight(folder / "llava-v1.5-7b-mmproj.gguf", "mlp", 768, mm_0_weight=(32, WIDTH), mm_2_weight=(WIDTH, WIDTH))
    assert everywhere(llava, tmp_path) == "llava-v1.5-7b-mmproj.gguf"
    assert everywhere(narrow, tmp_path) is None


def test_one_that_says_no_length_is_that_of_its_last_tensor(tmp_path: Path) -> None:
    folder = tmp_path / "import/minicpm"
    cpm = language(folder / "MiniCPM-V-2_6.gguf", "qwen2")
    sight(folder / "mmproj-model-f16.gguf", "resampler", 0, resampler_proj_weight=(WIDTH, WIDTH))
    assert everywhere(cpm, tmp_path) == "mmproj-model-f16.gguf"


def test_a_nameless_one_between_two_models_is_nobody_s(tmp_path: Path) -> None:
    folder = tmp_path / "import"
    one, two = language(folder / "vicuna.gguf", "llama"), language(folder / "mistral.gguf", "llama")
    sight(folder / "mmproj-f16.gguf", "mlp")
    assert everywhere(one, tmp_path) is None
    assert everywhere(two, tmp_path) is None
    two.unlink()
    assert everywhere(one, tmp_path) == "mmproj-f16.gguf"


def test_in_a_repository_all_models_have_it(tmp_path: Path) -> None:
    folder = tmp_path / "hf/org/Llava-GGUF"
    models = [language(folder / f"{name}.gguf", "llama") for name in ("llava-Q4_K_M", "another-tune-Q4_K_M")]
    sight(folder / "mmproj-f16.gguf", "mlp")
    assert [everywhere(path, tmp_path) for path in models] == ["mmproj-f16.gguf"] * 2


def test_of_several_quantisations_f16_else_bf16_by_their_headers(tmp_path: Path) -> None:
    """Their names say nothing here, and none of them is the first by its name."""
    folder = tmp_path / "import/ada"
    ada = language(folder / "ada.gguf", "llama")
    for name, file_type in (("1", 0), ("2", 7), ("3", 32), ("4", 1)):

        def add(writer: Any, kind: int = file_type) -> None:
            writer.add_file_type(kind)
            writer.add_bool("clip.has_vision_encoder", True)
            writer.add_string("clip.projector_type", "mlp")
            writer.add_uint32("clip.vision.projection_dim", WIDTH)

        write(folder / f"mmproj-{name}.gguf", "clip", add)
    assert everywhere(ada, tmp_path) == "mmproj-4.gguf"
    (folder / "mmproj-4.gguf").unlink()
    assert everywhere(ada, tmp_path) == "mmproj-3.gguf"
