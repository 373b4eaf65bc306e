"""`corral demo`: three tiny models, made on the spot and served; `--check` asks them everything once and ends."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from corral.domain.errors import Conflict, PlaceFailed
from corral.version import __version__

if TYPE_CHECKING:
    from corral.app import AppInfo

SENTENCES: Final = {
    "alder": "My answers are always these words, because my file holds nothing else.",
    "birch": "Alder left the memory when you called me, and comes back when you call it.",
}
EMBEDDER: Final = "cedar"
_MARK: Final = "# The demo of corral"
_CONFIG: Final = f"""\
{_MARK} {__version__}: three tiny models that take turns. `corral demo` keeps this file as long as this line stays.
version: 1
state_dir: state
defaults:
  binary: {{llamacpp: embedded}}
  options: {{llamacpp: {{cache_ram: 0}}}}
models:
  alder: {{source: alder.gguf, title: Alder, options: {{ctx_size: 2048, parallel: 2}}}}
  birch: {{source: birch.gguf, title: Birch, options: {{ctx_size: 2048, parallel: 2}}}}
  cedar: {{source: cedar.gguf, title: Cedar, description: Makes vectors of texts., options: {{embeddings: true}}}}
groups:
  demo: {{members: [alder, birch, cedar], swap: true}}
"""


def demo(
    check: Annotated[bool, typer.Option("--check", help="Ask every model through every route, tell, and end.")] = False,
    port: Annotated[int | None, typer.Option(metavar="PORT", show_default=False, help="Listen on this port.")] = None,
    folder: Annotated[
        str, typer.Option("--dir", metavar="DIR", show_default=False, help="Where models and config are written.")
    ] = "",
) -> None:
    """
    Serve three tiny models that are made on the spot.

    No download and no config is needed. Two models say a sentence about themselves through the real llama.cpp, the
    third makes embeddings.
    """
    from corral.cli import reading, serve

    config = prepare(os.path.abspath(folder) if folder else default_folder())
    if check:
        raise typer.Exit(_check(config))
    command_line: dict[str, Any] = {} if port is None else {"server.port": port}

    def announce(info: AppInfo) -> None:
        print(welcome(info.address, config), flush=True)

    settings = reading.read(config, command_line=command_line).settings
    raise typer.Exit(serve.run_server(settings, announce=announce))


def default_folder() -> str:
    """`$XDG_CACHE_HOME/corral/demo`: everything in it can be made again."""
    from corral.config import paths

    return os.path.join(paths.cache_dir(os.environ), "demo")


def prepare(folder: str) -> str:
    """
    Write models and config into the folder, and return the config's path.

    Raises Conflict for a foreign config, PlaceFailed where nothing can be written.
    """
    try:
        return _prepared(folder)
    except OSError as error:
        reason = error.strerror or str(error)
        raise PlaceFailed(
            f"The demo cannot be written into {folder}: {reason}.", hint="Give another folder with --dir."
        ) from error


def _prepared(folder: str) -> str:
    from corral.config import paths, write
    from corral.store.gguf import demo as models

    config = os.path.join(folder, paths.CONFIG_NAME)
    os.makedirs(folder, exist_ok=True)
    known = _first_line(config)
    if known is not None and not known.startswith(_MARK):
        raise Conflict(f"{config} is not the demo's.", hint="Give another folder with --dir.")
    for name, sentence in SENTENCES.items():
        models.say(os.path.join(folder, f"{name}.gguf"), name.capitalize(), sentence)
    models.embed(os.path.join(folder, f"{EMBEDDER}.gguf"), EMBEDDER)
    if known != _CONFIG.splitlines()[0]:
        write.write_new(config, _CONFIG, force=True)
    return config


def _first_line(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readline().rstrip("\n")
    except FileNotFoundError:
        return None


def _program() -> str:
    """How this shell can call us: by name, or by path where a virtual environment is not on PATH."""
    import shutil
    import sys

    return "corral" if shutil.which("corral") else os.path.abspath(sys.argv[0])


def welcome(address: str, config: str) -> str:
    """What a person can do now."""
    quoted = shlex.quote(config)
    curl = f"curl -s {address}/v1"
    question = '"messages": [{"role": "user", "content": "Who are you?"}]'
    return f"""\
Corral serves three tiny models at {address}/v1; they take turns in memory. Ctrl-C ends it.

  {curl}/models
  {curl}/chat/completions -d '{{"model": "alder", {question}}}'
  {curl}/chat/completions -d '{{"model": "birch", "stream": true, {question}}}'
  {curl}/embeddings -d '{{"model": "cedar", "input": "a text"}}'

The same from another shell:

  export CORRAL_CONFIG={quoted}
  {_program()} run alder
  {_program()} ps

For client libraries:

  export OPENAI_BASE_URL={address}/v1
  export OPENAI_API_KEY=none
  export ANTHROPIC_BASE_URL={address} ANTHROPIC_API_KEY=none
  export OLLAMA_HOST={address}

The config, to change or to copy: {config}"""


def _check(config: str) -> int:
    """Serve the demo for a moment on a free port, ask everything once, print the table."""
    import secrets

    from corral.cli import asking, connect, output, private

    key = secrets.token_hex(32)
    with private.started(["--config", config], key=key) as owner:
        corral = connect.Corral(url=str(owner.ask("GET", "/api/corral/status")["address"]), key=key)
        results = [asking.ask(corral, question) for question in asking.questions((*SENTENCES,), EMBEDDER)]
    rows = [(r.model, r.route, r.outcome, f"{r.seconds * 1000:.1f} ms", r.said) for r in results]
    output.print_table(("model", "route", "result", "time", "answer"), rows, right=("time",))
    failed = sum(result.outcome != "ok" for result in results)
    for route, reason in asking.LEFT_OUT.items():
        print(f"Not asked: {route} {reason}.")
    print(f"{len(results) - failed} of {len(results)} answered as they should.")
    return 1 if failed else 0
