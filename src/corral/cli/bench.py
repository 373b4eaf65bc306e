"""`corral bench gateway` and `corral bench MODEL...`: how fast it is, measured from outside."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from corral.cli import bench_models, ending, options, output
from corral.cli.usage import UsageError


class _ModelsByDefault(TyperGroup):
    """What is no subcommand is a Model: `corral bench coder` is `corral bench models coder`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the word in that people leave out."""
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["models", *args]
        return super().parse_args(ctx, args)


def build() -> typer.Typer:
    """The command group."""
    app = typer.Typer(
        cls=_ModelsByDefault, help="Measure Models, or the gateway beside other programs.", no_args_is_help=True,
        rich_markup_mode=None,
    )  # fmt: skip
    app.command("gateway")(gateway)
    app.command("models")(bench_models.models)
    return app


def gateway(
    rounds: Annotated[int, typer.Option(metavar="N", min=1, max=100, help="Rounds through all programs.")] = 3,
    seconds: Annotated[float, typer.Option(metavar="S", min=0.5, max=600, help="Length of each load.")] = 3.0,
    only: Annotated[
        str, typer.Option(metavar="NAME,...", show_default=False, help="These programs alone; direct always is.")
    ] = "",
    peer: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PATH", show_default=False, help="Where a program is, such as llama-swap=PATH."),
    ] = None,
    litellm: Annotated[str, typer.Option(metavar="PATH", show_default=False, help="Where LiteLLM's program is.")] = "",
    install_peers: Annotated[
        bool, typer.Option("--install-peers", help="Fetch what is missing into the cache folder, by pip and go.")
    ] = False,
    write: Annotated[
        str, typer.Option(metavar="FILE", show_default=False, help="Write the table into a page between its markers.")
    ] = "",
    as_json: options.Json = False,
) -> None:
    """
    Measure Corral's gateway beside nginx, a Go proxy and others.

    Starts them one after another before an engine that costs next to nothing. Takes about half a minute for each
    program and round; Ctrl-C ends it and leaves nothing behind.
    """
    import os

    from corral.bench import gateway as benchmark
    from corral.bench import peers, report
    from corral.config import paths

    names = [name.strip() for name in only.split(",") if name.strip()]
    for name in names:
        if name not in peers.FINDERS:
            raise UsageError(f"--only: there is no program {name!r}.", hint=f"There are {', '.join(peers.FINDERS)}.")
    named = _named(peer or [])
    if litellm:
        named["litellm"] = litellm
    wanted = benchmark.Wanted(
        rounds, seconds, names, named, install_peers, os.path.join(paths.cache_dir(os.environ), "bench")
    )
    with ending.like_ctrl_c():
        result = benchmark.run(wanted, output.note)
    if write:
        report.write(write, report.markdown(result))
    if as_json:
        import msgspec

        output.print_json(msgspec.to_builtins(result))
    else:
        print(report.markdown(result))
    if any(program.failed and program.name in ("direct", "corral") for program in result.programs):
        raise typer.Exit(1)


def _named(words: list[str]) -> dict[str, str]:
    from corral.bench import peers

    named = {}
    for word in words:
        name, _, path = word.partition("=")
        if name not in peers.FINDERS or name in ("direct", "corral") or not path:
            others = ", ".join(each for each in peers.FINDERS if each not in ("direct", "corral"))
            raise UsageError(f"--peer {word!r} must be NAME=PATH.", hint=f"NAME is one of {others}.")
        named[name] = path
    return named
