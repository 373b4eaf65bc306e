"""`corral ps` and `corral status`: what runs, and what it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from corral.cli import connect, options, output
from corral.domain.devices import RAM
from corral.domain.fetching import Progress
from corral.domain.units import format_bytes, format_duration

_HEAD = ("model", "state", "ram", "vram", "context", "slots", "queue", "wait", "ttl left", "pid", "load")
_NUMBERS = ("ram", "vram", "context", "slots", "queue", "wait", "pid", "load")
_QUEUE_HEAD = ("model", "place", "caller", "priority", "waited", "expected")
_QUEUE_NUMBERS = ("place", "priority", "waited", "expected")


def ps(
    all_models: Annotated[bool, typer.Option("--all", "-a", help="Show Models that are not loaded as well.")] = False,
    queue: Annotated[bool, typer.Option("--queue", "-q", help="Show who waits instead, and for how long.")] = False,
    state_dir: options.StateDir = "",
    server: options.Server = "",
    key: options.Key = "",
    config: options.Config = "",
    as_json: options.Json = False,
) -> None:
    """
    Show the Models that are loaded: state, memory, slots, queue.

    WAIT is what a new request may expect, from measured loads and answers; "-" where there are none yet.
    """
    corral = connect.find(server=server, key=key, state_dir=state_dir, config=config)
    if queue:
        _show_queue(corral, as_json=as_json)
        return
    rows = _status(corral)["models"]
    models = [row for row in rows if all_models or row.get("state") != "stopped" or row.get("waiting")]
    if as_json:
        output.print_json(models)
        return
    output.print_table(_HEAD, [_row(model) for model in models], right=_NUMBERS)
    for model in models:
        if model.get("error"):
            retry = model.get("retry_in_s")
            again = f" Next try in {format_duration(retry)}." if retry else ""
            output.note(f"{model['model']}: {output.printable(str(model['error']))}{again}")
        if model.get("fetching"):
            far = Progress.of_row(model["fetching"]).words()
            output.note(f"{model['model']} is being fetched{': ' if far else ''}{far}.")
        if model.get("options"):
            chosen = ", ".join(f"{name} {value}" for name, value in model["options"].items())
            output.note(f"{model['model']} is loaded with {output.printable(chosen)}, as requests asked for.")
        if model.get("note"):
            output.note(f"{model['model']}: smaller than configured, to fit: {output.printable(str(model['note']))}.")


def status(
    state_dir: options.StateDir = "",
    server: options.Server = "",
    key: options.Key = "",
    config: options.Config = "",
    as_json: options.Json = False,
) -> None:
    """Show the server, its memory and its Models. Exit code 1 when none runs."""
    corral = connect.find(server=server, key=key, state_dir=state_dir, config=config)
    found = _status(corral)
    if as_json:
        output.print_json(found)
        return
    models = found["models"]
    states: dict[str, int] = {}
    for model in models:
        states[str(model.get("state"))] = states.get(str(model.get("state")), 0) + 1
    counted = ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "none"
    lines = {
        "corral": f"{found.get('version', '?')}, pid {found.get('pid', '?')}",
        "address": str(found.get("address", corral.place)),
        **({"ollama": str(found["ollama_address"])} if found.get("ollama_address") else {}),
        "config": str(found.get("config_file") or "none"),
        **{str(device.get("device")): _device(device) for device in found.get("devices") or ()},
        "models": counted,
        "waiting": str(found.get("queue", 0)),
    }
    for name, text in lines.items():
        print(f"{output.printable(name):<8} {output.printable(text)}")


def _show_queue(corral: connect.Corral, *, as_json: bool) -> None:
    found = corral.ask("GET", "/api/corral/queue")
    if not isinstance(found, dict) or not isinstance(found.get("waiting"), list):
        raise connect.NotRunning(f"{corral.place} is not a Corral that tells who waits: it has no /api/corral/queue.")
    rows = found["waiting"]
    if as_json:
        output.print_json(rows)
    elif rows:
        output.print_table(_QUEUE_HEAD, [_waiting_row(row) for row in rows], right=_QUEUE_NUMBERS)
    else:
        output.note("Nobody waits.")


def _waiting_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    expected = row.get("expected_s")
    return (
        str(row.get("model", "")),
        str(row.get("position", "")),
        str(row.get("caller", "")),
        str(row.get("priority", 0)),
        format_duration(row.get("waited_s") or 0.0),
        # Its key's own earlier requests come first, wherever they are: that has no expected time.
        "own limit" if row.get("held_back") else format_duration(expected) if expected is not None else "-",
    )


def _status(corral: connect.Corral) -> Mapping[str, Any]:
    found = corral.ask("GET", "/api/corral/status")
    if not isinstance(found, dict) or not isinstance(found.get("models"), list):
        raise connect.NotRunning(f"{corral.place} is not a Corral: it has no /api/corral/status.")
    return found


def _device(row: Mapping[str, Any]) -> str:
    """`Models have 6 GiB of 22 GiB, 14 GiB of 24 GiB free (NVIDIA T4)`."""
    counted, budget = format_bytes(row.get("counted_bytes") or 0), row.get("budget_bytes")
    if not row.get("present"):
        return f"has vanished; Models held {counted} there"
    allowed = f" of {format_bytes(budget)}" if budget is not None else ""
    free = f"{format_bytes(row.get('free_bytes') or 0)} of {format_bytes(row.get('total_bytes') or 0)} free"
    what = f" ({row['description']})" if row.get("description") else ""
    return f"Models have {counted}{allowed}, {free}{what}"


def _state(model: Mapping[str, Any]) -> str:
    """`ready`, `starting 40 %`, `fetching 12 %`."""
    fetching = model.get("fetching")
    if not fetching:
        return f"{model.get('state', '')}{_percent(model.get('progress'))}"
    return f"fetching{_percent(Progress.of_row(fetching).share)}"


def _percent(progress: float | None) -> str:
    """Of a load, where its engine says it."""
    return "" if progress is None else f" {progress * 100:.0f} %"


def _row(model: Mapping[str, Any]) -> tuple[str, ...]:
    ram = model.get("rss_bytes") or model.get("ram_bytes")
    vram = sum(size for name, size in (model.get("devices") or {}).items() if name != RAM)
    ttl = model.get("ttl_left_s")
    pids = model.get("pids") or ()
    context, load, wait = model.get("context_tokens"), model.get("load_s"), model.get("expected_wait_s")
    loaded = model.get("state") in ("ready", "draining")
    return (
        str(model.get("model", "")),
        _state(model),
        format_bytes(ram) if ram else "-",
        format_bytes(vram) if vram else "-",
        str(context) if context else "-",
        f"{model.get('leases', 0)}/{model.get('slots', 0)}" if loaded else "-",
        str(model.get("waiting", 0)),
        format_duration(wait) if wait is not None else "-",
        "pinned" if model.get("pinned") else format_duration(ttl) if ttl is not None else "-",
        str(pids[0]) if pids else "-",
        format_duration(load) if load is not None else "-",
    )
