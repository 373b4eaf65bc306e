"""`corral models list` and `show`, and what else is done to the store."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import gguf
import pytest

from corral.cli import private
from corral.cli.models.listing import _age
from corral.domain.errors import StoreFailed
from corral.domain.units import format_bytes
from corral.store.fetch.disk import Disk
from corral.store.files import part_paths
from corral.store.shelf.items import Item
from corral.store.shelf.naming import meant
from tests.models import ADA, SPLIT, model
from tests.second_files import lora, projector
from tests.unit.cli.conftest import Command
from tests.unit.store.shelf import kit


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Where the store of the empty home is."""
    return tmp_path / "home/.local/share/corral/models"


def put(store: Path, place: str, **known: str) -> Path:
    path = store / place
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(model(ADA), path)
    if known:
        kit.describe(store, place, **known)
    return path


def test_an_empty_store_says_where_it_is(corral: Command, store: Path) -> None:
    ran = corral("models", "list")
    assert (ran.code, ran.out, ran.err) == (0, "", f"The store, {store}, is empty.\n")


@pytest.mark.parametrize(("words", "json_out"), [("verify", "[]\n"), ("list", "[]\n")])
def test_nothing_is_said_of_nothing_as_well(corral: Command, store: Path, words: str, json_out: str) -> None:
    ran = corral("models", words)
    assert (ran.code, ran.out, ran.err) == (0, "", f"The store, {store}, is empty.\n")
    ran = corral("models", words, "--json")
    assert (ran.code, ran.out) == (0, json_out)


@pytest.mark.parametrize("words", [["list"], ["list", "--json"], ["show", "a"], ["verify"], ["gc"], ["remove", "a"]])
def test_a_store_that_is_no_folder_is_not_called_empty(corral: Command, store: Path, words: list[str]) -> None:
    store.parent.mkdir(parents=True)
    store.write_text("in the way")
    ran = corral("models", *words)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(f"corral: The store, {store}, cannot be looked into: Not a directory. store.path must be")


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/nowhere"])
def test_a_pull_into_a_store_that_cannot_be_made_says_so(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreFailed, match=r"cannot be used as the store: it is no folder") as caught:
        Disk().folder(tmp_path / place, (), make=True)
    assert "store.path" in caught.value.hint


def test_the_list_has_sizes_and_who_uses_what(corral: Command, store: Path) -> None:
    ada = put(store, "hf/org/Ada-GGUF/ada.gguf", reference="hf.co/org/Ada-GGUF:Q4_K_M")
    put(store, "import/other.gguf")
    Path("corral.yaml").write_text(f"models: {{mine: {{source: {ada}}}, too: {{source: {ada}}}}}")
    ran = corral("models", "list")
    assert ran.code == 0
    head, first, second = ran.out.splitlines()
    assert head.split() == ["NAME", "SIZE", "QUANT", "PARAMS", "CONTEXT", "PARTS", "AGE", "USED", "BY"]
    assert first.split()[0] == "ada-q4_k_m" and first.endswith("mine, too")
    assert second.split()[0] == "other" and second.endswith(" -")
    assert f"in 2 models at {store}" in ran.err
    rows = json.loads(corral("models", "list", "--json").out)
    assert [row["used_by"] for row in rows] == [["mine", "too"], []]
    assert rows[0]["reference"] == "hf.co/org/Ada-GGUF:Q4_K_M"


def test_every_column_says_what_the_file_is(corral: Command, store: Path) -> None:
    parts = [kit.put(store / f"import/s-0000{n}-of-00003.gguf", part) for n, part in enumerate(kit.parts_of_split(), 1)]
    for part in parts:
        os.utime(part, (time.time() - 3 * 3600 - 60,) * 2)
    (store / "import/bad.gguf").write_bytes(b"no model" * 9)
    kit.put(store / "import/mmproj.gguf", projector())
    Path("corral.yaml").write_text(f"models: {{mine: {{source: {parts[0]}}}}}")
    ran = corral("models", "list")
    weights = sum(
        int(tensor.n_elements) for part in part_paths(model(SPLIT)) for tensor in gguf.GGUFReader(part).tensors
    )
    size = format_bytes(sum(part.stat().st_size for part in parts))
    row = next(line for line in ran.out.splitlines() if line.startswith("s "))
    assert row.split() == ["s", *size.split(), "F32", f"{weights / 1000:.1f}K", "32768", "3", "3h", "mine"]
    assert "mmproj" not in ran.out, "a projector is no model"
    assert "bad cannot be used: bad.gguf is not a GGUF file" in ran.err
    shown = dict(line.split(maxsplit=1) for line in corral("models", "show", "s").out.splitlines())
    assert (shown["size"], shown["used"]) == (size, "by      mine")
    assert (shown["architecture"], shown["quantisation"], shown["context"]) == ("llama", "F32", "32768 tokens")


def test_a_licence_is_that_of_the_file_where_nobody_else_has_said_one(corral: Command, store: Path) -> None:
    put(store, "import/silent.gguf")
    assert "\nlicence" not in corral("models", "show", "silent").out
    writer = gguf.GGUFWriter(store / "import/free.gguf", "llama")
    writer.add_license("apache-2.0")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert "licence      apache-2.0\n" in corral("models", "show", "free").out


@pytest.mark.parametrize(
    "model",
    [
        "{{source: {other}, options: {{mmproj: {file}}}}}",
        "{{source: {other}, options: {{lora: ['{file}']}}}}",
        "{{source: {other}, options: {{lora_scaled: ['{file}:0.5']}}}}",
        "{{source: {other}, options: {{model_draft: {file}}}}}",
        "{{source: {other}, binary: /usr/bin/true, args: {{of_tomorrow: {file}}}}}",
    ],
    ids=["projector", "adapter", "scaled", "draft", "argument"],
)
def test_what_a_model_is_loaded_with_is_used_too(corral: Command, store: Path, tmp_path: Path, model: str) -> None:
    file = kit.put(store / "import/beside.gguf", lora())
    Path("corral.yaml").write_text(f"models: {{mine: {model.format(other=tmp_path / 'o.gguf', file=file)}}}")
    assert json.loads(corral("models", "show", "beside", "--json").out)["used_by"] == ["mine"]
    ran = corral("models", "remove", "beside")
    assert ran.code == 1 and "used by mine of the config" in ran.err and file.exists()


def test_the_projector_that_comes_with_a_model_is_used_with_it(corral: Command, store: Path) -> None:
    """Named in no option: it lies in the folder of what the Model's reference means."""
    put(store, "hf/org/R/ada-Q4_K_M.gguf", reference="hf.co/org/R:Q4_K_M")
    eyes = kit.put(store / "hf/org/R/mmproj-F16.gguf", projector())
    kit.describe(store, "hf/org/R/mmproj-F16.gguf", reference="hf.co/org/R:Q4_K_M")
    (name,) = [each["name"] for each in json.loads(corral("models", "list", "--all", "--json").out)
               if each["kind"] == "projector"]  # fmt: skip
    assert json.loads(corral("models", "show", name, "--json").out)["used_by"] == []
    Path("corral.yaml").write_text("models: {mine: {source: 'hf.co/org/R:Q4_K_M'}}")
    assert json.loads(corral("models", "show", name, "--json").out)["used_by"] == ["mine"]
    ran = corral("models", "remove", name)
    assert ran.code == 1 and "used by mine of the config" in ran.err and eyes.exists()


def test_what_lies_elsewhere_is_verified_and_left_alone(corral: Command, store: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    kit.put(home / ".lmstudio/models/org/R/ada.gguf", model(ADA))
    before = {path for path in home.rglob("*") if ".cache" not in path.parts}
    (name,) = [each["name"] for each in json.loads(corral("models", "list", "--all", "--json").out)]
    for _ in range(2):
        ran = corral("models", "verify", name)
        assert (ran.code, ran.out.split()[0]) == (0, "new"), ran.err
    assert {path for path in home.rglob("*") if ".cache" not in path.parts} == before


def test_a_link_in_the_config_is_use_too(corral: Command, store: Path, tmp_path: Path) -> None:
    (tmp_path / "link.gguf").symlink_to(put(store, "import/a.gguf"))
    Path("corral.yaml").write_text(f"models: {{mine: {{source: {tmp_path}/link.gguf}}}}")
    assert json.loads(corral("models", "show", "a", "--json").out)["used_by"] == ["mine"]


def test_the_store_is_where_the_config_says(corral: Command, tmp_path: Path) -> None:
    put(tmp_path / "disk", "import/a.gguf")
    Path("corral.yaml").write_text(f"store: {{path: {tmp_path}/disk}}")
    assert corral("models", "list").out.splitlines()[1].startswith("a ")


@pytest.mark.parametrize("name", ["ada", "hf/org/R/ada", "hf/org/R/ada.gguf", "hf.co/org/R:Q4"])
def test_show_takes_names_places_and_references(corral: Command, store: Path, name: str) -> None:
    put(store, "hf/org/R/ada.gguf", reference="hf.co/org/R:Q4", sha="ab" * 32, url="https://hf.co/x", licence="mit")
    ran = corral("models", "show", name if name != "ada" else "r-q4")
    assert ran.code == 0, ran.err
    assert f"file         {store}/hf/org/R/ada.gguf" in ran.out and "sha256       abab" in ran.out
    assert "reference    hf.co/org/R:Q4" in ran.out and "licence      mit\n" in ran.out


@pytest.mark.parametrize("name", ["../import/a", "/etc/passwd", "import/../import/a", "a\0b", "", "ä" * 300])
def test_a_name_is_never_a_way_to_a_file(corral: Command, store: Path, name: str) -> None:
    put(store, "import/a.gguf")
    ran = corral("models", "show", name)
    assert ran.code == 1 and "in the store" in ran.err


def test_a_near_name_is_offered(corral: Command, store: Path) -> None:
    put(store, "import/qwen3.gguf")
    assert "The store has 'qwen3'." in corral("models", "show", "qwen").err


def test_a_name_cannot_steer_the_terminal(corral: Command, store: Path) -> None:
    put(store, "import/\x1b[31mred\n.gguf")
    ran = corral("models", "list")
    assert "\x1b" not in ran.out and len(ran.out.splitlines()) == 2
    assert "\x1b" not in corral("models", "show", "31mred").out


def test_all_shows_what_other_programs_have(corral: Command, store: Path, tmp_path: Path) -> None:
    put(store, "import/a.gguf")
    path = kit.hub(tmp_path / "home/.cache/huggingface/hub", "org/Ada-GGUF", "ada-Q4_K_M.gguf", model(ADA))
    plain, everything = corral("models", "list").out, corral("models", "list", "--all").out
    assert "ada-q4_k_m" not in plain
    assert everything.splitlines()[2].startswith("ada-q4_k_m") and "Hugging Face" in everything
    told = json.loads(corral("models", "show", "ada-q4_k_m", "--json").out)
    assert (told["place"], told["paths"]) == ("Hugging Face", [str(path)])
    assert told["reference"] == "hf.co/org/Ada-GGUF/ada-Q4_K_M.gguf"


def test_what_the_config_uses_is_not_removed_without_force(corral: Command, store: Path) -> None:
    path = put(store, "import/a.gguf")
    Path("corral.yaml").write_text(f"models: {{mine: {{source: {path}}}}}")
    ran = corral("models", "remove", "a")
    assert ran.code == 1 and "used by mine of the config" in ran.err
    assert corral("models", "remove", "a", "--yes").code == 1, "that answers the question, and does not force"
    assert path.exists()
    ran = corral("models", "remove", "a", "--force")
    assert (ran.code, path.exists()) == (0, False)
    assert ran.out.startswith("Removed a: 1 file, ")


def test_what_a_model_of_the_config_was_fetched_for_is_in_use(corral: Command, store: Path) -> None:
    """A reference is no path, but its files are in the store all the same."""
    kept = put(store, "hf/org/Ada-GGUF/ada-Q4_K_M.gguf", reference="hf.co/org/Ada-GGUF:Q4_K_M")
    Path("corral.yaml").write_text("models: {mine: {source: 'hf.co/org/Ada-GGUF:Q4_K_M'}}")
    assert [row["used_by"] for row in json.loads(corral("models", "list", "--json").out)] == [["mine"]]
    ran = corral("models", "remove", "ada-q4_k_m")
    assert ran.code == 1 and "used by mine of the config" in ran.err and kept.exists()


def test_the_key_of_one_model_is_never_the_name_of_another(corral: Command, store: Path) -> None:
    fetched = put(store, "hf/org/ada-GGUF/ada-Q8_0.gguf", reference="hf.co/org/ada-GGUF:Q8_0")
    os.utime(fetched, (1, 1))
    other = put(store, "ada-q8_0.gguf")
    listed = {row["name"]: row["paths"] for row in json.loads(corral("models", "list", "--json").out)}
    assert listed["ada-q8_0"] == [str(other)]
    assert corral("models", "remove", "-y", "ada-q8_0").code == 0
    assert fetched.exists() and not other.exists()


def test_a_name_goes_before_a_key() -> None:
    a = Item("import/b", ("/import/b.gguf",), 1, 1.0, name="a")
    b = Item("a", ("/a.gguf",), 1, 1.0, name="b")
    assert meant("a", [b, a]) == [a] and meant("a", [b]) == [b]


def test_what_may_mean_several_is_not_removed(corral: Command, store: Path) -> None:
    for quant in ("Q4_K_M", "Q8_0"):
        put(store, f"hf/org/ada-GGUF/ada-{quant}.gguf", reference=f"hf.co/org/ada-GGUF:{quant}")
    ran = corral("models", "remove", "-y", "hf.co/org/ada-GGUF")
    assert ran.code == 1 and "may be any of ada-q4_k_m, ada-q8_0. Say which by its name." in ran.err
    assert corral("models", "remove", "-y", "hf:org/ada-GGUF:q4_k_m").out.startswith("Removed ada-q4_k_m:")
    assert corral("models", "remove", "-y", "hf:org/ada-GGUF").out.startswith("Removed ada-q8_0:")


WORDS = ["hf.co/org/ada-GGUF:Q4_K_M", "hf:org/ada-GGUF", "hf.co/org/ada-GGUF/ada-Q4_K_M.gguf",
         "hf/org/ada-GGUF/ada-Q4_K_M.gguf", "hf/org/ada-GGUF/ada-Q4_K_M",
         "{store}/hf/org/ada-GGUF/ada-Q4_K_M.gguf"]  # fmt: skip


@pytest.mark.parametrize("reference", ["", "hf.co/org/ada-GGUF", "hf.co/org/ada-GGUF:Q4_K_M"])
def test_every_word_for_a_model_is_taken(corral: Command, store: Path, reference: str) -> None:
    put(store, "hf/org/ada-GGUF/ada-Q4_K_M.gguf", reference=reference)
    put(store, "hf/org/ada-GGUF@v2/ada-Q4_K_M.gguf")
    for word in WORDS:
        ran = corral("models", "show", word.format(store=store))
        assert f"file         {store}/hf/org/ada-GGUF/ada-Q4_K_M.gguf\n" in ran.out, (word, ran.err)


@pytest.mark.parametrize(("seconds", "age"), [(-5.0, "1s"), (0.0, "1s"), (0.996, "1s"), (61.0, "1m"), (90_000.0, "1d")])
def test_an_age_has_no_smaller_unit_than_seconds(seconds: float, age: str) -> None:
    assert _age(seconds) == age


def test_a_place_in_the_store_is_inspected(corral: Command, store: Path) -> None:
    put(store, "hf/org/ada-GGUF/ada-Q4_K_M.gguf")
    ran = corral("models", "inspect", "hf/org/ada-GGUF/ada-Q4_K_M.gguf")
    assert ran.code == 0, ran.err
    assert "hf/org/none.gguf" in corral("models", "inspect", "hf/org/none.gguf").err


def test_a_file_of_another_program_is_shown_by_its_path(corral: Command, tmp_path: Path) -> None:
    path = kit.hub(tmp_path / "home/.cache/huggingface/hub", "org/R", "a.gguf", model(ADA))
    assert f"file         {path}\n" in corral("models", "show", str(path)).out


class Running:
    """What a Corral that runs says of itself."""

    ends_with_us = False

    def __init__(self, **row: object) -> None:
        self.row = {"model": "mine", "state": "ready", **row}

    def ask(self, *_: object, **__: object) -> dict[str, object]:
        return {"models": [self.row]}


def seeing(store: Path) -> tuple[Path, Path]:
    """A model and its projector, as a pull leaves them."""
    kept = put(store, "hf/org/R/ada-Q4_K_M.gguf", reference="hf.co/org/R:Q4_K_M", url="https://hf.co/x")
    eyes = kit.put(store / "hf/org/R/mmproj-F16.gguf", projector())
    kit.describe(store, "hf/org/R/mmproj-F16.gguf", reference="hf.co/org/R:Q4_K_M", url="https://hf.co/y")
    return kept, eyes


@pytest.mark.parametrize("by", ["path", "projector", "adapters", "files"])
def test_what_is_loaded_is_not_removed(
    corral: Command, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """By any of its files, and where the store is reached through a link."""
    kept, eyes = seeing(store)
    (tmp_path / "way").symlink_to(store)
    path = str(tmp_path / "way" / (kept if by == "path" else eyes).relative_to(store))
    running = Running(**{by: [path] if by in ("adapters", "files") else path})
    monkeypatch.setattr("corral.cli.connect.find", lambda **_: running)
    ran = corral("models", "remove", "-y", "r-q4_k_m")
    assert ran.code == 1 and "is loaded as mine" in ran.err and kept.exists() and eyes.exists()
    if by != "path":
        assert "hf/org/R/mmproj-F16.gguf, which goes with r-q4_k_m, is loaded" in ran.err


def test_what_a_command_has_loaded_for_itself_is_not_removed(
    corral: Command, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *_ = [
        kit.put(store / f"import/s-0000{n}-of-00003.gguf", part) for n, part in enumerate(kit.parts_of_split(), 1)
    ]
    running = Running(files=[str(first)])
    running.ends_with_us = True
    monkeypatch.setattr("corral.cli.private.all_running", lambda: [running])
    ran = corral("models", "remove", "-y", "s")
    assert ran.code == 1 and "s is loaded as mine. Wait for the command that uses it" in ran.err, ran.err
    assert corral("models", "remove", "--force", "s").code == 0


def test_gc_lets_be_what_is_in_use(corral: Command, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders too: an engine keeps its slots in one that is empty at first."""
    slots, adapters = store / "import/slots", store / "import/more"
    for folder in (slots, adapters, store / "import/none"):
        folder.mkdir(parents=True)
    part = kit.put(store / "import/.lora.gguf.part", lora())
    other = Path("o.gguf").absolute()
    Path("corral.yaml").write_text(f"models: {{mine: {{source: {other}, options: {{slot_save_path: {slots}}}}}}}")
    monkeypatch.setattr("corral.cli.private.all_running", lambda: [Running(files=[str(part), f"{adapters}/a"])])
    ran = corral("models", "gc", "--older-than", "0s")
    assert (ran.code, ran.out) == (0, "import/none/: an empty folder\n"), ran.err
    assert part.exists() and slots.exists() and adapters.exists()


def test_only_folders_of_this_user_are_asked(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(short_tmp))
    (short_tmp / "corral-one").mkdir()
    (short_tmp / "other").mkdir()
    (short_tmp / "corral-serve.log").touch()
    assert [each.socket_path for each in private.all_running()] == [f"{short_tmp}/corral-one/control.sock"]
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert private.all_running() == []


def test_what_goes_with_a_model_is_looked_for_in_the_config_too(corral: Command, store: Path, tmp_path: Path) -> None:
    _, eyes = seeing(store)
    other = kit.put(tmp_path / "o.gguf", model(ADA))
    Path("corral.yaml").write_text(f"models: {{mine: {{source: {other}, options: {{mmproj: {eyes}}}}}}}")
    ran = corral("models", "remove", "-y", "r-q4_k_m")
    assert ran.code == 1 and "mmproj-F16.gguf, which goes with r-q4_k_m, is used by mine" in ran.err and eyes.exists()


def test_the_question_names_every_file(corral: Command, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeing(store)
    terminal = io.StringIO("n\n")
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    ran = corral("models", "remove", "r-q4_k_m")
    assert "  hf/org/R/ada-Q4_K_M.gguf\n  hf/org/R/mmproj-F16.gguf\n" in ran.err


def test_removal_is_asked_for_on_a_terminal_and_refused_elsewhere(
    corral: Command, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(store, "import/a.gguf")
    ran = corral("models", "remove", "a")
    assert ran.code == 2 and "--yes" in ran.err
    for answer, code in (("n\n", 1), ("y\n", 0)):
        terminal = io.StringIO(answer)
        monkeypatch.setattr(terminal, "isatty", lambda: True)
        monkeypatch.setattr(sys, "stdin", terminal)
        assert corral("models", "remove", "a").code == code
        assert path.exists() == bool(code)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    put(store, "import/a.gguf")
    assert corral("models", "remove", "a", "--yes").code == 0 and not path.exists()


def test_what_another_program_keeps_is_not_removed(corral: Command, tmp_path: Path) -> None:
    path = kit.hub(tmp_path / "home/.cache/huggingface/hub", "org/R", "a.gguf", model(ADA))
    ran = corral("models", "remove", "a", "--force")
    assert ran.code == 1 and path.exists()


@pytest.mark.parametrize("name", ["../../../etc/passwd", "/etc/passwd", "import/../../a", "."])
def test_no_name_leads_a_removal_out_of_the_store(corral: Command, store: Path, name: str) -> None:
    put(store, "import/a.gguf")
    ran = corral("models", "remove", name, "--force")
    assert ran.code == 1 and "in the store" in ran.err


def test_import_verify_and_gc(corral: Command, store: Path) -> None:
    Path("ada.gguf").write_bytes(model(ADA).read_bytes())
    assert corral("models", "import", "ada.gguf").out == f"{store}/import/ada.gguf linked\n"
    assert corral("models", "import", "ada.gguf").out == f"{store}/import/ada.gguf was there already\n"
    ran = corral("models", "verify")
    assert (ran.code, ran.out) == (0, f"right  {store}/import/ada.gguf\n")
    data = bytearray(Path("ada.gguf").read_bytes())
    data[-1] ^= 1
    Path("ada.gguf").write_bytes(data)  # one file by two names
    ran = corral("models", "verify", "ada", "--json")
    assert ran.code == 1 and json.loads(ran.out)[0]["verdict"] == "wrong"
    assert "1 of 1 files is not what it was" in ran.err
    part = store / "import/.b.gguf.part"
    part.write_bytes(b"x" * 2048)
    assert corral("models", "gc").err == "There is nothing to remove.\n"
    ran = corral("models", "gc", "--older-than", "0s", "--dry-run")
    assert (ran.out, ran.err) == ("import/.b.gguf.part (2 KiB): a fetch that was given up\n", "2 KiB would be freed.\n")
    assert part.exists()
    assert corral("models", "gc", "--older-than", "0s").code == 0
    assert not part.exists()
    assert corral("models", "gc", "--older-than", "soon").code == 2


def test_copy_and_move_exclude_each_other(corral: Command) -> None:
    assert corral("models", "import", "a.gguf", "--copy", "--move").code == 2
    assert corral("models", "import", "a.gguf", "b.gguf", "--name", "c").code == 2
