"""`corral bench MODEL...`: prefill, decode, first token, over rising concurrency, and what follows from the figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from corral.cli import connect, options, output, reading
from corral.cli.naming import FIRST
from corral.cli.serving import Serving, serving
from corral.cli.usage import UsageError
from corral.domain.errors import CorralError

if TYPE_CHECKING:
    from corral.bench.asking import Where
    from corral.bench.levels import Level
    from corral.domain.fleet import ModelSpec

MOST = 1024


def models(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...",
            help=FIRST,
            show_default=False,
        ),
    ],
    concurrency: Annotated[str, typer.Option(metavar="N,...", help="Requests at one time.")] = "1,2,4,8",
    prompt_tokens: Annotated[int, typer.Option(metavar="N", min=1, help="Length of each prompt.")] = 512,
    output_tokens: Annotated[int, typer.Option(metavar="N", min=1, help="Length of each answer.")] = 128,
    requests: Annotated[
        int, typer.Option(metavar="N", min=0, show_default=False, help="Requests a level. Default: 3 for each at once.")
    ] = 0,
    seconds: Annotated[float, typer.Option(metavar="S", min=0.1, help="No request of a level begins later.")] = 60.0,
    keep_loaded: Annotated[
        bool, typer.Option("--keep-loaded", help="Do not unload first; the load is then not measured.")
    ] = False,
    compare: Annotated[
        str, typer.Option(metavar="FILE", show_default=False, help="An earlier --json, to compare with.")
    ] = "",
    option: options.EngineOption = None,
    as_json: options.Json = False,
    state_dir: options.StateDir = "",
    server: options.Server = "",
    key: options.Key = "",
    config: options.Config = "",
) -> None:
    """
    Measure Models: load, prefill, decode, first token, at rising concurrency.

    Talks to the Corral that runs here, to --server, or starts one of its own for model files. Tokens are those that
    the engine counts.
    """
    from corral.bench import sweep

    wanted = sweep.Wanted(_levels(concurrency), prompt_tokens, output_tokens, requests, seconds, not keep_loaded)
    before = _before(compare) if compare else {}
    with serving(names, option or [], server=server, key=key, state_dir=state_dir, config=config) as found:
        where = _where(found.corral, key if server else "")
        known = {} if server else _configured(config) if found.models is None else _options(found.models)
        report = sweep.run(found.corral, where, _own_names(found), wanted, known, output.note)
    if as_json:
        import msgspec

        output.print_json(msgspec.to_builtins(report))
    else:
        head = (*sweep.HEAD, "to before") if before else sweep.HEAD
        output.print_table(head, sweep.rows(report, before), right=head[1:])
        for model in report.models:
            if model.load_s is not None:
                print(f"{model.model}: cold load {model.load_s:.2f} s.")
        for sentence in report.advice:
            print(sentence)
    if all(each.errors == each.requests for model in report.models for each in model.levels):
        raise typer.Exit(1)


def _levels(text: str) -> list[int]:
    try:
        found = [int(word) for word in text.split(",")]
    except ValueError:
        found = [0]
    if any(not 1 <= number <= MOST for number in found):
        raise UsageError(f"--concurrency {text!r} must be numbers from 1 to {MOST} with commas, such as 1,2,4.")
    return found


def _before(path: str) -> Mapping[tuple[str, int], Level]:
    """The levels of an earlier report."""
    import msgspec

    from corral.bench import sweep

    try:
        with open(path, "rb") as file:
            report = msgspec.json.decode(file.read(), type=sweep.Sweep)
    except OSError as error:
        raise UsageError(f"--compare: {path} cannot be read: {error.strerror}.") from None
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise UsageError(f"--compare: {path} is not a report of `corral bench MODEL --json`: {error}.") from None
    return {(model.model, each.concurrency): each for model in report.models for each in model.levels}


def _where(corral: connect.Corral, key: str) -> Where:
    from corral.bench.asking import Where
    from corral.kit.sockets import reached

    if not corral.url:
        return Where(socket=reached(corral.socket_path))
    parts = urlsplit(corral.url)
    tls = parts.scheme == "https"
    return Where(
        host=parts.hostname or "", port=parts.port or (443 if tls else 80), tls=tls, prefix=parts.path, key=key
    )


def _own_names(found: Serving) -> list[str]:
    """The Models' own names. An unknown one is an error here, before anything is unloaded."""
    if found.models is not None:
        return found.names
    return [str(found.corral.ask("GET", f"/v1/models/{name}")["id"]) for name in found.names]


def _configured(config: str) -> dict[str, Mapping[str, object]]:
    """The options of the config's Models; none for a broken config, which must not keep us from measuring."""
    try:
        if not reading.find_file(config):
            return {}
        return _options(reading.read(config).settings.fleet.models)
    except CorralError:
        return {}


def _options(models: Mapping[str, ModelSpec]) -> dict[str, Mapping[str, object]]:
    return {name: model.options for name, model in models.items()}
