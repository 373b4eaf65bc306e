"""`corral config get|set|edit`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Command

TEXT = """\
# mine
server: {port: 7777}  # the port
models:
  a:  # first
    source: /m/a.gguf
"""


@pytest.fixture
def file(corral: Command) -> Path:
    path = Path("corral.yaml")
    path.write_text(TEXT)
    return path


def test_get_prints_what_counts(corral: Command, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert corral("config", "get", "server.port").out == "7777\n"
    assert corral("config", "get", "models.a.pin").out == "false\n"
    assert corral("config", "get", "defaults.ttl").out == "10m\n"
    assert corral("config", "get", "models.a").out == "source: /m/a.gguf\n"
    assert json.loads(corral("config", "get", "models.a", "--json").out) == {"source": "/m/a.gguf"}
    ran = corral("config", "get", "models.a.title")
    assert (ran.code, ran.out) == (1, "")
    monkeypatch.setenv("CORRAL_SERVER__PORT", "1")
    assert corral("config", "get", "server.port").out == "1\n"
    assert "Did you mean 'port'?" in corral("config", "get", "server.prot").err


def test_set_changes_one_value_and_shows_it(corral: Command, file: Path) -> None:
    ran = corral("config", "set", "server.port", "8080")
    assert ran.code == 0 and file.read_text() == TEXT.replace("7777", "8080")
    assert ran.out.splitlines()[2:] == ["-server: {port: 7777}  # the port", "+server: {port: 8080}  # the port"]
    assert corral("config", "set", "server.port", "8080").out.endswith("says that already.\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("models.a.options.ctx_size", "4096"), "    options:\n      ctx_size: 4096\n"),
        (("models.a.title", "123"), "    title: '123'\n"),
        (("models.a.title", "C # sharp"), "    title: 'C # sharp'\n"),
        (("models.a.title", ""), "    title: ''\n"),
        (("models.a.env.HIP_VISIBLE_DEVICES", "-1"), "    env:\n      HIP_VISIBLE_DEVICES: -1\n"),
        (("models.a.env.FLAG", "true"), "    env:\n      FLAG: 'true'\n"),
        (("models.a.ttl", "never"), "    ttl: never\n"),
        (("models.a.pin", "true"), "    pin: true\n"),
        (("models.a.aliases", "[x, y]"), "    aliases: [x, y]\n"),
        (("models.a.aliases", "x", "--append"), "    aliases: [x]\n"),
        (("models.a.aliases[0]", "x"), "    aliases: [x]\n"),
        (("models.a.metadata.n.deep", "1"), "    metadata:\n      n:\n        deep: 1\n"),
        (("models.a.metadata.x", "{{ server.port }}"), "    metadata:\n      x: '{{ server.port }}'\n"),
        (("models.qwen2.5.source", "q.gguf"), "  qwen2.5:\n    source: q.gguf\n"),
        (("models.\"my.ttl\".source", "q.gguf"), "  my.ttl:\n    source: q.gguf\n"),
        (("models.org/x:Q4.source", "q.gguf"), "  'org/x:Q4':\n    source: q.gguf\n"),
        (("models.a.options.mlock", "null"), "    options:\n      mlock: null\n"),
    ],
)  # fmt: skip
def test_values_have_the_type_that_their_place_wants(
    corral: Command, file: Path, arguments: tuple[str, ...], line: str
) -> None:
    ran = corral("config", "set", *arguments)
    assert ran.code == 0, ran.err
    assert file.read_text() == TEXT + line


def test_unset_and_dry_run(corral: Command, file: Path) -> None:
    assert corral("config", "set", "--dry-run", "server.port", "1").code == 0
    assert file.read_text() == TEXT
    assert corral("config", "set", "--unset", "server.port").code == 0
    assert file.read_text() == TEXT.replace("{port: 7777}", "{}")
    ran = corral("config", "set", "--unset", "log.level")
    assert (ran.code, ran.err) == (1, "corral: log.level is not set in this file.\n")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("server.port", "x"), 1, "server.port must be a whole number"),
        (("server.prot", "1"), 1, "Did you mean 'port'?"),
        (("models.a.options.nope", "1"), 1, "has no option 'nope'"),
        (("server.port", "--unst"), 2, "No such option: --unst"),
        (("server.port",), 2, "Give a VALUE, or --unset."),
        (("server.port", "1", "--unset"), 2, "--unset takes no VALUE."),
        (("--unset", "server.port", "--append"), 2, "exclude each other"),
        (("models.a.aliases", "[x"), 2, "[x is not a value"),
        (("log.level", "debug", "--file", "other.yaml"), 1, "this is no file of the config"),
    ],
)
def test_what_cannot_be_set_is_told(
    corral: Command, file: Path, arguments: tuple[str, ...], code: int, told: str
) -> None:
    ran = corral("config", "set", *arguments)
    assert ran.code == code and told in ran.err, ran.err
    assert file.read_text() == TEXT


def test_without_a_file_there_is_nothing_to_set(corral: Command) -> None:
    ran = corral("config", "set", "server.port", "1")
    assert (ran.code, "`corral config init` writes one" in ran.err) == (1, True)


def test_secrets_are_not_shown(corral: Command, file: Path) -> None:
    ran = corral("config", "set", "models.a.env.HF_TOKEN", "hunter2hunter2")
    assert ran.code == 0 and "hunter2" not in ran.out + ran.err and "hunter2" in file.read_text()


def test_reload_needs_a_running_corral(corral: Command, file: Path) -> None:
    ran = corral("config", "set", "server.port", "1", "--reload")
    assert ran.code == 1 and "No Corral runs with this config." in ran.err and "port: 1" in file.read_text()


def editor(folder: Path, code: str) -> str:
    """A program that changes the file it is given."""
    script = folder / "editor.py"
    script.write_text(f"import sys, pathlib\nfile = pathlib.Path(sys.argv[-1])\ntext = file.read_text()\n{code}\n")
    return f"{sys.executable} {script}"


def test_edit_replaces_the_file_only_when_it_is_good(
    corral: Command, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISUAL", editor(tmp_path, "file.write_text(text.replace('7777', '8888'))"))
    ran = corral("config", "edit")
    assert ran.code == 0 and file.read_text() == TEXT.replace("7777", "8888"), ran.err
    monkeypatch.setenv("VISUAL", editor(tmp_path, ""))
    assert corral("config", "edit").out == "Nothing was changed.\n"
    monkeypatch.setenv("VISUAL", editor(tmp_path, "file.write_text(text.replace('8888', 'x'))"))
    ran = corral("config", "edit")
    assert ran.code == 1 and "server.port must be a whole number" in ran.err
    copy = Path(ran.err.split("Your version is in ")[1].strip().rstrip("."))
    assert "port: x" in copy.read_text() and "8888" in file.read_text(), "the copy is kept, the config is as it was"
    monkeypatch.setenv("VISUAL", editor(tmp_path, "sys.exit(3)"))
    ran = corral("config", "edit")
    assert (ran.code, "failed (code 3); the config was left as it is" in ran.err) == (1, True)
    monkeypatch.setenv("VISUAL", "/nope/editor")
    assert "cannot be started" in corral("config", "edit").err


@pytest.mark.parametrize(
    ("does", "says"),
    [
        ("sys.exit(3)", "failed (code 3)"),
        ("file.unlink()", "left no file behind"),
        ('"', "no command: no closing quotation"),
        ("  ", ""),
    ],
)
def test_an_editor_that_cannot_edit_leaves_nothing_behind(
    corral: Command, file: Path, tmp_path: Path, short_tmp: Path, monkeypatch: pytest.MonkeyPatch, does: str, says: str
) -> None:
    monkeypatch.setenv("EDITOR", editor(tmp_path, "sys.exit(3)"))
    monkeypatch.setenv("VISUAL", editor(tmp_path, does) if len(does) > 2 else does)  # blank: the next is taken
    ran = corral("config", "edit")
    assert ran.code == 1 and (says or "failed (code 3)") in ran.err and file.read_text() == TEXT
    assert list(short_tmp.iterdir()) == []


def test_what_a_failing_editor_saved_is_named(
    corral: Command, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISUAL", editor(tmp_path, "file.write_text('mine')\nsys.exit(3)"))
    copy = Path(corral("config", "edit").err.split("Your version is in ")[1].strip().rstrip("."))
    assert copy.read_text() == "mine"


def test_what_changed_under_the_editor_is_not_lost(
    corral: Command, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = f"pathlib.Path({str(file.absolute())!r}).write_text('server: {{port: 5}}\\n')"
    monkeypatch.setenv("EDITOR", editor(tmp_path, f"{other}\nfile.write_text(text.replace('7777', '8888'))"))
    ran = corral("config", "edit")
    assert ran.code == 1 and "changed by another hand" in ran.err and file.read_text() == "server: {port: 5}\n"
    copy = Path(ran.err.split("your version is in ")[1].splitlines()[0].rstrip("."))
    assert "8888" in copy.read_text()


def test_of_a_folder_one_file_is_edited(corral: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path("conf.d")
    folder.mkdir()
    (folder / "a.yaml").write_text("server: {port: 1}\n")
    (folder / "b.toml").write_text('[log]\nlevel = "info"\n')
    assert corral("config", "edit", "--config", "conf.d").code == 2
    monkeypatch.setenv("VISUAL", editor(tmp_path, "file.write_text(text.replace('info', 'debug'))"))
    assert corral("config", "edit", "conf.d/b.toml", "--config", "conf.d").code == 0
    assert (folder / "b.toml").read_text() == '[log]\nlevel = "debug"\n'
    assert corral("config", "set", "log.level", "error", "--config", "conf.d").code == 0
    assert (folder / "b.toml").read_text() == '[log]\nlevel = "error"\n'


def test_profiles(corral: Command) -> None:
    for profile in ("cpu", "gpu", "strix-halo-cpu"):
        assert corral("config", "init", f"{profile}.yaml", "--profile", profile).code == 0
        assert "is valid: 0 Models" in corral("config", "validate", f"{profile}.yaml").out
    assert corral("config", "init", "x.yaml", "--profile", "mainframe").code == 2
    assert corral("config", "init", "corral.toml").code == 2
