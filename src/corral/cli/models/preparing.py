"""`corral models fetch`: for an init container, a model under a path that never changes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from corral.cli import options, output
from corral.cli.models import asking, pulling
from corral.cli.usage import UsageError
from corral.contracts.fetching import Fetched
from corral.domain.references import HubReference, suggested_name


def fetch(
    repo: Annotated[
        str, typer.Option("--repo", metavar="ORG/REPO", envvar="CORRAL_FETCH_REPO", help="The hub's repository.")
    ],
    link: Annotated[
        str,
        typer.Option(
            "--link", metavar="PATH", envvar="CORRAL_FETCH_LINK", help="The link to make: /models/weights/model.gguf."
        ),
    ],
    quant: Annotated[
        str,
        typer.Option(
            "--quant", "-q", metavar="QUANT", envvar="CORRAL_FETCH_QUANT", show_default=False,
            help="The quantisation. Default: Q4_K_M, or what is nearest to it.",
        ),
    ] = "",
    filename: Annotated[
        str,
        typer.Option(
            "--filename", metavar="FILE", envvar="CORRAL_FETCH_FILENAME", show_default=False,
            help="This very file, whatever --quant says.",
        ),
    ] = "",
    revision: Annotated[
        str, typer.Option("--revision", metavar="REV", envvar="CORRAL_FETCH_REVISION", help="A branch, tag or commit.")
    ] = "main",
    sha256: asking.Sha256 = "",
    projector: Annotated[
        bool,
        typer.Option(
            "--mmproj/--no-mmproj", help="The projector too: mmproj.gguf beside model.gguf, else NAME.mmproj.gguf."
        ),
    ] = False,
    config: options.Config = "",
) -> None:  # fmt: skip
    """
    Fetch one model of the hub and make a link to it, for an init container.

    The link is relative, so that a volume may be mounted anywhere, and is replaced in one step; a second run changes
    nothing. All parts of a split model are linked beside it under their numbers (model-00001-of-00003.gguf), which is
    what llama.cpp wants: give it the first. Ends with 0 when all of it is there, 1 when not (the next run goes on), 2
    for wrong usage. The store is that of the config, or CORRAL_STORE__PATH.
    """
    from corral.store.links import check_links, link_model

    named = asking.reference_of(f"hf.co/{repo}" + ("" if revision == "main" else f"@{revision}"))
    if not isinstance(named, HubReference) or named.file or named.quant:
        raise UsageError("--repo is ORG/REPO.", hint="The quantisation goes into --quant.")
    fetches = asking.fetches_of(asking.settings_of(config))
    from corral.store.sources.planning import exact

    with pulling.download(named):
        plan = pulling.planned(fetches, named, quant="" if filename else quant, file=filename, sha256=sha256)
        plan = plan if projector else plan.without_projector()
    check_links(Path(link), Fetched(plan, fetches.places(plan)))
    with pulling.download(named):
        fetched = pulling.fetch(fetches, plan, suggested_name(exact(plan)))
    for made in link_model(Path(link), fetched):
        output.note(f"corral: {made} -> {made.readlink()}")
    print(link)
