"""`corral models fit`: does it run here, with what, and how fast?"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corral.cli import connect, options, output, reading
from corral.cli.usage import UsageError

if TYPE_CHECKING:
    from corral.config.settings import Settings
    from corral.domain.devices import DeviceMemory
    from corral.store.fit.service import Fitting


def fit(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="The name of a Model or of what is in the store, a path to a .gguf file, or a reference.",
        ),
    ],
    ctx: Annotated[
        int | None, typer.Option("--ctx", metavar="N", min=0, show_default=False, help="Tokens of context.")
    ] = None,
    parallel: Annotated[
        int | None, typer.Option("--parallel", metavar="N", min=1, show_default=False, help="Slots.")
    ] = None,
    cache_type_k: Annotated[
        str, typer.Option("--cache-type-k", metavar="TYPE", show_default=False, help="Type of the cached keys.")
    ] = "",
    cache_type_v: Annotated[
        str, typer.Option("--cache-type-v", metavar="TYPE", show_default=False, help="Type of the cached values.")
    ] = "",
    n_gpu_layers: Annotated[
        str,
        typer.Option("--n-gpu-layers", metavar="N", show_default=False, help="Layers on GPUs: a number, auto or all."),
    ] = "",
    device: Annotated[
        list[str] | None,
        typer.Option(
            "--device", metavar="NAME", show_default=False, help="Use this GPU. May be repeated; none for RAM."
        ),
    ] = None,
    memory: Annotated[
        list[str] | None,
        typer.Option(
            "--memory",
            metavar="SIZE",
            show_default=False,
            help="Reckon with other memory than this host's: 24GiB,8GiB are two GPUs, NAME=SIZE is one by its name "
            "(ram=64GiB).",
        ),
    ] = None,
    state_dir: options.StateDir = "",
    server: options.Server = "",
    key: options.Key = "",
    config: options.Config = "",
    as_json: options.Json = False,
) -> None:
    """
    Show what a model takes and whether that fits: weights, cache and buffers, by device; what is recommended, how fast.

    What is not said is taken from the Model's config; what that leaves open is recommended. Asks the Corral that runs
    here, or looks for itself. Nothing is loaded, and of a file only its header is read. Exit code 1: it fits nowhere.
    """
    from corral.cli.models.fitted import show

    given = _options(ctx, parallel, cache_type_k, cache_type_v, n_gpu_layers, device or [])
    sizes = [word.strip() for text in memory or [] for word in text.split(",") if word.strip()]
    corral = connect.find(server=server, key=key, state_dir=state_dir, config=config)
    path = (
        os.path.abspath(os.path.expanduser(model))
        if not server and os.path.exists(os.path.expanduser(model))
        else model
    )
    if server or corral.running():
        found = _asked(corral, path, given, sizes, stored=None if server else lambda: _stored(model, config))
    else:
        found = _here(path, config, given, sizes)
    if not isinstance(found, dict) or "asked" not in found:
        raise connect.NotRunning(f"{corral.place} is not a Corral that can fit models: it has no /api/corral/fit.")
    if as_json:
        output.print_json(found)
    else:
        show(found)
    if found["asked"]["fits"] == "never" and found["recommended"] is None:
        raise typer.Exit(1)


def _options(
    ctx: int | None, parallel: int | None, type_k: str, type_v: str, layers: str, device: list[str]
) -> dict[str, Any]:
    count: int | str = layers
    if layers and layers not in ("auto", "all"):
        if not layers.isdecimal():
            raise UsageError(f"--n-gpu-layers {layers!r} must be a number, auto or all.")
        count = int(layers)
    names = [name.strip() for text in device for name in text.split(",") if name.strip()]
    given = {
        "ctx_size": ctx,
        "parallel": parallel,
        "cache_type_k": type_k or None,
        "cache_type_v": type_v or None,
        "n_gpu_layers": count if layers else None,
        "device": names or None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _asked(
    corral: connect.Corral,
    model: str,
    given: dict[str, Any],
    sizes: list[str],
    *,
    stored: Callable[[], str | None] | None,
) -> Any:
    """By the Corral; `stored` is asked for the file of a name that it does not know."""
    wanted = {"model": model, "options": given, "memory": sizes}
    try:
        return corral.ask("POST", "/api/corral/fit", wanted)
    except connect.Answered as error:
        path = stored() if stored is not None and error.answer_status == HTTPStatus.NOT_FOUND else None
        if path is None:
            raise
    return corral.ask("POST", "/api/corral/fit", {**wanted, "model": path})


def _stored(name: str, config: str) -> str | None:
    """The file of what is called so in the store, or in another program's folder."""
    from corral.cli.models import shelves
    from corral.domain.errors import FileMissing

    try:
        return str(shelves.find_anywhere(name, shelves.items_of(shelves.root_of(shelves.settings_of(config)))).path)
    except FileMissing:
        return None


def _here(model: str, config: str, given: dict[str, Any], sizes: list[str]) -> Any:
    """Without a Corral that could be asked."""
    import asyncio

    from corral.contracts.fitting import FitWanted
    from corral.domain import names as naming
    from corral.domain.references import is_reference

    settings = reading.read(config).settings
    models = settings.fleet.models
    known = naming.directory(models.values())
    if not (model in known or is_reference(model) or os.path.exists(model) or model.lower().endswith(".gguf")):
        model = _stored(model, config) or naming.resolve(model, known)  # which says what there is instead
    spec = models[known[model]] if model in known else None
    return asyncio.run(fitting_of(settings).fit(FitWanted(model, spec, given, tuple(sizes))))


def fitting_of(settings: Settings) -> Fitting:
    """For a host on which no Corral runs: what Models may have is what programs leave, as far as `memory` allows."""
    from pathlib import Path

    from corral.config.paths import cache_dir
    from corral.devices import budgets, charged, this_host
    from corral.store.fit.measured import RamBandwidth
    from corral.store.fit.service import Fitting
    from corral.store.known import KnownFiles
    from corral.store.sources.access import access
    from corral.store.supply import store_supply

    def host() -> tuple[Sequence[DeviceMemory], Mapping[str, int]]:
        devices = this_host().read()
        return devices, budgets(settings.memory, devices, {})

    cache = Path(cache_dir(os.environ))
    return Fitting(
        KnownFiles(cache / "headers"),
        reading.engines(),
        host=host,
        charges=charged,
        ram=RamBandwidth(cache / "bandwidth"),
        access=lambda: access(settings.store, os.environ),
        supply=store_supply(settings.store, os.environ),
    )
