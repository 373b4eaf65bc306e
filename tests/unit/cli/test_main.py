"""The door: exit codes, one sentence, no traceback."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from corral.cli import connect, reading
from corral.cli.commands import COMMANDS
from corral.cli.main import run
from corral.config import paths
from corral.store.gguf import demo as gguf
from corral.version import __version__
from tests.unit.cli.conftest import Command

BROKEN = "server: {port: [\n"


def test_version(corral: Command) -> None:
    for arguments in (["--version"], ["-V"], ["version"]):
        assert (corral(*arguments).code, corral(*arguments).out) == (0, f"corral {__version__}\n")


def test_help_lists_every_command_in_full(corral: Command) -> None:
    text = corral("--help").out
    for name, (_, help_line) in COMMANDS.items():
        assert re.search(rf"(?m)^  {name} +{re.escape(help_line)}$", text), name


def test_the_help_lines_are_those_of_the_commands(corral: Command) -> None:
    for name, (module, help_line) in COMMANDS.items():
        found = import_module(f"corral.cli.{module}")
        own = found.build().info.help if hasattr(found, "build") else getattr(found, name).__doc__.strip()
        assert own.splitlines()[0].startswith(help_line), name
        assert corral(name, "--help").code == 0


@pytest.mark.parametrize(
    "arguments", [["frobnicate"], ["ps", "--nope"], ["load"], ["config", "nope"], ["demo", "--port", "x"],
     ["unload"], ["unload", "alder", "--all"], ["ps", "--server", "127.0.0.1:11435"], ["ps", "--server", "http://[x"],
     ["run", "m", "--set", "temprature=1", "hi"], ["run", "m", "-o", "ctx_size=1", "hi"], ["run", "m", ""],
     ["serve", "a.gguf", "-o", "ctx_size"], ["serve", "a.gguf", "-o", "ctx_sise=3"],
     ["serve", "a.gguf", "-o", "ctx_size=abc"], ["serve", "a.gguf", "--port", "99999"],
     ["serve", "--log-level", "loud"], ["serve", "--log-format", "xml"]],
)  # fmt: skip
def test_wrong_usage_is_2(corral: Command, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    Path("a.gguf").touch()
    monkeypatch.setattr("sys.stdin", io.StringIO())
    ran = corral(*arguments)
    assert ran.code == 2
    assert "Traceback" not in ran.err


def test_a_near_command_is_named(corral: Command) -> None:
    assert "Did you mean 'serve'?" in corral("serv").err


def test_nothing_runs_is_1_and_one_sentence(corral: Command) -> None:
    socket = paths.control_socket(f"{Path.home()}/.local/state/corral")
    for arguments in (["ps"], ["status"], ["load", "m"], ["unload", "--all"], ["logs", "m"]):
        ran = corral(*arguments)
        assert ran.code == 1
        assert [line for line in ran.err.splitlines() if not line.endswith(" ...")] == [
            f"corral: No Corral runs here (nobody answers at {socket}). Start one: corral serve."
        ]


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["version"], ["config", "path"], ["config", "schema"], ["config", "init", "new.yaml"]],
)
def test_what_needs_no_config_works_with_a_broken_one(corral: Command, arguments: list[str]) -> None:
    Path("corral.yaml").write_text(BROKEN)
    assert corral(*arguments).code == 0


@pytest.mark.parametrize("arguments", [["ps"], ["status"], ["load", "m"], ["unload", "m"], ["logs", "m"]])
def test_what_asks_a_running_corral_does_not_care_for_a_broken_config(corral: Command, arguments: list[str]) -> None:
    Path("corral.yaml").write_text(BROKEN)
    assert "No Corral runs here" in corral(*arguments).err


@pytest.mark.parametrize("arguments", [["serve"], ["config", "validate"], ["config", "show"], ["run", "m", "hi"]])
def test_a_broken_config_is_told_where_it_is_needed(corral: Command, arguments: list[str]) -> None:
    Path("corral.yaml").write_text(BROKEN)
    ran = corral(*arguments)
    assert ran.code == 1
    assert ran.err.startswith(f"corral: {Path.cwd()}/corral.yaml:2:1: this is not valid YAML")
    assert "Traceback" not in ran.err


def test_an_unexpected_error_is_a_sentence_and_with_debug_a_traceback(
    corral: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*args: object, **kwargs: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(reading, "read", explode)
    ran = corral("config", "show")
    assert (ran.code, ran.err) == (
        1,
        "corral: Internal error: RuntimeError: boom. Run it again with --debug for the whole story.\n",
    )
    with pytest.raises(RuntimeError, match="boom"):
        corral("config", "show", "--debug")


def test_ctrl_c_is_130(corral: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(reading, "read", interrupt)
    assert corral("config", "show").code in (1, 130)


def test_serve_without_anything_says_what_there_is(corral: Command) -> None:
    ran = corral("serve")
    assert ran.code == 2
    assert "corral demo" in ran.err and "config init" in ran.err


def test_serve_refuses_files_that_are_not_there(corral: Command) -> None:
    ran = corral("serve", "none.gguf")
    assert (ran.code, ran.err) == (
        1,
        f"corral: There is no file {Path.cwd()}/none.gguf. The folder {Path.cwd()} has no GGUF file.\n",
    )


def test_a_wrong_engine_option_is_told(corral: Command) -> None:
    Path("a.gguf").touch()
    assert "is not NAME=VALUE" in corral("serve", "a.gguf", "-o", "x").err
    assert (
        "llamacpp has no option 'ctx_sise'. Did you mean 'ctx_size'?"
        in corral("serve", "a.gguf", "-o", "ctx_sise=1").err
    )


def test_unload_says_what_is_too_much(corral: Command) -> None:
    assert corral("unload", "alder", "--all").err == "corral: --all means every Model: name none beside it.\n"


def test_what_was_typed_is_shown_again(corral: Command) -> None:
    Path("a.gguf").touch()
    assert "not 'abc'" in corral("serve", "a.gguf", "-o", "ctx_size=abc").err
    assert "`--open`" in corral("serve", "--host", "0.0.0.0", "a.gguf").err


def test_files_that_cannot_be_served_are_refused_at_once(corral: Command) -> None:
    Path("notes.txt").write_text("Buy milk and bread and butter.")
    whole = Path("whole.gguf")
    gguf.say(str(whole), "Ada", "Hello.")
    Path("cut.gguf").write_bytes(whole.read_bytes()[:-100])
    for command, *rest in (["serve"], ["run", "hi"]):
        ran = corral(command, "notes.txt", *rest)
        assert ran.code == 1 and "notes.txt is not a GGUF file" in ran.err, ran.err
        ran = corral(command, "cut.gguf", *rest)
        assert ran.code == 1 and "cut.gguf is not complete" in ran.err, ran.err
    ran = corral("serve", "notes.txt", "cut.gguf", "whole.gguf")
    assert len(ran.err.splitlines()) == 2


def test_a_file_of_a_config_is_not_refused(corral: Command) -> None:
    Path("notes.txt").write_text("Buy milk and bread and butter.")
    Path("corral.yaml").write_text("models: {a: {source: notes.txt}}")
    assert list(reading.read().settings.fleet.models) == ["a"]


@pytest.mark.parametrize("arguments", [["ps"], ["status"], ["unload", "--all"], ["logs", "m"], ["load", "m"]])
def test_a_config_that_is_named_and_missing_is_told(
    corral: Command, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    told = "corral: /none.yaml: there is no such file. It is named by --config or $CORRAL_CONFIG.\n"
    ran = corral(*arguments, "-c", "/none.yaml")
    assert (ran.code, ran.err) == (1, told)
    monkeypatch.setenv("CORRAL_CONFIG", "/none.yaml")
    assert corral(*arguments).err == told


def test_an_address_as_client_libraries_have_it_is_taken() -> None:
    assert connect.Corral(url="http://h:1/v1/").url == "http://h:1"
    assert connect.Corral(url="http://h:1/x").url == "http://h:1/x"


def test_a_full_disk_behind_the_output_is_a_sentence() -> None:
    for arguments in (["--version"], ["config", "schema"], ["--help"]):
        with open("/dev/full", "w") as full:
            ran = subprocess.run(
                [sys.executable, "-m", "corral", *arguments],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        told = "corral: The output cannot be written: No space left on device.\n"
        assert (ran.returncode, ran.stderr) == (1, told), arguments


def test_a_log_that_cannot_be_written_is_a_sentence(corral: Command) -> None:
    Path("corral.yaml").write_text("log: {file: /dev/null/x.log}")
    ran = corral("serve")
    assert ran.code == 1
    assert ran.err.startswith("corral: The log cannot be written to /dev/null/x.log: ")


@pytest.mark.parametrize(
    ("word", "told"), [("list", "ps --all"), ("stop", "unload"), ("pull", "models pull REF"), ("help", "--help")]
)
def test_words_of_other_programs_lead_on(word: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([word]) == 2
    assert told in capsys.readouterr().err


ALONE = """
import importlib, pkgutil, sys
import corral.cli
for found in list(pkgutil.walk_packages(corral.cli.__path__, "corral.cli.")):
    for name in [name for name in sys.modules if name.startswith("corral.cli.")]:
        del sys.modules[name]
    importlib.import_module(found.name)
    print(found.name)
"""


def test_every_file_can_be_imported_first() -> None:
    """Commands are imported one at a time: a circle of imports breaks some of them and not others."""
    ran = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "corral.cli.bench_models" in ran.stdout.split() and "corral.cli.models.fit" in ran.stdout.split()
