"""`corral config ...`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests import second_files
from tests.models import ADA
from tests.models import model as built
from tests.unit.cli.conftest import Command

GOOD = "server: {port: 7777, keys: [{name: me, key: 0123456789abcdef}]}\nmodels: {a: {source: a.gguf}}\n"


def test_init_then_validate(corral: Command) -> None:
    assert corral("config", "init").code == 0
    assert "is valid: 0 Models." in corral("config", "validate").out
    again = corral("config", "init")
    assert (again.code, again.err) == (1, "corral: corral.yaml exists already. `--force` replaces it.\n")
    assert corral("config", "init", "--force").code == 0


def test_path(corral: Command) -> None:
    ran = corral("config", "path")
    assert ran.code == 1 and "/work/corral.yaml (the working directory)" in ran.err
    assert json.loads(corral("config", "path", "--json").out)["path"] is None
    Path("corral.yaml").touch()
    assert corral("config", "path").out == f"{Path.cwd()}/corral.yaml\n"


def test_path_of_a_folder_is_all_its_files(corral: Command) -> None:
    Path("conf.d").mkdir()
    Path("conf.d/b.toml").touch()
    Path("conf.d/a.yaml").touch()
    folder = Path.cwd() / "conf.d"
    assert corral("config", "path", "--config", "conf.d").out == f"{folder}/a.yaml\n{folder}/b.toml\n"


def test_validate_tells_all_and_warns(corral: Command) -> None:
    Path("corral.yaml").write_text(GOOD)
    ran = corral("config", "validate")
    assert ran.out == f"{Path.cwd()}/corral.yaml is valid: 1 Model.\n"
    assert "a.gguf does not exist" in ran.err
    Path("bad.yaml").write_text("server: {prot: 1}\nlog: {level: x}\n")
    bad = corral("config", "validate", "bad.yaml")
    assert bad.code == 1 and len(bad.err.splitlines()) == 2
    found = json.loads(corral("config", "validate", "--json", "bad.yaml").out)
    assert [problem["line"] for problem in found["problems"]] == [1, 2]


def test_show_is_a_config_without_secrets(corral: Command) -> None:
    Path("corral.yaml").write_text(GOOD)
    ran = corral("config", "show")
    assert "0123456789abcdef" not in ran.out
    assert yaml.safe_load(ran.out)["server"]["port"] == 7777
    assert json.loads(corral("config", "show", "--json").out) == yaml.safe_load(ran.out)


def test_explain(corral: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("corral.yaml").write_text(GOOD)
    lines = corral("config", "explain", "server.port").out.splitlines()
    assert lines[:2] == ["server.port = 7777", f"from: {Path.cwd()}/corral.yaml:1"]
    monkeypatch.setenv("CORRAL_SERVER__PORT", "1")
    assert json.loads(corral("config", "explain", "server.port", "--json").out)["origin"] == "CORRAL_SERVER__PORT"
    assert "Did you mean 'port'?" in corral("config", "explain", "server.prot").err
    assert "(not set)" in corral("config", "explain", "models.a.options.ctx_size").out


def test_schema_is_json(corral: Command) -> None:
    assert json.loads(corral("config", "schema").out)["title"] == "corral.yaml"


def test_validate_warns_of_what_is_not_there(corral: Command) -> None:
    Path("notes.txt").write_text("Buy milk and bread and butter.")
    Path("folder").mkdir()
    Path("corral.yaml").write_text(
        "models:\n  a: {source: notes.txt, binary: /nope/ls}\n  b: {source: folder, binary: nosuch}\n"
        "  c: {source: none.gguf, binary: embedded}\n"
    )
    ran = corral("config", "validate")
    assert ran.code == 0
    told = [line for line in ran.err.splitlines() if "warning" in line]
    for model, part in (
        ("a", "notes.txt is not a GGUF file"), ("a", "the program /nope/ls does not exist"), ("b", "is a folder"),
        ("b", "the program nosuch does not exist"), ("c", "none.gguf does not exist"),
    ):  # fmt: skip
        assert [line for line in told if f"models.{model}: " in line and part in line], told
    assert len(told) == 5


def test_validate_warns_of_what_a_file_cannot_have(corral: Command) -> None:
    """Its heads are 16 values long, and quantised ones are blocks of 32."""
    shutil.copy(built(ADA), "ada.gguf")
    shutil.copy(second_files.projector(), "mmproj.gguf")
    Path("corral.yaml").write_text(
        "models:\n  a: {source: ada.gguf, options: {cache_type_k: q4_0}}\n  b: {source: ada.gguf}\n"
        "  c: {source: mmproj.gguf}\n"
    )
    ran = corral("config", "validate")
    assert ran.code == 0, ran.err
    found = [line for line in ran.err.splitlines() if "warning" in line]
    assert len(found) == 2
    assert "models.a: options.cache_type_k cannot be q4_0 for this model: its heads of " in found[0]
    assert "models.c: " in found[1] and "is a multimodal projector" in found[1]
