"""
What other programs have of the model that a reference means, where nobody can be asked: chosen by the same rules.

All files of one model are taken from one folder: what two programs have was perhaps not uploaded together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from corral.contracts.fetching import Plan, RemoteFile, Role
from corral.domain.errors import NotThere, WrongContent
from corral.domain.references import HubReference, OllamaReference, Reference, WebReference
from corral.store.shelf.caches import llamacpp
from corral.store.shelf.caches.cached import Cached
from corral.store.shelf.caches.finding import Caches
from corral.store.sources.choosing import choose, role_of
from corral.store.sources.listing import ListedFile, part_of, sibling
from corral.store.sources.ollama import layer_name
from corral.store.sources.places import hub_place, ollama_place, web_place
from corral.store.sources.web import part_urls


def plan_of_caches(caches: Caches, reference: Reference, *, quant: str = "", file: str = "") -> Plan | None:
    """
    A plan whose files are on this machine: their addresses are `file:` ones. None where not all of them are.

    `sha256` is what the program says that a file has. Blocks on the disk.
    """
    if isinstance(reference, HubReference):
        return _of_hub(caches, reference, quant or reference.quant, file or reference.file)
    if isinstance(reference, OllamaReference):
        return _of_registry(caches, reference)
    if isinstance(reference, WebReference):
        return _of_address(caches, reference)
    return None


def local_path(file: RemoteFile) -> Path | None:
    """Where a file of a plan lies on this machine; None where it has to be fetched."""
    parts = urlsplit(file.url)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else None


def _here(each: Cached, place: str, role: Role) -> RemoteFile:
    return RemoteFile(each.path.absolute().as_uri(), place, role, each.size_bytes, each.sha256)


def _of_hub(caches: Caches, reference: HubReference, quant: str, file: str) -> Plan | None:
    for scanned in caches.by_folder():
        there = _of_repository(scanned, reference, file)
        listed = [ListedFile(path, each.size_bytes, each.sha256) for path, each in there.items()]
        try:
            chosen = choose(listed, quant="" if file else quant, file=file, where=str(reference))
            files = [_here(there[each.path], hub_place(reference, each.path), chosen.model.role)
                     for each in chosen.model.files]  # fmt: skip
            if chosen.projector is not None:
                path = chosen.projector.path
                files.append(_here(there[path], hub_place(reference, path), Role.PROJECTOR))
        except (NotThere, WrongContent):  # not in this folder; or by a name that no file here can have
            continue
        if file:
            meant = dataclasses.replace(reference, quant="", file=chosen.model.files[0].path)
        else:
            meant = dataclasses.replace(reference, quant=chosen.model.quant if quant else "")
        return Plan(meant, tuple(files))
    return None


def _of_repository(scanned: Iterable[Cached], wanted: HubReference, file: str) -> dict[str, Cached]:
    """By their paths in the repository. A flat name alone is believed only where it is asked for by its file."""
    found: dict[str, Cached] = {}
    by_path: dict[Path, Cached] = {}
    for each in scanned:
        by_path[each.path] = each
        known = each.reference
        if isinstance(known, HubReference):
            if (known.repo.lower(), known.revision) == (wanted.repo.lower(), wanted.revision):
                found.setdefault(known.file, each)
        elif known is None and file and each.path.name == llamacpp.flat_name(wanted.repo, file):
            found.setdefault(file, each)
    return found | _later_parts(found, by_path)


def _later_parts(found: dict[str, Cached], by_path: dict[Path, Cached]) -> dict[str, Cached]:
    """What llama.cpp's old folder says of a split model is of part 1 alone; the others have their names from it."""
    more: dict[str, Cached] = {}
    for path, each in found.items():
        part, there = part_of(path), part_of(each.path.name)
        if part is None or there is None or part.count != there.count:
            continue
        for number in range(1, part.count + 1):
            beside = by_path.get(each.path.with_name(sibling(each.path.name, number)))
            if beside is not None and sibling(path, number) not in found:
                more[sibling(path, number)] = beside
    return more


def _of_registry(caches: Caches, reference: OllamaReference) -> Plan | None:
    layers = caches.layers(reference)
    counts: dict[Role, int] = {}
    files = []
    for each in layers:
        counts[each.role] = counts.get(each.role, 0) + 1
        name = layer_name(each.role, counts[each.role])
        files.append(_here(each, ollama_place(reference, name), each.role))
    files.sort(key=lambda each: list(Role).index(each.role))
    return Plan(reference, tuple(files)) if counts.get(Role.MODEL) == 1 else None


def _of_address(caches: Caches, reference: WebReference) -> Plan | None:
    there: dict[str, Cached] = {}
    for scanned in caches.by_folder():
        for each in scanned:
            if isinstance(each.reference, WebReference):
                there.setdefault(each.reference.url, each)
    files = []
    for url in part_urls(reference.url):
        if url not in there:
            return None
        place = web_place(url)
        role = role_of(place)
        files.append(_here(there[url], place, Role.MODEL if role is Role.OTHER else role))
    return Plan(reference, tuple(files))
