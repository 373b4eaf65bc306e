"""`corral config get|set|edit`: one value, or the whole file in an editor; a bad config never replaces a good one."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corral.cli import options, output, reading
from corral.cli.usage import UsageError
from corral.domain.errors import ConfigError, CorralError, PlaceFailed

if TYPE_CHECKING:
    from corral.config.document import Document
    from corral.config.editing import Change, EditPlan
    from corral.config.explain import Explained

KEY = typer.Argument(metavar="KEY", help='A dotted key: server.port, models.coder.ttl, models."qwen2.5".aliases[0].')
FILE = typer.Option(
    "--file", metavar="FILE", show_default=False, help="Which file of a config folder. Default: the one with the key."
)
RELOAD = typer.Option("--reload", help="Make the running Corral of this config take it at once.")


def get(
    key: Annotated[str, KEY],
    config: options.Config = "",
    as_json: options.Json = False,
) -> None:
    """
    Print one value as it counts: of the file, the environment or the defaults.

    Sections and lists are printed as YAML. What is not set prints nothing and ends with code 1.
    """
    from corral.config import explain as explaining

    loaded = reading.read(config)
    found = explaining.explain(loaded, key, tables={name: engine.options for name, engine in reading.engines().items()})
    if as_json:
        output.print_json(found.value)
    elif isinstance(found.value, Mapping | list | tuple):
        import yaml

        value = dict(found.value) if isinstance(found.value, Mapping) else list(found.value)
        print(yaml.dump(value, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=100), end="")
    elif _is_set(found):
        print(str(found.value).lower() if isinstance(found.value, bool) else found.value)
    if not _is_set(found):
        raise typer.Exit(1)


def _is_set(found: Explained) -> bool:
    """An empty text that nobody wrote is nothing."""
    return found.value is not None and not (found.value == "" and found.origin == "default")


def set_(
    key: Annotated[str, KEY],
    value: Annotated[
        str | None, typer.Argument(metavar="VALUE", show_default=False, help="The value, as YAML has it.")
    ] = None,
    unset: Annotated[bool, typer.Option("--unset", help="Take the key out of the file.")] = False,
    append: Annotated[bool, typer.Option("--append", help="Add the value to the list that is there.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and write nothing.")] = False,
    file: Annotated[str, FILE] = "",
    reload: Annotated[bool, RELOAD] = False,
    config: options.Config = "",
) -> None:
    """
    Change one value in the config file; comments and everything else stay as they are.

    The whole config is checked first, and a bad one is not written. A list item is named by its number, and the one
    after the last appends. `null` takes a default away, --unset takes the key out of the file.
    """
    if value is not None and re.match(r"--?[A-Za-z]", value):
        raise UsageError(f"No such option: {value}.", hint="A value that begins so is written in quotes: '\"-x\"'.")
    if (value is None) != unset:
        raise UsageError("Give a VALUE, or --unset." if value is None else "--unset takes no VALUE.")
    if append and unset:
        raise UsageError("--append and --unset exclude each other.")
    from corral.config import fields, write

    path = _config_file(config)
    plan, keys = _plan(path, key, value, append=append, file=file)
    _show_change(plan, secret=fields.is_secret(keys))
    for problem in plan.remaining:
        output.note(f"corral: still wrong: {problem.sentence()}")
    if dry_run or plan.before == plan.after:
        return
    write.replace(plan.file, plan.before, plan.after)
    _tell_running(path, reload=reload)


def edit(
    file: Annotated[
        str, typer.Argument(metavar="FILE", show_default=False, help="Which file of a config folder.")
    ] = "",
    reload: Annotated[bool, RELOAD] = False,
    config: options.Config = "",
) -> None:
    """
    Open the config file in your editor ($VISUAL, else $EDITOR).

    You edit a copy. It takes the file's place only when the config is good with it.
    """
    from corral.config import editing, write

    path = _config_file(config)
    texts = editing.texts_of(path)
    chosen = file or path
    if os.path.isdir(path):
        chosen = next((each for each in texts if file and os.path.realpath(each) == os.path.realpath(file)), "")
        if not chosen:
            raise UsageError(f"Which file of {path}? It has: {', '.join(texts)}.")
    elif file and os.path.realpath(file) != os.path.realpath(path):
        path, texts = file, editing.texts_of(file)
    editor = _editor()
    copy = _copy_of(chosen, texts[chosen])
    after = _edited(editor, copy, path, chosen, texts)
    if after == texts[chosen]:
        print("Nothing was changed.")
    else:
        try:
            write.replace(chosen, texts[chosen], after)
        except CorralError:
            output.note(f"corral: your version is in {copy}.")
            raise
        print(f"Changed {chosen}.")
        _tell_running(path, reload=reload)
    shutil.rmtree(os.path.dirname(copy), ignore_errors=True)


def _config_file(config: str) -> str:
    path = reading.find_file(config)
    if not path:
        raise ConfigError("there is no config file to change.", hint="`corral config init` writes one.")
    return path


def _check(document: Document) -> None:
    from corral.config.load import load_document

    load_document(document, engines=reading.engines(), env=os.environ, cwd=os.getcwd())


def _plan(path: str, key: str, value: str | None, *, append: bool, file: str) -> tuple[EditPlan, Any]:
    """The plan with the value in the type that its place wants: as YAML means it, else as text."""
    from corral.config import editing, files, keypath
    from corral.config.problems import ConfigErrors

    read = files.read_file(path)
    data: dict[str, Any] = {"models": None, "groups": None, **read.data}
    keys = keypath.resolve(key, data, create=value is not None)

    def plan(meant: Any) -> EditPlan:
        change: Change = editing.Change(keys, meant, append)
        return editing.plan_change(path, change, check=_check, file=file)

    if value is None:
        return plan(editing.UNSET), keys
    meant = _meaning(value)
    try:
        return plan(meant), keys
    except ConfigErrors as error:
        if isinstance(meant, str):
            raise
        first = error
    try:
        return plan(value), keys  # `title: 123` wants a text
    except ConfigErrors:
        raise first from None


def _meaning(value: str) -> Any:
    """A number, true, null ... as a YAML file means it; what begins with a bracket or a quote is read as YAML."""
    from corral.config import yaml_text
    from corral.config.document import plain_value
    from corral.config.problems import ConfigErrors

    if value[:1] not in ("[", "{", '"', "'"):
        return plain_value(value) if value else value
    try:
        return yaml_text.parse(f"value: {value}").data["value"]
    except ConfigErrors as error:
        if value.startswith(("{{", "{model}")):  # a template
            return value
        raise UsageError(f"{value} is not a value: {error.problems[0].bare}.") from None


def _show_change(plan: EditPlan, *, secret: bool) -> None:
    """The lines that change, without those around them: other secrets may stand there."""
    import difflib

    if plan.before == plan.after:
        print(f"{plan.file} says that already.")
        return
    print(plan.file)
    lines = difflib.unified_diff(plan.before.splitlines(), plan.after.splitlines(), n=0, lineterm="")
    for line in list(lines)[2:]:
        if not secret or line.startswith("@@"):
            print(output.printable(line))


def _copy_of(file: str, text: str) -> str:
    """A copy under the same name, in a folder that nobody else can look into."""
    folder = tempfile.mkdtemp(prefix="corral-edit-")
    copy = os.path.join(folder, os.path.basename(file))
    with open(copy, "w", encoding="utf-8", newline="") as opened:
        opened.write(text)
    return copy


def _edited(editor: list[str], copy: str, path: str, file: str, texts: Mapping[str, str]) -> str:
    """What the editor left in the copy, once it is good. Raises ConfigErrors where nobody can be asked again."""
    from corral.config import editing, files
    from corral.config.problems import ConfigErrors

    while True:
        _run_editor(editor, copy, texts[file])
        try:
            text = files.text_of(copy)
            editing.judge(path, {**texts, file: text}, _check, was=texts)
            return text
        except ConfigErrors as error:
            for problem in error.problems:
                output.note(f"corral: {problem.sentence()}")
            if sys.stdin.isatty() and output.confirmed("Edit it again?", default=True):
                continue
            raise ConfigError(f"{file} was left as it is.", hint=f"Your version is in {copy}.") from None


def _editor() -> list[str]:
    chosen = os.environ.get("VISUAL", "").strip() or os.environ.get("EDITOR", "").strip() or "vi"
    try:
        return shlex.split(chosen)
    except ValueError as error:
        why = str(error).lower()
        raise PlaceFailed(f"$VISUAL or $EDITOR is no command: {why} in {chosen}.", hint="Correct it.") from None


def _run_editor(command: list[str], copy: str, original: str) -> None:
    """Raises PlaceFailed where the editor could not do its work; then the copy goes, unless somebody changed it."""
    hint = ""
    try:
        code = subprocess.run([*command, copy], check=False).returncode
        failed = f"failed (code {code})" if code != 0 else "" if os.path.exists(copy) else "left no file behind"
    except OSError as error:
        failed, hint = f"cannot be started: {error.strerror}", "Set $EDITOR to another."
    if not failed:
        return
    if _has_changed(copy, original):
        hint = f"Your version is in {copy}."
    else:
        shutil.rmtree(os.path.dirname(copy), ignore_errors=True)
    raise PlaceFailed(f"The editor {command[0]} {failed}; the config was left as it is.", hint=hint)


def _has_changed(copy: str, original: str) -> bool:
    try:
        with open(copy, "rb") as opened:
            return opened.read() != original.encode()
    except OSError:  # it is gone
        return False


def _tell_running(path: str, *, reload: bool) -> None:
    """Say how a Corral that runs with this config takes the change, or make it do so."""
    from corral.cli import connect

    try:
        status = connect.find(config=path).ask("GET", "/api/corral/status", timeout_s=connect.CONNECT_S)
        pid, file = int(status["pid"]), str(status["config_file"])
    except (CorralError, KeyError, TypeError, ValueError):
        pid, file = 0, ""
    if not pid or os.path.realpath(file or os.devnull) != os.path.realpath(path):
        if reload:
            raise PlaceFailed("No Corral runs with this config.", hint="The change counts when it is started.")
        return
    if not reload:
        output.note(f"corral: a Corral runs with this config: `kill -HUP {pid}` makes it take the change.")
        return
    try:
        os.kill(pid, signal.SIGHUP)
    except OSError as error:
        raise PlaceFailed(f"The running Corral ({pid}) cannot be told: {error.strerror}.") from None
    output.note(f"corral: told the running Corral ({pid}) to take the change; its log says how that went.")
