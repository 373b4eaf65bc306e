"""What the commands that fetch share: their options, the store of the config, references."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from corral.cli import reading
from corral.cli.usage import UsageError
from corral.domain.references import BadReference, Reference, parse

if TYPE_CHECKING:
    from corral.config.settings import Settings
    from corral.store.fetches import StoreFetches

Quant = Annotated[
    str,
    typer.Option("--quant", "-q", metavar="QUANT", show_default=False, help="The quantisation. Default: Q4_K_M, or "
                 "what is nearest to it."),
]  # fmt: skip
Sha256 = Annotated[
    str, typer.Option("--sha256", metavar="HASH", show_default=False, help="The hash that the file must have.")
]
Insecure = Annotated[
    bool, typer.Option("--insecure", help="Allow plain http, which anybody on the way can read and change.")
]
Private = Annotated[bool, typer.Option("--private", help="Allow addresses that are not on the public internet.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be fetched, and fetch nothing.")]


def reference_of(text: str) -> Reference:
    """What somebody typed. Raises UsageError."""
    try:
        return parse(text)
    except BadReference as error:
        raise UsageError(str(error)) from None


def fetches_of(settings: Settings, *, insecure: bool = False, private: bool = False) -> StoreFetches:
    """Fetching into the store of the config."""
    from corral.store.fetches import StoreFetches

    return StoreFetches(settings.store, os.environ, insecure=insecure, private=private)


def settings_of(config: str) -> Settings:
    """The config that counts, or the defaults."""
    return reading.read(config).settings
