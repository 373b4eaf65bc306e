"""
The tree of commands.

Only the command that is called is imported; the others stand in the tree as a name and a line of help. That keeps
`--help` and every small command quick.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Annotated, Final

import typer

from corral.cli.usage import UsageError
from corral.version import __version__

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "serve": ("serve", "Serve the Models of the config, or these files."),
    "demo": ("demo", "Serve three tiny models that are made on the spot."),
    "run": ("run", "Chat with a Model; /help in the chat shows its commands."),
    "ps": ("listing", "Show the Models that are loaded: state, memory, slots, queue."),
    "load": ("loading", "Load Models now and wait until they answer."),
    "unload": ("loading", "Unload Models and free their memory."),
    "logs": ("logs", "Show the output of a Model's engine."),
    "status": ("listing", "Show the server, its memory and its Models."),
    "bench": ("bench", "Measure Models, or the gateway beside other programs."),
    "models": ("models", "Look at model files, and at what others offer."),
    "config": ("config", "Look at the configuration, check it, change it."),
}
"""Name -> module in this package (its function has the command's name; a group has `build`), and the line of help."""

ELSEWHERE: Final = {
    "list": "`corral ps --all` shows every Model, `corral models list` the files in the store.",
    "stop": "`corral unload MODEL` stops its engine; Ctrl-C or SIGTERM ends the server.",
    "start": "`corral serve` starts the server, `corral load MODEL` an engine.",
    "pull": "`corral models pull REF` fetches a model into the store.",
    "help": "`corral --help` lists the commands, `corral COMMAND --help` explains one.",
}
"""What people type who come from other programs."""


def build(arguments: Sequence[str]) -> typer.Typer:
    """The application for this command line."""
    app = typer.Typer(
        help="Run local language models and serve all of them under one address.",
        no_args_is_help=True,
        rich_markup_mode=None,  # rich's help takes longer to import than all the rest
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    wanted = next((word for word in arguments if not word.startswith("-")), "")
    if wanted in ELSEWHERE:
        raise UsageError(f"There is no command {wanted!r}.", hint=ELSEWHERE[wanted])
    everything = "_CORRAL_COMPLETE" in os.environ  # shell completion looks into every command
    for name, (module, help_line) in COMMANDS.items():
        if not everything and name != wanted:
            app.command(name, help=help_line)(_stub)
            continue
        found = import_module(f"corral.cli.{module}")
        if hasattr(found, "build"):
            app.add_typer(found.build(), name=name)
        else:
            function: Callable[..., None] = getattr(found, name)
            app.command(name)(function)
    app.command("version")(_version)
    return app


def _stub() -> None:
    raise AssertionError("a command ran that was not imported")


def _root(
    version: Annotated[bool, typer.Option("--version", "-V", help="Show the version and leave.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")] = False,
) -> None:
    pass  # `main` takes both options before the tree is built; they stand here for --help


def _version() -> None:
    """Show the version."""
    print(f"corral {__version__}")
