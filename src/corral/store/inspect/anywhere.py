"""Inspecting whatever a reference names: what is in the store there, all else by the headers of its files elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from corral.contracts.fetching import Supply
from corral.domain.errors import StoreFailed
from corral.domain.fleet import Source
from corral.domain.references import BadReference, FileReference, OllamaReference, Reference, address, narrowed
from corral.kit.homes import expanded
from corral.store.fetch.patience import within
from corral.store.fetch.web import Web
from corral.store.gguf.header import TensorInfo
from corral.store.inspect.inspection import Inspection
from corral.store.inspect.places import FolderFiles, inspect_files
from corral.store.inspect.remote import PlannedFiles
from corral.store.shelf import origin
from corral.store.sources.access import Access
from corral.store.sources.ollama import admitted
from corral.store.sources.planning import Sources

LONGEST_S: Final = 120.0
"""For all questions together: a header of 15 MB over 1 Mbit/s."""


def inspect_reference(
    reference: Reference, access: Access, *, quant: str = "", file: str = "", supply: Supply | None = None
) -> tuple[Inspection, tuple[TensorInfo, ...]]:
    """
    What the model is, and its tensors. `quant` and `file` choose among those of a repository.

    What `supply` has is read here, and what other programs have where nobody can be asked; for all else it blocks on
    the network, for LONGEST_S at most. Raises BadRequest and StoreFailed.
    """
    if isinstance(reference, FileReference):
        return inspect_files(here(expanded(reference.path)))
    there = _stored(reference, quant, file, supply) if supply is not None else None
    if there is not None:
        return inspect_files(there)
    with within(LONGEST_S, f"The header of {reference}") as late:
        plan = Sources(access, Web(access.rules, stop=late)).plan(reference, quant=quant, file=file)
        rules = access.rules
        if isinstance(reference, OllamaReference) and not plan.unasked:
            rules = admitted(rules, reference, late)
        web = Web(rules, stop=late)
        with web.line() as line:
            return inspect_files(PlannedFiles(plan, web, line))


def _stored(reference: Reference, quant: str, file: str, supply: Supply) -> FolderFiles | None:
    try:
        meant = narrowed(reference, quant=quant, file=file)
    except BadReference:  # whoever is asked says what is wrong with it
        return None
    found = supply.here(Source(reference=address(meant), pictures=False))
    if found is None:
        return None
    return here(Path(found.path))


def here(path: Path) -> FolderFiles:
    """A file of this machine, with what is known of it beside it where it was fetched."""
    try:
        said = origin.read(path.parent, path.name)
    except StoreFailed:  # told by whoever reads it, with near names
        said = None
    return FolderFiles(path, said.licence, said.companions) if said is not None else FolderFiles(path)
