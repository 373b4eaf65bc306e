"""A folder of config files: merged, each message with its own file, conflicts with both."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from corral.config import document, files
from corral.config.explain import explain
from corral.config.load import Loaded, load_all
from corral.config.problems import ConfigErrors
from tests.unit.config.conftest import Rules

ENGINES = {"llamacpp": Rules(), "other": Rules()}


def load(folder: Path, **texts: str) -> Loaded:
    """The folder with these files; `a_yaml` is a.yaml."""
    for name, text in texts.items():
        (folder / name.replace("_", ".")).write_text(text)
    return load_all(str(folder), engines=ENGINES, env={"HOME": "/h"}, cwd="/cwd")


def problems(folder: Path, **texts: str) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        load(folder, **texts)
    return [error.sentence().replace(f"{folder}/", "") for error in caught.value.problems]


def test_files_of_both_kinds_become_one_config(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        a_yaml="version: 1\nserver: {port: 7, keys: [{name: a, key: 0123456789abcdef}]}\nmacros: {ctx: 512}\n",
        b_toml='version = 1\n[models.one]\nsource = "one.gguf"\noptions.ctx_size = "${ctx}"\n',
        c_yml="models:\n  two: {source: sub/two.gguf}\ngroups: {g: {members: [one, two]}}\n"
        "server:\n  keys:\n    - {name: c, key: fedcba9876543210}\n",
    )
    (tmp_path / ".hidden.yaml").write_text("nonsense: [")
    (tmp_path / "notes.txt").write_text("nonsense: [")
    (tmp_path / "d.yaml").mkdir()
    assert load(tmp_path).settings.fleet == loaded.settings.fleet
    fleet = loaded.settings.fleet
    assert list(fleet.models) == ["one", "two"] and fleet.groups["g"].members == ("one", "two")
    assert fleet.models["one"].options["ctx_size"] == 512
    assert fleet.models["two"].source.path == f"{tmp_path}/sub/two.gguf", "paths count from the folder"
    assert [key.name for key in loaded.settings.server.keys] == ["a", "c"], "lists of the server are joined"
    assert loaded.settings.config_file == str(tmp_path)
    assert [os.path.basename(part) for part in loaded.parts] == ["a.yaml", "b.toml", "c.yml"]


def test_explain_names_the_file(tmp_path: Path) -> None:
    loaded = load(tmp_path, a_yaml="server:\n  port: 7\n", b_yaml="server:\n\n  host: 127.0.0.2\n")
    assert explain(loaded, "server.host", tables={}).origin == f"{tmp_path}/b.yaml:3"
    assert explain(loaded, "server.port", tables={}).origin == f"{tmp_path}/a.yaml:2"


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ("models:\n  m: {source: x}\n", "models:\n\n  m: {ttl: 1m}\n",
         ["b.yaml:3: models.m is described here and in a.yaml:2. Write it in one file."]),
        ("macros: {m: 1}\n", "macros: {m: 1}\n",
         ["b.yaml:1: macros.m is described here and in a.yaml:1. Write it in one file."]),
        ("server: {port: 1}\n", "\nserver:\n  port: 2\n",
         ["b.yaml:3: server.port has another value here than in a.yaml:1. Write it in one file."]),
        ("server: {open: true}\n", "server: {open: 1}\n",
         ["b.yaml:1: server.open has another value here than in a.yaml:1. Write it in one file."]),
        ("server: {port: 1}\n", "server: [1]\n",
         ["b.yaml:1: server has another value here than in a.yaml:1. Write it in one file."]),
        ("x-l: [1]\n", "x-l: [2]\n", ["b.yaml:1: x-l has another value here than in a.yaml:1. Write it in one file."]),
        ("a: [\n", "b: {\n", ["a.yaml:2:1: this is not valid YAML: did not find expected node content, while parsing a "
         "flow node that begins in line 2", "b.yaml:2:1: this is not valid YAML"]),
        ("server: {prot: 1}\n", "log:\n  levl: 1\n", ["a.yaml:1: unknown key 'prot' in server. Did you mean 'port'?",
         "b.yaml:2: unknown key 'levl' in log. Did you mean 'level'?"]),
        ("server:\n  keys: [{name: a}]\n", "server:\n  keys:\n    - {name: a, key: 0123456789abcdef}\n",
         ["a.yaml:2: the key 'a' needs either `key` or `sha256`", "b.yaml:3: two keys are named 'a'"]),
    ],
)  # fmt: skip
def test_each_problem_has_its_file_and_a_conflict_both(
    tmp_path: Path, first: str, second: str, told: list[str]
) -> None:
    found = problems(tmp_path, a_yaml=first, b_yaml=second)
    assert len(found) >= len(told)
    for sentence in told:
        assert any(each.startswith(sentence[:50]) for each in found), found


def test_null_yields_and_equal_values_agree(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        a_yaml="models:\nserver: {port: 1}\nlog:\n",
        b_yaml="server: {port: 1}\nmodels:\n\n  m: {source: x}\n",
        c_yaml="server:\n",
    )
    assert list(loaded.settings.fleet.models) == ["m"] and loaded.settings.server.port == 1
    assert loaded.lines["models", "m"] == 4 and loaded.owners["models", "m"].endswith("b.yaml")


def test_an_alias_that_two_keys_share_is_not_changed_by_another_file(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        a_yaml="x-o: &o {llamacpp: {ctx_size: 1}}\ndefaults: {options: *o}\n",
        b_yaml="defaults: {options: {llamacpp: {mlock: true}}}\nmodels: {a: {source: x}}\n",
    )
    assert loaded.settings.fleet.models["a"].options == {"ctx_size": 1, "mlock": True}


def test_a_folder_without_files_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    assert problems(tmp_path) == [
        f"{tmp_path}: this is a folder without a config file. Its files must end in .yaml, .yml, .toml."
    ]


def test_a_file_that_vanishes_while_the_folder_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.yaml").write_text("server: {port: 1}\n")
    monkeypatch.setattr(os, "listdir", lambda folder: ["a.yaml", "gone.yaml"])
    assert problems(tmp_path)[0].startswith("gone.yaml: there is no such file.")


def test_all_files_together_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "MAX_BYTES", 20)
    text = "x-a: 123456\n"
    assert problems(tmp_path, a_yaml=text, b_yaml=text) == [
        "b.yaml: the files of this folder are together larger than 0 MiB"
    ]
    assert files.read_file(str(tmp_path / "a.yaml")).data
