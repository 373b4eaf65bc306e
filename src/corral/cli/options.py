"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Config = Annotated[
    str,
    typer.Option(
        "--config", "-c", metavar="FILE", show_default=False,
        help="The config file or folder. Default: $CORRAL_CONFIG, ./corral.yaml, then the user's config folder.",
    ),
]  # fmt: skip
StateDir = Annotated[
    str,
    typer.Option(
        "--state-dir", metavar="DIR", show_default=False,
        help="The folder with the control socket of a running Corral. Default: the config's `state_dir`.",
    ),
]  # fmt: skip
Server = Annotated[
    str,
    typer.Option(
        "--server", metavar="URL", envvar="CORRAL_SERVER_URL", show_default=False,
        help="Talk to the Corral at this address instead of the one on this machine.",
    ),
]  # fmt: skip
Key = Annotated[
    str,
    typer.Option(
        "--key", metavar="KEY", envvar="CORRAL_API_KEY", show_default=False,
        help="The API key for --server. Better in the environment: other users can see a command line.",
    ),
]  # fmt: skip
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
EngineOption = Annotated[
    list[str] | None,
    typer.Option(
        "--option", "-o", metavar="NAME=VALUE", show_default=False,
        help="An engine option for all Models, such as -o ctx_size=8192. May be repeated.",
    ),
]  # fmt: skip
