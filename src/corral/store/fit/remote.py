"""
Models that are elsewhere: the hub's list says what there is and how large, the header of one file says the rest.

Only headers are read, by ranges. Of the other quantisations of a repository sizes are enough: they have the same shape.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Final

from corral.contracts.fetching import Plan, Role
from corral.domain.errors import FetchFailed, FileMissing
from corral.domain.fleet import ModelSpec
from corral.domain.references import HubReference, OllamaReference, parse
from corral.store.fetch.patience import within
from corral.store.fetch.web import Web
from corral.store.files import names_of_parts, tensors_of
from corral.store.fit.subject import Options, Subject, of_header
from corral.store.gguf.header import Header, TensorInfo
from corral.store.gguf.memory import FileFootprints
from corral.store.inspect.anywhere import LONGEST_S
from corral.store.inspect.remote import PlannedFiles
from corral.store.sources.access import Access
from corral.store.sources.choosing import quants
from corral.store.sources.ollama import admitted
from corral.store.sources.planning import Sources

_LIST_S: Final = 5.0  # what is only good to have is not waited for any longer


def of_reference(
    model: ModelSpec,
    access: Access,
    *,
    options: Options,
    chosen: frozenset[str],
    files: FileFootprints,
    check: Callable[[Header], None],
) -> Subject:
    """
    The Model that a reference names, with what its repository offers; `options` are its own, resolved. `check` is shown
    its header, and may raise.

    Where nobody can be asked, what other programs have is read. Blocks on the network. Raises StoreFailed.
    """
    reference = parse(model.source.reference)
    sources = Sources(access)
    with within(LONGEST_S, f"The header of {reference}") as late:
        plan = Sources(access, Web(access.rules, stop=late)).plan(reference)
        rules = access.rules
        if isinstance(reference, OllamaReference) and not plan.unasked:
            rules = admitted(rules, reference, late)
        web = Web(rules, stop=late)
        with web.line() as line:
            header, tensors = _headers(PlannedFiles(plan, web, line))
    check(header)
    return of_header(
        model.name,
        header,
        tensors,
        options=options,
        chosen=chosen,
        slots=model.slots,
        size_bytes=_size(plan, Role.MODEL),
        beside_bytes=_size(plan, Role.ADAPTER) + (_size(plan, Role.PROJECTOR) if model.source.pictures else 0),
        offered=_offered(sources, reference) if isinstance(reference, HubReference) and not plan.unasked else {},
        files=files,
    )


def offered_beside(reference: str, access: Access) -> Mapping[str, int]:
    """
    Sizes by quantisation of the repository that a model came from which is here; none where nobody tells it soon.

    Blocks on the network.
    """
    meant = parse(reference)
    if not isinstance(meant, HubReference) or access.rules.offline:
        return {}
    try:
        return _offered(Sources(soon(access)), meant)
    except FetchFailed:
        return {}


def soon(access: Access) -> Access:
    """For questions whose answer is only good to have."""
    return dataclasses.replace(access, rules=dataclasses.replace(access.rules, timeout_s=_LIST_S, retries=0))


def _headers(files: PlannedFiles) -> tuple[Header, tuple[TensorInfo, ...]]:
    """Of the first part, and the tensors of all."""
    first = files.header(files.name)
    if first is None:
        raise FileMissing(f"There is no file {files.name}.")
    if first.split is None:
        return first, first.tensors
    names = names_of_parts(files.name, first.split)
    parts = {name: first if name == files.name else files.header(name) for name in names}
    return parts[names[0]] or first, tensors_of(parts, first.split)


def _size(plan: Plan, role: Role) -> int:
    """0 where it is not said: then the tensors say it."""
    return sum(each.size_bytes or 0 for each in plan.files if each.role is role)


def _offered(sources: Sources, reference: HubReference) -> Mapping[str, int]:
    found = quants(sources.repository(reference).files)
    return {name: size for name, size in found.items() if size}
