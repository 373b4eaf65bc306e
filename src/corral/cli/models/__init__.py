"""`corral models ...`: the files of models, here and elsewhere. One file a command or a few that belong together."""

from __future__ import annotations

import typer

_HELP = """Look at model files, and at what others offer.

A NAME means the same in every command, the first of these that there is: a Model (in commands about Models), a name in
the store, a place below it (hf/ORG/REPO/FILE.gguf), a reference (hf.co/ORG/REPO:QUANT), a file, and last what another
program has here. What begins with / ./ ../ or ~ is a file.
"""


def build() -> typer.Typer:
    """The command group. Whoever wants one of its files alone does not get all of them."""
    from corral.cli.models import fit, inspect, keeping, listing, preparing, pulling, searching, splitting, vouching

    app = typer.Typer(help=_HELP, no_args_is_help=True, rich_markup_mode=None)
    app.command("pull")(pulling.pull)
    app.command("list")(listing.list_)
    app.command("show")(listing.show)
    app.command("remove")(keeping.remove)
    app.command("import")(vouching.import_)
    app.command("verify")(vouching.verify)
    app.command("gc")(keeping.gc)
    app.command("search")(searching.search)
    app.command("suggest")(searching.suggest)
    app.command("inspect")(inspect.inspect)
    app.command("fit")(fit.fit)
    app.command("split")(splitting.split)
    app.command("merge")(splitting.merge)
    app.command("fetch")(preparing.fetch)
    return app
