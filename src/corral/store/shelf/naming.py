"""
Which items a word means: by name, else by key, else by path, else by reference. Pure.

A word is compared with what is there, and never made a path of.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from corral.contracts.fetching import Role
from corral.domain.references import BadReference, HubReference, Reference, is_reference, parse
from corral.store.shelf.items import Item, key_of
from corral.store.sources.quants import quant_of


def meant(word: str, items: Sequence[Item]) -> list[Item]:
    """All that it may mean by the first of these ways that finds any; models before what goes with them."""
    for way in (_of_name, _of_key, _of_path, _of_reference):
        found = way(word, items)
        if found:
            return [each for each in found if each.role is Role.MODEL] or found
    return []


def _of_name(word: str, items: Sequence[Item]) -> list[Item]:
    return [item for item in items if item.name == word]


def _of_key(word: str, items: Sequence[Item]) -> list[Item]:
    return [item for item in items if item.key == word]


def _of_path(word: str, items: Sequence[Item]) -> list[Item]:
    """Below the store or absolute, with `.gguf` or without, by whichever part."""
    wanted = word.removesuffix(".gguf")
    return [
        item
        for item in items
        if item.key == key_of(word) or any(wanted == os.fspath(path).removesuffix(".gguf") for path in item.paths)
    ]


def _of_reference(word: str, items: Sequence[Item]) -> list[Item]:
    """However it is written; a repository is all that is here of it, less what its quantisation or file leaves out."""
    wanted = _parsed(word) if is_reference(word) else None
    if wanted is None:
        return []
    said = [(item, _parsed(item.reference)) for item in items]
    exact = [item for item, reference in said if reference == wanted]
    if exact or not isinstance(wanted, HubReference):
        return exact
    fits = _fitting(wanted)
    return [
        item
        for item, reference in said
        if isinstance(reference, HubReference)
        and (reference.repo.lower(), reference.revision) == (wanted.repo.lower(), wanted.revision)
        and fits(item)
    ]


def _fitting(wanted: HubReference) -> Callable[[Item], bool]:
    if wanted.file:
        key = key_of(wanted.file)
        return lambda item: f"/{item.key}".endswith(f"/{key}") or item.path.name == wanted.file
    return lambda item: not wanted.quant or quant_of(item.path.name).upper() == wanted.quant


def _parsed(text: str) -> Reference | None:
    try:
        return parse(text) if text else None
    except BadReference:
        return None
