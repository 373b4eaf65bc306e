"""`corral load` and `corral unload`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any

import typer

from corral.cli import connect, options, output
from corral.cli.usage import UsageError
from corral.cli.watching import watching
from corral.domain.units import format_duration

LONGEST_S = 86400.0  # the most that the server takes; the Model's own timeouts are shorter


def load(
    models: Annotated[list[str], typer.Argument(metavar="MODEL", help="Names or aliases of Models.")],
    state_dir: options.StateDir = "",
    server: options.Server = "",
    key: options.Key = "",
    config: options.Config = "",
    as_json: options.Json = False,
) -> None:
    """
    Load Models now and wait until they answer.

    Shows how far their files and the load are. Ctrl-C ends the wait alone: what is under way goes on.
    """
    corral = connect.find(server=server, key=key, state_dir=state_dir, config=config)
    results = []
    for model in models:
        results.append(_loaded(corral, model))
        if not as_json:
            print(f"{model} is ready.", flush=True)
    if as_json:
        output.print_json(results)


def unload(
    models: Annotated[list[str] | None, typer.Argument(metavar="MODEL", help="Names or aliases.")] = None,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Unload all Models.")] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Cut answers that are running.")] = False,
    state_dir: options.StateDir = "",
    server: options.Server = "",
    key: options.Key = "",
    config: options.Config = "",
    as_json: options.Json = False,
) -> None:
    """Unload Models and free their memory. Running answers end first, unless --force cuts them."""
    if models and everything:
        raise UsageError("--all means every Model: name none beside it.")
    if not models and not everything:
        raise UsageError("Name the Models to unload, or say --all.")
    corral = connect.find(server=server, key=key, state_dir=state_dir, config=config)
    results = []
    for model in models or [""]:
        body = {"model": model, "all": not model, "force": force}
        results.append(_during(f"Unloading {model or 'all Models'}", partial(_post, corral, "unload", body)))
        if not as_json:
            print(_told(model, results[-1]), flush=True)
    if as_json:
        output.print_json(results)


def _told(model: str, result: Mapping[str, Any]) -> str:
    """What an unload has ended."""
    gone, fetches = result.get("unloaded") or [], result.get("fetches_ended") or []
    ended = [f"Unloaded: {', '.join(gone)}."] if gone else []
    if fetches:
        ended.append(f"Ended the fetch of {', '.join(fetches)}; what has come is kept, and goes on next time.")
    return " ".join(ended) or (f"{model} was not loaded." if model else "Nothing was loaded.")


def _loaded(corral: connect.Corral, model: str) -> Any:
    styled, began = output.styled(sys.stderr), time.monotonic()
    if not styled:
        output.note(f"Loading {model} ...")
    with watching(corral, model):
        result = _post(corral, "load", {"model": model})
    if styled:
        output.note(output.dim(f"Loading {model}: {format_duration(time.monotonic() - began)}", stream=sys.stderr))
    return result


def _post(corral: connect.Corral, verb: str, body: dict[str, Any]) -> Any:
    return corral.ask("POST", f"/api/corral/{verb}", {**body, "timeout_s": LONGEST_S}, timeout_s=LONGEST_S + 60)


def _during(what: str, work: Callable[[], Any]) -> Any:
    """Do the work: with a turning wheel and the time on a terminal, with one plain line in a pipe."""
    if not output.styled(sys.stderr):
        output.note(f"{what} ...")
        return work()
    from rich.console import Console

    began = time.monotonic()
    with Console(stderr=True).status(f"{what} ..."):
        result = work()
    output.note(output.dim(f"{what}: {format_duration(time.monotonic() - began)}", stream=sys.stderr))
    return result
