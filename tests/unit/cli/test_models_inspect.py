"""`corral models inspect`: text for people, JSON for programs."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import gguf

from tests.models import OBEY, SPLIT, model
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
    assert "There is no 'storde' in the store. Did you mean stored?" in ran.err


def test_a_size_that_is_none_is_wrong_usage(corral: Command) -> None:
    ran = corral("models", "split", str(model(OBEY)), "--max-size", "big", "--out", ".")
    assert ran.code == 2
    assert "--max-size: 'big' is not a size" in ran.err


def test_without_the_tool_it_says_where_it_comes_from(corral: Command) -> None:
    ran = corral("models", "split", str(model(OBEY)), "--max-size", "1M", "--out", ".", "--tool", "/no/such")
    assert ran.code == 1
    assert "There is no program /no/such. Name llama.cpp's llama-gguf-split with --tool." in ran.err
