"""`corral logs`: what an engine has said."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from corral.cli import connect, options, output

if TYPE_CHECKING:
    from http.client import HTTPResponse


def logs(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A Model; needed where several are loaded.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as new lines come.")] = False,
    tail: Annotated[int, typer.Option("--tail", "-n", min=0, help="Begin with the last N lines.")] = 100,
    state_dir: options.StateDir = "",
    server: options.Server = "",
    key: options.Key = "",
    config: options.Config = "",
    as_json: options.Json = False,
) -> None:
    """Show the output of a Model's engine."""
    from urllib.parse import urlencode

    corral = connect.find(server=server, key=key, state_dir=state_dir, config=config)
    query = urlencode({"model": model or _only_model(corral), "tail": tail, "follow": int(follow)})
    lines = []
    with corral.open("GET", f"/api/corral/logs?{query}", timeout_s=None if follow else connect.ANSWER_S) as response:
        for raw in _lines(response):
            line = output.printable(raw)
            if as_json:
                lines.append(line)
            else:
                print(line, flush=follow)
    if as_json:
        output.print_json(lines)


def _lines(response: HTTPResponse) -> Iterator[str]:
    from http.client import HTTPException

    while True:
        try:
            raw = response.readline()
        except (HTTPException, OSError):
            return  # Corral ended: so do its logs
        if not raw:
            return
        yield raw.decode("utf-8", "replace").rstrip("\r\n")


def _only_model(corral: connect.Corral) -> str:
    """The Model that is meant when none is named: the only one that has been started."""
    rows = corral.ask("GET", "/api/corral/status")["models"]
    started = [row["model"] for row in rows if row.get("instance")]
    if len(started) == 1:
        return str(started[0])
    if not started:
        raise connect.NotRunning("No Model has been started yet, so there is no log.")
    loaded = [row["model"] for row in rows if row.get("state") in ("starting", "ready", "draining")]
    if len(loaded) == 1:
        return str(loaded[0])
    if not loaded:
        raise connect.NotRunning(f"No Model is loaded. Those that were have a log: name one of {', '.join(started)}.")
    raise connect.NotRunning(f"Whose log? Name one of: {', '.join(started)}.")
