"""`corral load` and `corral unload`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer

from corral.cli import connect, options, output
from corral.cli.usage import UsageError
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
    """Load Models now and wait until they answer."""
    corral = connect.find(server=server, key=key, state_dir=state_dir, config=config)
    results = []
    for model in models:
        results.append(_during(f"Loading {model}", partial(_post, corral, "load", {"model": model})))
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
            gone = results[-1].get("unloaded") or []
            print(
                f"Unloaded: {', '.join(gone)}."
                if gone
                else f"{model} was not loaded."
                if model
                else "Nothing was loaded.",
                flush=True,
            )
    if as_json:
        output.print_json(results)


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
