"""
Where in a store that is what a reference means: where it would go now, or where it was put before.

The hub's names are the same in upper and lower case, so a repository may have been asked for in another spelling; and
folders were once named otherwise. What is there stays where it is, and what comes joins it.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

from corral.contracts.fetching import Plan
from corral.domain.errors import StoreFailed
from corral.domain.references import BadReference, HubReference, WebReference, parse
from corral.store.fetch.disk import Beside
from corral.store.fetch.origin import is_of_address
from corral.store.shelf import origin
from corral.store.shelf.origin import Origin
from corral.store.sources.places import hub_folder, is_old, revision_of, web_place, web_places
from corral.store.sources.web import part_urls

Failed = Callable[[OSError], None]


def hub_folders(root: Path, reference: HubReference, failed: Failed = lambda error: None) -> list[str]:
    """
    The folders below `root` that have what this reference's repository has, its own spelling first.

    `failed` hears of folders that cannot be listed.
    """
    org, _, repo = reference.repo.partition("/")
    own = hub_folder(reference)
    names = {own.rpartition("/")[2].partition("@")[2], reference.revision.replace("/", "--")}
    found = [
        f"hf/{there}/{name}"
        for there in _listed(root / "hf", failed)
        if there.lower() == org.lower()
        for name in _listed(root / "hf" / there, failed)
        if name.partition("@")[0].lower() == repo.lower() and _is_of(name, reference, names)
    ]
    return sorted(found, key=lambda folder: (folder != own, is_old(folder), folder))


def is_of(root: Path, path: str, reference: HubReference) -> bool:
    """Whether a file in one of those is of this revision: a folder that is named as once may have files of two."""
    folder = path.split("/")[2]
    if not is_old(folder):
        return True
    said = _said(root, path)
    try:
        came = parse(said.reference) if said is not None and said.reference else None
    except BadReference:
        came = None
    return (came.revision if isinstance(came, HubReference) else revision_of(folder)) == reference.revision


def addressed(root: Path, reference: WebReference) -> list[str]:
    """
    Where its file may be, below `root`: what came from another address, by http instead of https, is not it.

    What nobody knows anything of is taken where it would be put now, and nowhere else.
    """
    place, *old = web_places(reference.url)
    found = []
    for path in dict.fromkeys((place, *old)):
        said = _said(root, path)
        if is_of_address(said, reference) if said is not None else path == place:
            found.append(path)
    return found


def housed(root: Path, plan: Plan) -> Plan:
    """The plan with its files where this store has the model, has begun it, or has others of its repository."""
    reference, first = plan.reference, plan.files[0].path if plan.files else ""
    if isinstance(reference, HubReference):
        own = hub_folder(reference)
        folders = hub_folders(root, reference) if first.startswith(f"{own}/") else []
        there = next((each for each in folders if _begun(root, each + first.removeprefix(own), reference)), "")
        return _moved(plan, own, there or next((each for each in folders if not is_old(each)), own))
    if isinstance(reference, WebReference) and first == web_place(reference.url):
        there = next((each for each in addressed(root, reference) if os.path.lexists(root / each)), first)
        way = web_places(reference.url).index(there)
        paths = [web_places(url)[way] for url in part_urls(reference.url)]
        files = (dataclasses.replace(each, path=path) for each, path in zip(plan.files, paths, strict=True))
        return dataclasses.replace(plan, files=tuple(files))
    return plan


def _begun(root: Path, path: str, reference: HubReference) -> bool:
    folder, _, name = path.rpartition("/")
    if os.path.lexists(root / path):
        return is_of(root, path, reference)
    return not is_old(path.split("/")[2]) and os.path.lexists(root / folder / Beside.of(name).part)


def _moved(plan: Plan, own: str, there: str) -> Plan:
    if own == there:
        return plan
    files = tuple(dataclasses.replace(each, path=there + each.path.removeprefix(own)) for each in plan.files)
    return dataclasses.replace(plan, files=files)


def _is_of(name: str, reference: HubReference, names: set[str]) -> bool:
    if reference.revision == "main":
        return "@" not in name
    return "@" in name and name.partition("@")[2] in names


def _listed(folder: Path, failed: Failed) -> list[str]:
    """As names are written on the disk, which may take two spellings for one."""
    try:
        return os.listdir(folder)
    except OSError as error:
        failed(error)
        return []


def _said(root: Path, path: str) -> Origin | None:
    try:
        return origin.read(root, path)
    except StoreFailed:
        return None
