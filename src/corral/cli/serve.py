"""`corral serve`: the server in the foreground, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corral.cli import options, output, reading
from corral.cli.given import Fetching, Given, Shelf
from corral.cli.models import asking

if TYPE_CHECKING:
    from corral.app import AppInfo
    from corral.config.settings import Settings


class LogLevel(StrEnum):
    """The values of `log.level`."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """The values of `log.format`."""

    TEXT = "text"
    JSON = "json"


def serve(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME", show_default=False,
            help="A name or place in the store, a reference, a file or a folder of files: the first that there is.",
        ),
    ] = None,
    config: options.Config = "",
    host: Annotated[str, typer.Option(metavar="ADDRESS", show_default=False, help="Listen on this address.")] = "",
    port: Annotated[int | None, typer.Option(metavar="PORT", show_default=False, help="Listen on this port.")] = None,
    allow_all: Annotated[
        bool, typer.Option("--open", help="Listen beyond this machine without keys, on purpose.")
    ] = False,
    option: options.EngineOption = None,
    quant: asking.Quant = "",
    insecure: asking.Insecure = False,
    private: asking.Private = False,
    state_dir: Annotated[
        str, typer.Option("--state-dir", metavar="DIR", show_default=False, help="Folder for socket, handles, logs.")
    ] = "",
    log_level: Annotated[
        LogLevel | None, typer.Option("--log-level", show_default=False, help="The least that is written.")
    ] = None,
    log_format: Annotated[
        LogFormat | None, typer.Option("--log-format", show_default=False, help="For people or for programs.")
    ] = None,
    child: Annotated[bool, typer.Option("--child", hidden=True)] = False,
    stored: Annotated[list[str] | None, typer.Option("--stored", hidden=True)] = None,
) -> None:  # fmt: skip
    """
    Serve the Models of the config, or these files.

    With files no config is needed, and none is read unless --config names one. References (hf.co/ORG/REPO:QUANT,
    ollama:NAME:TAG, https://...) are fetched first, into the store that the config says, as `corral models pull` does.
    """
    files = files or []
    over = {
        "server.host": host or None,
        "server.port": port,
        "server.open": allow_all or None,
        "state_dir": state_dir or None,
        "log.level": log_level.value if log_level else None,
        "log.format": log_format.value if log_format else None,
    }
    command_line: dict[str, Any] = {key: value for key, value in over.items() if value is not None}
    if child:
        command_line.update(_private())
    if not files and not stored and not reading.find_file(config):
        from corral.config.paths import TOML_NAME

        output.note("corral: there is nothing to serve: no model file is given, and there is no config file.")
        if os.path.exists(TOML_NAME):
            output.note(f"corral: {TOML_NAME} here is read only if it is named: `corral serve --config {TOML_NAME}`.")
        output.note("corral: `corral serve FILE.gguf` serves a file, `corral config init` writes a config,")
        output.note("corral: `corral demo` shows how it works without either.")
        raise typer.Exit(2)
    found = _given(files, stored or [], Shelf(config, Fetching(quant, insecure, private), tuple(option or ())))
    if found.root:
        command_line["store.path"] = found.root  # what clients pull goes where this came from

    def read() -> Settings:
        return reading.read(
            config, files=found.files, stored=found.stored, command_line=command_line, options=option or (),
            with_store=True,
        ).settings  # fmt: skip

    gc.disable()  # what is made from here on stays: `app` turns it on again once all is there
    raise typer.Exit(run_server(read(), reload=read))


def _given(words: Sequence[str], stored: Sequence[str], shelf: Shelf) -> Given:
    """What is named, on this machine. `stored` are names in the store, or paths of what other programs keep."""
    found = shelf.given(words)
    if not stored:
        return found
    return Given(found.files, (*found.stored, *map(shelf.find, stored)), str(shelf.names.root))


def run_server(settings: Settings, *, reload: Any = None, announce: Any = None) -> int:
    """Set the log up, run the server to its end and return its exit code."""
    from corral import app
    from corral.observability import logs

    logs.configure(level=settings.log.level, format=settings.log.format, file=settings.log.file)
    for warning in settings.warnings:
        logging.getLogger("corral.config").warning(warning)
    return app.run(settings, ready=announce or _announce, reload=reload)


def _announce(info: AppInfo) -> None:
    """The lines for people. Programs read the log, so with JSON logs there are none."""
    settings = info.settings
    if settings.log.format == "json":
        return
    names = list(settings.fleet.models)
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    if names:
        output.note(f"Corral serves {len(names)} Model{'' if len(names) == 1 else 's'} at {info.address}/v1: {shown}")
    else:
        output.note(f"Corral listens at {info.address}/v1 and has no Models yet: {_how_to_add(settings.config_file)}")
    if info.ollama_address:
        output.note(f"Ollama's clients find it at {info.ollama_address}.")
    if settings.server.keys:
        output.note(f"API keys: {', '.join(key.name for key in settings.server.keys)}.")
    elif settings.server.open:
        output.note("Everybody who reaches this address may use it: there are no keys (server.open).")
    output.note("Ctrl-C ends it.")


def _how_to_add(config_file: str) -> str:
    if not config_file:
        return "end it and give it model files or a config."
    return f"add them to {config_file}, then `kill -HUP {os.getpid()}` makes it read the file again."


def _private() -> dict[str, Any]:
    """
    Settings of a Corral that serves one `corral run` alone.

    It is reached through its control socket; the TCP port that it also has takes a key that nobody knows. It ends when
    its stdin does, which the system closes however the parent dies.
    """
    import secrets

    from corral.cli import private as private_child

    threading.Thread(target=_end_with_stdin, name="parent watch", daemon=True).start()
    key = os.environ.pop(private_child.KEY_VARIABLE, "") or secrets.token_hex(32)
    return {
        "on_exit": "stop",  # nothing of it may live on, and its log is its parent's, whatever the config says
        "log.file": "",
        "log.format": "text",
        "server.port": 0,
        "server.ollama_port": None,
        "server.host": "127.0.0.1",
        "server.keys": [{"name": "private", "key": key, "scopes": ["inference", "admin"]}],
    }


def _end_with_stdin() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
