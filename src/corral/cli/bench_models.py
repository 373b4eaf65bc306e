"""`corral bench MODEL...`: prefill, decode, first token, over rising concurrency, and what follows from the figures."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from corral.cli import connect, options, output, reading
from corral.cli.usage import UsageError
from corral.domain.errors import CorralError

if TYPE_CHECKING:
    from corral.bench.asking import Where
    from corral.bench.levels import Level

MOST = 1024


def models(
    names: Annotated[
        list[str],
        typer.Argument(metavar="MODEL|FILE.gguf...", help="Models' names, or model files.", show_default=False),
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
    with _corral(names, option or [], server=server, key=key, state_dir=state_dir, config=config) as found:
        corral, own, known = found
        report = sweep.run(corral, _where(corral, key if server else ""), own, wanted, known, output.note)
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


Found = tuple[connect.Corral, list[str], dict[str, Mapping[str, object]]]


@contextlib.contextmanager
def _corral(
    names: list[str], engine_options: list[str], *, server: str, key: str, state_dir: str, config: str
) -> Iterator[Found]:
    """The Corral to measure, the Models' own names there, and their configured options where they can be read."""
    from corral.cli import private

    files = [name for name in names if not server and (name.lower().endswith(".gguf") or os.path.isfile(name))]
    if files and len(files) < len(names):
        raise UsageError("Give model files or Models of a Corral, not both: files are served by a Corral of their own.")
    if files:
        served = reading.read(files=files, options=engine_options).settings.fleet.models
        extra = [word for option in engine_options for word in ("-o", option)]
        with private.started([*extra, "--", *map(os.path.abspath, files)]) as corral:
            yield corral, [*served], {name: model.options for name, model in served.items()}
        return
    if engine_options:
        raise UsageError("-o is for model files; a Model's options are in the config.")
    corral = connect.find(server=server, key=key, state_dir=state_dir, config=config)
    known = {} if server else _configured(config)
    if server or corral.running():
        # An unknown name is an error here, before anything is unloaded.
        yield corral, [str(corral.ask("GET", f"/v1/models/{name}")["id"]) for name in names], known
        return
    file = reading.find_file(config)
    if not file:
        raise connect.NotRunning(
            f"No Corral runs here, and there is no config that could say what {names[0]!r} is.",
            hint="Give a .gguf file, or start one: corral serve.",
        )
    from corral.domain import names as naming

    fleet = reading.read(config).settings.fleet
    own = [naming.resolve(name, naming.directory(fleet.models.values())) for name in names]
    with private.started(["--config", file]) as corral:
        yield corral, own, known


def _configured(config: str) -> dict[str, Mapping[str, object]]:
    """The options of the config's Models; none for a broken config, which must not keep us from measuring."""
    try:
        if not reading.find_file(config):
            return {}
        return {name: model.options for name, model in reading.read(config).settings.fleet.models.items()}
    except CorralError:
        return {}
