"""
Models at a place that the operator has named (`source.path`), outside the store: what lies there is his.

Whatever belongs to a model is named after it, so that several live in one folder: `a.gguf`, `a.mmproj.gguf`,
`a.adapter.gguf`, `a.adapter-2.gguf`. Licences and templates are not put there.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable
from itertools import count
from pathlib import Path

from corral.contracts.fetching import Plan, RemoteFile, Role
from corral.domain.errors import BadGguf, FetchRefused, FetchStopped, StoreFailed
from corral.store.fetch.disk import disk_errors, sha256_of
from corral.store.files import part_names
from corral.store.gguf.reader import read_header
from corral.store.shelf import origin
from corral.store.shelf.origin import VERSION, Origin


def placed(plan: Plan, name: str) -> Plan:
    """The plan with the model under this name, and whatever belongs to it named after it. Raises StoreFailed."""
    own = plan.files[0].role
    names = iter(part_names(name))
    models = sum(each.role is own for each in plan.files)
    if len(part_names(name)) != models:
        raise StoreFailed(
            f"{plan.reference} has {models} parts, and {name} is the name of {len(part_names(name))}.",
            hint="Leave source.path out: the store keeps them under their own names.",
        )
    beside = {role: count(1) for role in (Role.PROJECTOR, Role.ADAPTER)}
    files = []
    for each in plan.files:
        if each.role is own:
            files.append(dataclasses.replace(each, path=next(names)))
        elif each.role in beside:
            files.append(dataclasses.replace(each, path=companion(name, each.role, next(beside[each.role]))))
    return dataclasses.replace(plan, files=tuple(files))


def companion(name: str, role: Role, number: int) -> str:
    """What the projector or an adapter of the model of this name is called; the first is number 1."""
    stem = re.sub(r"(?i)(-\d{5}-of-\d{5})?\.gguf$", "", name)
    word = "mmproj" if role is Role.PROJECTOR else "adapter"
    return f"{stem}.{word}{'' if number == 1 else f'-{number}'}.gguf"


def check_free(folder: Path, plan: Plan, stop: Callable[[], bool]) -> None:
    """
    See that nothing is replaced in this folder but what was fetched. Raises FetchRefused, StoreFailed and FetchStopped.

    A file that somebody else has put there and that is the one that would come is vouched for from now on.
    """
    for each in plan.files:
        path = folder / each.path
        with disk_errors(f"{path} cannot be looked at"):
            there = os.path.lexists(path)
        if there:
            _check_ours(path, plan, each, stop)


def _check_ours(path: Path, plan: Plan, file: RemoteFile, stop: Callable[[], bool]) -> None:
    said = origin.read(path.parent, path.name)
    if said is not None and (said.linked or (path.is_file() and path.stat().st_size == said.size)):
        return
    with disk_errors(f"{path} cannot be read"):
        digest = _looked_at(path, file, stop)
    if digest is None:
        raise FetchRefused(
            f"{path} is there, is not what {plan.reference} has, and was not fetched by Corral: it is not replaced.",
            hint="Move it away, or set another source.path.",
        )
    if digest:
        size = path.stat().st_size
        origin.write(
            path.parent, path.name,
            Origin(VERSION, str(plan.reference), "", size, digest, licence=plan.licence, role=file.role.value),
        )  # fmt: skip


def _looked_at(path: Path, file: RemoteFile, stop: Callable[[], bool]) -> str | None:
    """None where it is another file; else its hash where one is known, or ""."""
    if not path.is_file() or file.size_bytes not in (None, path.stat().st_size):
        return None
    if not file.sha256:
        try:
            read_header(path)
        except BadGguf:
            return None
        return ""
    with path.open("rb") as opened:
        digest = sha256_of(opened.fileno(), stop, lambda more: None)
    if not digest:
        raise FetchStopped()
    return digest if digest == file.sha256 else None
