"""`corral models pull`: from a reference to files in the store."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corral.cli import options, output
from corral.cli.models import asking
from corral.cli.models.progress import megabytes, watched
from corral.cli.usage import UsageError
from corral.contracts.fetching import Fetched, Plan
from corral.domain.errors import BadRequest, FetchStopped, StoreFailed
from corral.domain.references import Reference, WebReference, suggested_name

if TYPE_CHECKING:
    from corral.store.fetches import StoreFetches

REFERENCE = typer.Argument(
    metavar="REF",
    show_default=False,
    help="hf.co/ORG/REPO[:QUANT], ollama:NAME[:TAG], https://HOST/FILE.gguf or file:PATH.",
)


def pull(
    reference: Annotated[str, REFERENCE] = "",
    name: Annotated[
        str,
        typer.Option(
            "--name", metavar="NAME", show_default=False,
            help="The Model's name for --add; without it, the file's in the store, for an https:// address.",
        ),
    ] = "",
    file: Annotated[
        str,
        typer.Option(
            "--file", metavar="FILE", show_default=False,
            help="One file of the repository; of a split model any part means all.",
        ),
    ] = "",
    quant: asking.Quant = "",
    sha256: asking.Sha256 = "",
    projector: Annotated[
        bool, typer.Option("--mmproj/--no-mmproj", help="The projector for pictures and sound, where there is one.")
    ] = True,
    add: Annotated[bool, typer.Option("--add", help="Write a Model for it into the config file.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Everything that the Models of the config need.")] = False,
    insecure: asking.Insecure = False,
    private: asking.Private = False,
    dry_run: asking.DryRun = False,
    config: options.Config = "",
    as_json: options.Json = False,
) -> None:  # fmt: skip
    """
    Fetch a model into the store: all of its parts, and the projector that belongs to it.

    What was begun goes on, what is there already is not fetched again, and every file is checked against the hash that
    its source has. HF_TOKEN, or store.tokens of the config, opens what is gated.
    """
    if every:
        if reference or name or file or quant or sha256 or add or dry_run or not projector:
            raise UsageError("--all is of the config's Models as they stand there: say nothing else of what to fetch.")
        from corral.cli.models.all_models import pull_all

        pull_all(config, insecure=insecure, private=private, as_json=as_json)
        return
    if not reference:
        raise UsageError(
            "Say what to pull: hf.co/ORG/REPO, ollama:NAME or https://...", hint="`corral models suggest` has ideas."
        )
    wanted = asking.reference_of(reference)
    if name and not add and not isinstance(wanted, WebReference):
        raise UsageError("--name is the Model's name, for --add.", hint="Add --add, or leave --name out.")
    fetches = asking.fetches_of(asking.settings_of(config), insecure=insecure, private=private)
    with contextlib.nullcontext() if dry_run else download(wanted):
        plan = planned(fetches, wanted, quant=quant, file=file, sha256=sha256, name="" if add else name)
    plan = plan if projector else plan.without_projector()
    if dry_run:
        show(fetches, plan, as_json=as_json)
        return
    from corral.cli.models import adding
    from corral.store.sources.planning import exact

    label = name or suggested_name(exact(plan))
    digest = sha256.strip().lower().removeprefix("sha256:")
    if add:
        adding.planned(config, label, Fetched(plan, fetches.places(plan)), projector=projector, sha256=digest)
    with download(wanted):
        fetched = fetch(fetches, plan, label)
    if add:
        adding.add_model(config, label, fetched, projector=projector, sha256=digest)
    if as_json:
        output.print_json(_row(fetched))
    else:
        print(fetched.model)


@contextlib.contextmanager
def download(reference: Reference) -> Iterator[None]:
    """What fails meanwhile is said in the words of the log."""
    try:
        yield
    except FetchStopped:  # somebody wanted that
        raise
    except StoreFailed as error:
        error.message = f"Failed to download model from {reference}: {error.message}"
        raise


def planned(fetches: StoreFetches, reference: Reference, **wanted: Any) -> Plan:
    """
    What there is to fetch; what such a reference cannot be asked for is wrong usage.

    Where nobody can be asked, what is here of it already is taken, else what other programs have.
    """
    try:
        plan, unasked = watched(str(reference), lambda told, stop: fetches.plan_or_kept(reference, stop=stop, **wanted))
    except BadRequest as error:
        raise UsageError(error.message, hint=error.hint) from None
    if unasked:
        output.note(f"corral: {unasked}")
    return plan


def fetch(fetches: StoreFetches, plan: Plan, label: str) -> Fetched:
    """Carry the plan out and say so, in words for people."""
    places = fetches.places(plan)
    if not fetches.here(plan) and not plan.unasked:
        output.note(f"[{label}] Downloading model from {plan.reference} to {places[0]}")
    before = [_identity(path) for path in places]
    fetched = watched(label, lambda told, stop: fetches.fetch(plan, told, stop=stop))
    size = sum(path.stat().st_size for path in fetched.paths)
    used = borrowed(fetched.model)
    if [_identity(path) for path in places] == before:
        output.note(f"[{label}] Model already exists at {fetched.model}")
    elif used:
        output.note(f"[{label}] Model used in place from {used}: nothing was copied")
    else:
        output.note(f"[{label}] Model downloaded successfully to {fetched.model} ({megabytes(size)})")
    return fetched


def borrowed(path: Path) -> str:
    """Where another program has the file that this one of the store is a link to; "" for any other."""
    from corral.store.borrowing import used_from

    try:
        return used_from(path)
    except StoreFailed:
        return ""


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:  # whoever fetches says why
        return None
    return status.st_ino, status.st_mtime_ns


def show(fetches: StoreFetches, plan: Plan, *, as_json: bool) -> None:
    """What would be fetched."""
    paths = fetches.places(plan)
    if as_json:
        files = [
            {
                "path": str(path), "url": each.url if plan.unasked else str(WebReference(each.url)),
                "role": str(each.role), "size_bytes": each.size_bytes, "sha256": each.sha256 or None,
                "here": path.exists(),
            }
            for path, each in zip(paths, plan.files, strict=True)
        ]  # fmt: skip
        output.print_json(
            {
                "reference": str(plan.reference),
                "size_bytes": plan.size_bytes,
                "licence": plan.licence or None,
                "files": files,
            }
        )
        return
    from corral.store.sources.listing import shown_size

    rows = [
        (each.path, str(each.role), shown_size(each.size_bytes), "here" if path.exists() else "")
        for path, each in zip(paths, plan.files, strict=True)
    ]
    output.print_table(("file", "role", "size", "state"), rows, right=("size",))
    licence = f", licence {plan.licence}" if plan.licence else ""
    print(f"{plan.reference}: {shown_size(plan.size_bytes)}{licence}")


def _row(fetched: Fetched) -> dict[str, Any]:
    files = [
        {"path": str(path), "role": str(each.role), "size_bytes": path.stat().st_size, "sha256": each.sha256 or None}
        for path, each in zip(fetched.paths, fetched.plan.files, strict=True)
    ]
    return {"reference": str(fetched.plan.reference), "model": str(fetched.model), "files": files}
