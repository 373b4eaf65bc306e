"""`corral models inspect`: text for people, JSON for programs."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from corral.domain.units import format_bytes
from corral.store.files import part_paths
from tests.models import OBEY, SPLIT, model
from tests.second_files import projector
from tests.unit.cli.conftest import Command


def test_it_is_told_in_lines(corral: Command) -> None:
    ran = corral("models", "inspect", str(model(OBEY)))
    assert ran.code == 0
    told = dict(re.split(r"\s{2,}|(?<=template) ", line, maxsplit=1) for line in ran.out.splitlines() if "  " in line)
    assert told["name"] == "Obey"
    assert told["architecture"] == "llama"
    assert told["context"] == "32,768 tokens"
    assert told["chat template"].endswith("characters, knows tools")
    assert told["good for"] == "chat, completion, tools, infill"
    assert told["quantisation"] == "F32, 32.00 bits per weight"
    assert "split" not in told
    assert "token_embd.weight" not in ran.out


_ADD = {bool: "add_bool", int: "add_uint32", float: "add_float32", str: "add_string"}


def written(path: Path, arch: str, **values: Any) -> Path:
    """A header with these values, `__` for each dot; `A__` stands for the architecture. One tensor with weights."""
    writer = gguf.GGUFWriter(path, arch)
    for name, value in values.items():
        key = name.replace("A__", f"{arch}.").replace("__", ".")
        if isinstance(value, list):
            writer.add_array(key, value)
        else:
            getattr(writer, _ADD[type(value)])(key, value)
    for name, shape in {"token_embd.weight": (64, 256), "blk.0.ffn_up_exps.weight": (8, 256, 256)}.items():
        writer.add_tensor(name, np.zeros(shape, np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def told(corral: Command, path: Path) -> dict[str, str]:
    out = corral("models", "inspect", str(path)).out.partition("\n\n")[0]
    return {line[:14].strip(): line[15:] for line in out.splitlines()}


def test_all_that_a_model_of_experts_says(corral: Command, tmp_path: Path) -> None:
    path = written(
        tmp_path / "m.gguf", "deepseek2",
        general__license="other", general__license__name="deepseek",
        general__license__link="https://deepseek.lan/LICENSE", general__languages=["en", "zh"],
        general__tags=["moe"], general__file_type=1, A__block_count=5, A__nextn_predict_layers=1,
        A__context_length=163840, A__embedding_length=7168, A__feed_forward_length=18432, A__attention__head_count=128,
        A__attention__head_count_kv=1, A__attention__kv_lora_rank=512, A__attention__key_length=576,
        A__attention__value_length=512, A__attention__key_length_mla=192, A__attention__value_length_mla=128,
        A__expert_count=8, A__expert_used_count=2, A__expert_shared_count=1, A__expert_feed_forward_length=2048,
        A__rope__freq_base=10000.0, A__rope__dimension_count=64, A__rope__scaling__type="yarn",
        A__rope__scaling__factor=40.0, A__rope__scaling__original_context_length=4096,
        tokenizer__ggml__model="gpt2", tokenizer__ggml__pre="deepseek-v3", tokenizer__ggml__tokens=["a", "b", "c"],
        tokenizer__ggml__bos_token_id=0, tokenizer__ggml__seperator_token_id=2, tokenizer__ggml__add_bos_token=True,
        tokenizer__chat_template="{% if tools %}<think>{{ messages }}",
    )  # fmt: skip
    size = format_bytes(path.stat().st_size)
    assert told(corral, path) == {
        "architecture": "deepseek2",
        "parameters": "541K, 147K of them for a token",
        "files": f"m.gguf, {size}, GGUF version 3",
        "layers": "4, 1 more for further tokens, embedding 7,168, feed-forward 18,432",
        "attention": "128 heads, 1 for keys and values, 192 and 128 long, compressed to 512 (MLA)",
        "experts": "8, 2 for a token, 1 shared, feed-forward 2,048",
        "context": "163,840 tokens",
        "rope": "base 10,000, 64 dimensions, stretched by 40 from 4,096 tokens (yarn)",
        "tokenizer": "gpt2 (deepseek-v3), 3 tokens, bos 0, separator 2, prompts begin with bos",
        "chat template": "35 characters, knows tools and reasoning",
        "good for": "chat, completion, tools, reasoning",
        "quantisation": "F16, 16.00 bits per weight",
        "licence": "other, deepseek, https://deepseek.lan/LICENSE",
        "languages": "en, zh",
        "tags": "moe",
    }
    table = corral("models", "inspect", str(path)).out.partition("\n\n")[2].splitlines()
    assert [row.split() for row in table] == [
        ["TYPE", "TENSORS", "PARAMETERS", "SIZE", "BITS", "PER", "WEIGHT"],
        ["F16", "2", "541K", "1.0", "MiB", "16.00"],
    ]


def test_windows_states_and_heads_by_layer_in_words(corral: Command, tmp_path: Path) -> None:
    usual: dict[str, Any] = {"A__embedding_length": 256, "A__attention__head_count": 4}
    path = written(
        tmp_path / "g.gguf",
        "gemma3",
        A__block_count=12,
        A__attention__sliding_window=1024,
        general__license__name="gemma",
        **usual,
    )
    assert told(corral, path)["attention"].endswith("64 long, a window of 1,024 tokens in 10 layers")
    assert told(corral, path)["licence"] == "gemma"
    kv = [0, 0, 2, 0]
    path = written(tmp_path / "h.gguf", "granitehybrid", A__block_count=4, A__attention__head_count_kv=kv, **usual)
    shown = told(corral, path)["attention"]
    assert shown == "4 heads, 0 to 2 for keys and values, 64 long, a recurrent state in 3 layers"


def test_a_split_model_and_a_projector_in_words(corral: Command, tmp_path: Path) -> None:
    for part in part_paths(model(SPLIT)):
        shutil.copy(part, tmp_path)
    first, second, _ = part_paths(tmp_path / model(SPLIT).name)
    shutil.copy(projector(), tmp_path / "mmproj.gguf")
    shown = told(corral, first)
    assert shown["split"] == "3 parts, all there"
    assert shown["files"].startswith(f"{first.name} and 2 more, ")
    assert shown["projector"] == "mmproj.gguf: adds image (janus_pro)"
    assert shown["good for"].endswith("vision")
    second.unlink()
    assert told(corral, first)["split"] == f"3 parts, 1 of them missing: {second.name}"


def test_all_tensors(corral: Command) -> None:
    ran = corral("models", "inspect", str(model(OBEY)), "--tensors")
    names = [tensor.name for tensor in gguf.GGUFReader(model(OBEY)).tensors]
    rows = ran.out.partition("TENSOR ")[2].splitlines()[1:]
    assert [row.split()[0] for row in rows] == names


def test_json_has_all_of_it(corral: Command) -> None:
    found = json.loads(corral("models", "inspect", str(model(SPLIT)), "--json").out)
    assert (found["name"], found["layers"], found["quantisation"]["bits_per_weight"]) == ("Split", 1, 32)
    assert found["split"] == {"parts": 3, "complete": True, "missing": []}
    assert "tensors" not in found
    listed = json.loads(corral("models", "inspect", str(model(SPLIT)), "--json", "--tensors").out)["tensors"]
    assert sum(each["n_bytes"] for each in listed) == found["tensor_bytes"]
    assert listed[0]["shape"]


def test_what_a_file_says_does_not_steer_the_terminal(corral: Command, tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_name("\x1b[31mred")
    writer.add_token_list(["a"])
    writer.add_tokenizer_model("\x1b[2J")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    ran = corral("models", "inspect", str(tmp_path / "m.gguf"))
    assert ran.code == 0
    assert "\x1b" not in ran.out


def test_what_cannot_be_inspected(corral: Command, tmp_path: Path) -> None:
    (tmp_path / "page.gguf").write_text("<html>" * 10)
    ran = corral("models", "inspect", str(tmp_path / "page.gguf"))
    assert (ran.code, ran.out) == (1, "")
    assert "page.gguf is not a GGUF file" in ran.err
    assert "There is no file" in corral("models", "inspect", "nothing.gguf").err


def test_by_the_name_of_a_model_or_of_what_is_in_the_store(corral: Command, tmp_path: Path) -> None:
    place = tmp_path / "store" / "import"
    place.mkdir(parents=True)
    shutil.copy(model(OBEY), place / "stored.gguf")
    mine = f"{{source: '{model(SPLIT)}', aliases: [ours]}}"
    Path("corral.yaml").write_text(f"version: 1\nstore: {{path: {place.parent}}}\nmodels: {{mine: {mine}}}\n")
    assert json.loads(corral("models", "inspect", "ours", "--json").out)["name"] == "Split"
    assert json.loads(corral("models", "inspect", "stored", "--json").out)["name"] == "Obey"
    ran = corral("models", "inspect", "storde")
    assert ran.code == 1
    assert "No Model is named 'storde'. The store has 'stored'." in ran.err


def test_a_size_that_is_none_is_wrong_usage(corral: Command) -> None:
    ran = corral("models", "split", str(model(OBEY)), "--max-size", "big", "--out", ".")
    assert ran.code == 2
    assert "--max-size: 'big' is not a size" in ran.err


def test_without_the_tool_it_says_where_it_comes_from(corral: Command) -> None:
    ran = corral("models", "split", str(model(OBEY)), "--max-size", "1M", "--out", ".", "--tool", "/no/such")
    assert ran.code == 1
    assert "There is no program /no/such. Name llama.cpp's llama-gguf-split with --tool." in ran.err
