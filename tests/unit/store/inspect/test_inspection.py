"""What is said of a model, by the headers of its files."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest

from corral.domain.errors import BadGguf, FileMissing
from corral.store.files import part_paths
from corral.store.inspect.inspection import Experts, Inspection, Projector, Rope, Split, Template
from corral.store.inspect.places import FolderFiles, inspect_files
from tests.models import ADA, EMBED, OBEY, SPLIT, THINKER, model
from tests.second_files import lora, projector


def inspected(path: Path) -> Inspection:
    return inspect_files(FolderFiles(path))[0]


def written(path: Path, arch: str, add: Callable[[Any], None]) -> Path:
    writer = gguf.GGUFWriter(path, arch)
    add(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_chat_model() -> None:
    found = inspected(model(OBEY))
    assert (found.kind, found.architecture, found.name, found.task) == ("model", "llama", "Obey", "chat")
    assert found.capabilities == ("chat", "completion", "tools", "infill")
    assert (found.layers, found.context_tokens, found.gguf_version) == (1, 32768, 3)
    assert found.attention is not None
    assert (found.attention.heads, found.attention.kv_heads, found.attention.recurrent_layers) == (4, 1, 0)
    assert found.tokenizer is not None
    assert (found.tokenizer.model, found.tokenizer.pre, found.tokenizer.adds_bos) == ("gpt2", "gpt-2", False)
    assert found.tokenizer.special == {"bos": 256, "eos": 258}
    assert found.template is not None
    assert found.template.abilities == ("tools",)
    assert found.experts is None
    assert found.split is None
    assert found.active_parameters == found.parameters


def test_what_its_template_knows() -> None:
    thinker, embed = inspected(model(THINKER)), inspected(model(EMBED))
    assert thinker.template is not None
    assert "reasoning" in thinker.template.abilities
    assert embed.template is None
    assert embed.capabilities == ("embeddings",)


def test_it_counts_as_the_gguf_package_does() -> None:
    theirs = gguf.GGUFReader(model(ADA)).tensors
    found = inspected(model(ADA))
    assert found.parameters == sum(math.prod(int(n) for n in each.shape) for each in theirs)
    assert found.tensor_bytes == sum(int(each.n_bytes) for each in theirs)
    assert found.quantisation.bits_per_weight == found.tensor_bytes * 8 / found.parameters == 32
    (share,) = found.quantisation.types
    assert (share.type, share.tensors, share.bits_per_weight) == ("F32", len(theirs), 32)


def _mixed(writer: Any) -> None:
    import numpy as np

    writer.add_block_count(1)
    writer.add_expert_count(8)
    writer.add_expert_used_count(2)
    writer.add_license("apache-2.0")
    for name, shape, kind in (
        ("token_embd.weight", (16, 64), "F16"),
        ("blk.0.ffn_up_exps.weight", (8, 32, 64), "MXFP4"),
        ("blk.0.ffn_up_shexp.weight", (32, 64), "Q8_0"),
    ):
        wanted = gguf.GGMLQuantizationType[kind]
        writer.add_tensor(name, gguf.quants.quantize(np.ones(shape, np.float32), wanted), raw_dtype=wanted)


def test_a_mix_of_types_has_the_bits_that_it_takes(tmp_path: Path) -> None:
    found = inspected(written(tmp_path / "m.gguf", "gpt-oss", _mixed))
    shares = {share.type: share for share in found.quantisation.types}
    assert [*shares] == ["MXFP4", "Q8_0", "F16"]  # by weights
    assert [share.bits_per_weight for share in shares.values()] == [4.25, 8.5, 16]
    n_bytes = 8 * 32 * 64 * 17 // 32 + 32 * 64 * 34 // 32 + 16 * 64 * 2
    assert found.tensor_bytes == n_bytes
    assert found.quantisation.bits_per_weight == n_bytes * 8 / found.parameters
    assert found.experts == Experts(count=8, used=2, shared=0, feed_forward_length=None)
    assert found.parameters - found.active_parameters == 8 * 32 * 64 * 6 // 8  # of the routed ones, two of eight
    assert found.licence == "apache-2.0"


def test_a_type_of_tomorrow_has_no_size(tmp_path: Path) -> None:
    found = inspected(written(tmp_path / "m.gguf", "gpt-oss", _mixed))
    data = (tmp_path / "m.gguf").read_bytes()
    at = data.index(b"blk.0.ffn_up_exps.weight") + len("blk.0.ffn_up_exps.weight") + 4 + 3 * 8
    assert data[at : at + 4] == (39).to_bytes(4, "little")
    (tmp_path / "m.gguf").write_bytes(data[:at] + (999).to_bytes(4, "little") + data[at + 4 :])
    new = inspected(tmp_path / "m.gguf")
    assert new.parameters == found.parameters
    assert [(share.type, share.bits_per_weight) for share in new.quantisation.types] == [
        ("type 999", None), ("Q8_0", 8.5), ("F16", 16)
    ]  # fmt: skip
    assert new.quantisation.bits_per_weight is None


def test_a_stretched_context(tmp_path: Path) -> None:
    def add(writer: Any) -> None:
        writer.add_block_count(2)
        writer.add_rope_freq_base(1e6)
        writer.add_rope_dimension_count(64)
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(4.0)
        writer.add_rope_scaling_orig_ctx_len(32768)

    found = inspected(written(tmp_path / "m.gguf", "qwen3", add))
    assert found.rope == Rope(64, 1e6, "yarn", 4.0, 32768)
    assert found.template is None
    assert found.parameters == 0
    assert found.quantisation.bits_per_weight is None


def test_heads_by_layer(tmp_path: Path) -> None:
    def add(writer: Any) -> None:
        writer.add_block_count(3)
        writer.add_embedding_length(512)
        writer.add_head_count([8, 8, 8])
        writer.add_head_count_kv([2, 0, 2])

    found = inspected(written(tmp_path / "m.gguf", "granitehybrid", add))
    assert found.attention is not None
    assert (found.attention.heads, found.attention.kv_heads) == (8, (2, 0, 2))
    assert (found.attention.key_length, found.attention.recurrent_layers) == (64, 1)


def test_a_split_model_is_one_model_from_any_part() -> None:
    wholes = [inspected(part) for part in part_paths(model(SPLIT))]
    assert wholes[0] == wholes[1] == wholes[2]
    assert wholes[0].split == Split(3, complete=True)
    assert wholes[0].name == "Split"
    assert wholes[0].files == tuple(part.name for part in part_paths(model(SPLIT)))


def test_missing_parts_are_told_of(tmp_path: Path) -> None:
    for part in part_paths(model(SPLIT)):
        shutil.copy(part, tmp_path)
    first, second, third = part_paths(tmp_path / model(SPLIT).name)
    second.unlink()
    found = inspected(third)
    assert found.split == Split(3, complete=False, missing=(second.name,))
    assert found.name == "Split"
    assert found.files == (first.name, third.name)
    first.unlink()
    assert inspected(third).architecture == ""


def test_a_part_of_another_model_is_refused(tmp_path: Path) -> None:
    first, second, third = part_paths(model(SPLIT))
    shutil.copy(first, tmp_path)
    shutil.copy(third, tmp_path / second.name)
    shutil.copy(second, tmp_path / third.name)
    with pytest.raises(BadGguf, match="is not part 2 of 3"):
        inspected(tmp_path / first.name)


def test_the_projector_beside_it(tmp_path: Path) -> None:
    shutil.copy(model(ADA), tmp_path / "ada.gguf")
    (tmp_path / "mmproj-broken.gguf").write_bytes(b"nothing")
    assert inspected(tmp_path / "ada.gguf").projector is None
    shutil.copy(projector(sound=True), tmp_path / "mmproj-ada.gguf")
    found = inspected(tmp_path / "ada.gguf")
    assert found.projector == Projector("mmproj-ada.gguf", "janus_pro", ("image", "audio"))
    assert found.capabilities[-2:] == ("vision", "audio")
    shutil.copy(model(EMBED), tmp_path / "embed.gguf")
    written(tmp_path / "mmproj-a-wide.gguf", "clip", lambda writer: writer.add_uint32("clip.vision.projection_dim", 9))
    assert inspected(tmp_path / "ada.gguf").projector == found.projector  # another's is passed over


def test_files_that_are_no_model_of_their_own() -> None:
    sight, adapter = inspected(projector()), inspected(lora())
    assert (sight.kind, sight.projector, sight.task) == ("projector", Projector("", "janus_pro", ("image",)), "")
    assert (adapter.kind, adapter.layers, adapter.capabilities) == ("adapter", None, ())


def test_no_file(tmp_path: Path) -> None:
    shutil.copy(model(ADA), tmp_path / "ada.gguf")
    with pytest.raises(FileMissing, match=r"There is no file .*/adda\.gguf") as caught:
        inspected(tmp_path / "adda.gguf")
    assert caught.value.hint == "Did you mean ada.gguf?"


def test_what_a_template_is(tmp_path: Path) -> None:
    path = written(tmp_path / "m.gguf", "llama", lambda writer: writer.add_chat_template("{{ messages }}"))
    assert inspected(path).template == Template(14, ())


def test_the_projector_at_the_top_of_a_repository_is_that_of_a_model_in_a_folder(tmp_path: Path) -> None:
    """Of a store's `hf/ORG/REPO`: elsewhere what lies above a file is not looked at."""
    for place, name in (("hf/org/R", "../mmproj-F16.gguf"), ("else/org/R", None)):
        folder = tmp_path / place
        (folder / "Q4_K_M").mkdir(parents=True)
        shutil.copyfile(model(ADA), folder / "Q4_K_M/ada.gguf")
        shutil.copyfile(projector(), folder / "mmproj-F16.gguf")
        found = inspected(folder / "Q4_K_M/ada.gguf").projector
        assert (found.file if found else None) == name
