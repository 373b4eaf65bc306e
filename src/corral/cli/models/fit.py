"""`corral models fit`: does it run here, with what, and how fast?"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from corral.cli import connect, options, output, reading
from corral.cli.models import asking
from corral.cli.naming import NAMED, Names, is_path
from corral.cli.usage import UsageError
from corral.domain.errors import UnknownModel
from corral.domain.references import Reference
from corral.kit.homes import expanded

if TYPE_CHECKING:
    from corral.config.settings import Settings
    from corral.domain.devices import DeviceMemory
    from corral.store.fit.service import Fitting
    from corral.store.shelf.items import Item


_LONGEST_NUMBER = 9  # digits


def fit(
    model: Annotated[str, NAMED],
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
    insecure: asking.Insecure = False,
    private: asking.Private = False,
    state_dir: options.StateDir = "",
    server: options.Server = "",
    key: options.Key = "",
    config: options.Config = "",
    as_json: options.Json = False,
) -> None:
    """
    Show what a model takes and whether that fits: weights, cache and buffers, by device; what is recommended, how fast.

    What is not said is taken from the Model's config; what that leaves open is recommended. Asks the Corral that runs
    here, or looks for itself, as it does where --insecure or --private give leave that the other has not. Nothing is
    loaded, and of a file only its header is read. Exit code 1: it fits nowhere.
    """
    from corral.cli.models.fitted import show

    given = _options(ctx, parallel, cache_type_k, cache_type_v, n_gpu_layers, device or [])
    sizes = [word.strip() for text in memory or [] for word in text.split(",") if word.strip()]
    leave = insecure or private
    if leave and server:
        raise UsageError("--insecure and --private are for what this command asks; another Corral goes by its config.")
    corral = connect.find(server=server, key=key, state_dir=state_dir, config=config)
    if server or (not leave and corral.running()):
        asked, beside = (model, {}) if server else _known(corral, model, Names(config))
        question = {"model": asked, "options": {**beside, **given}, "memory": sizes}
        found = corral.ask("POST", "/api/corral/fit", question)
    else:
        with output.busy(f"Looking at {model} ..."):
            fits = partial(fitting_of, insecure=insecure, private=private)
            found = _here(model, Names(config), given, sizes, fits)
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
        if not layers.isdecimal() or len(layers) > _LONGEST_NUMBER:
            raise UsageError(f"--n-gpu-layers {layers[:40]!r} must be a number, auto or all.")
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


def _known(corral: connect.Corral, word: str, names: Names) -> tuple[str, dict[str, Any]]:
    """A word that this Corral knows: the name of one of its Models, else a path or a reference, with options for it."""
    if is_path(word):
        return _place(expanded(word), names)
    try:
        corral.ask("GET", f"/v1/models/{quote(word, safe='')}")
    except connect.Answered as error:
        if error.answer_status != HTTPStatus.NOT_FOUND:
            raise
        return _place(names.of(word, error), names)
    return word, {}


def _place(meant: Item | Reference | Path, names: Names) -> tuple[str, dict[str, Any]]:
    """Where it is, and the options by which what belongs to it goes with it, as when it is served by its name."""
    from corral.domain.references import address
    from corral.store.shelf.serving import as_stored

    if isinstance(meant, Reference):
        return address(meant), {}
    if isinstance(meant, Path):
        return os.path.abspath(meant), {}
    stored = as_stored(meant, names.items)
    beside = {"mmproj": stored.projector, "lora": list(stored.adapters)}
    return os.path.abspath(stored.path), {name: value for name, value in beside.items() if value}


def _here(word: str, names: Names, given: dict[str, Any], sizes: list[str], fits: Callable[[Settings], Fitting]) -> Any:
    """Without a Corral that could be asked."""
    import asyncio

    from corral.contracts.fitting import FitWanted
    from corral.domain import names as naming

    models = names.models(word)
    known = naming.directory(models.values())
    spec, why = None, None
    try:
        spec = None if is_path(word) else models[naming.resolve(word, known)]
    except UnknownModel as error:
        why = error if known else None
    model, beside = (word, {}) if spec is not None else _place(names.of(word, why), names)
    question = FitWanted(model, spec, {**beside, **given}, tuple(sizes))
    return asyncio.run(fits(names.settings).fit(question))


def fitting_of(settings: Settings, *, insecure: bool = False, private: bool = False) -> Fitting:
    """
    For a host on which no Corral runs: what Models may have is what programs leave, as far as `memory` allows.

    `insecure` and `private` give leave beyond the config's.
    """
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
        access=lambda: access(settings.store, os.environ, insecure=insecure, private=private),
        supply=store_supply(settings.store, os.environ, insecure=insecure, private=private),
    )
