"""
Which items a word means: by name, else by place, reference, path, or the name of its file as it is written.

A word is compared with what is there, and never made a path to anything else.
"""

from __future__ import annotations

import dataclasses
import os
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Final

from corral.contracts.fetching import Role
from corral.domain.errors import Conflict
from corral.domain.names import near_names
from corral.domain.references import (
    BadReference,
    HubReference,
    Reference,
    is_reference,
    means_same,
    parse,
    suggested_name,
)
from corral.store.shelf.items import STORE, Item, key_of
from corral.store.shelf.names import model_name
from corral.store.shelf.pulled import pulled_names
from corral.store.sources.quants import quant_of

_REPOSITORY: Final = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")
_PLACES: Final = ("hf/", "ollama/", "web/", "import/")


def meant(word: str, items: Sequence[Item]) -> list[Item]:
    """All that it may mean by the first of these ways that finds any; models before what goes with them."""
    found = called(word, items) or _of_reference(word, items) or _of_path(word, items)
    return _models(found) or by_file(word, items)


def called(word: str, items: Sequence[Item]) -> list[Item]:
    """What has this name or this place: with `.gguf` or without, by whichever part, or without the number of one."""
    for way in (_of_name, _of_place, _of_plain_place, _of_label, _of_pulled):
        found = way(word, items)
        if found:
            return found
    return []


def by_file(word: str, items: Sequence[Item]) -> list[Item]:
    """What has a file of this name, in whatever letters: with `.gguf` or without, without the number of a part."""
    wanted = _plain_file(word)
    return _models([item for item in items if _plain_file(item.path.name) == wanted])


def only(word: str, found: Sequence[Item]) -> Item:
    """The one that is meant. Raises Conflict where it may be any of several."""
    if len(found) > 1:
        some = ", ".join(sorted(item.name for item in found))
        raise Conflict(f"{word!r} may be any of {some}.", hint="Say which by its name.")
    return found[0]


def near(word: str, items: Sequence[Item]) -> str:
    """Which names and places of the store it looks like: a sentence, "" where it is like none."""
    found = near_names(re.sub(r"(?i)\.gguf$", "", word), [item.name for item in items if item.role is Role.MODEL])
    found = found or near_names(word, [each for item in items for each in (item.name, model_name(item.key))])
    return f"The store has {' and '.join(map(repr, found))}." if found else ""


def advice(word: str, items: Sequence[Item]) -> str:
    """What else could be meant by a word that means nothing here."""
    if found := near(word, items):
        return found
    if is_reference(word):
        return "`corral models pull` fetches what a reference names."
    if _REPOSITORY.fullmatch(word) and not word.startswith(_PLACES) and _parsed(f"hf.co/{word}"):
        return f"Did you mean hf.co/{word}?"
    return "`corral models list` shows what is there; hf.co/ORG/REPO is elsewhere."


def _of_name(word: str, items: Sequence[Item]) -> list[Item]:
    return [item for item in items if item.name == word]


def _of_place(word: str, items: Sequence[Item]) -> list[Item]:
    return [item for item in items if word == item.key] or [item for item in items if key_of(word) == item.key]


def _of_plain_place(word: str, items: Sequence[Item]) -> list[Item]:
    """As clients call it: no number of a part, and nothing that no name may have."""
    return [item for item in items if item.place == STORE and model_name(item.key) == word]


def _of_label(word: str, items: Sequence[Item]) -> list[Item]:
    """As the lines of its fetch call it."""
    mine = [item for item in items if item.place == STORE and item.role is Role.MODEL and item.reference]
    return [item for item in mine if _label(item) == word]


def _of_pulled(word: str, items: Sequence[Item]) -> list[Item]:
    """As Ollama's clients call it; what is a reference is read as one."""
    if is_reference(word):
        return []
    usable = (item for item in items if item.place == STORE and item.role is Role.MODEL and not item.problem)
    names = pulled_names(sorted(usable, key=lambda item: item.name))
    return [item for item in items if word in names.get(item.key, ())]


def _label(item: Item) -> str:
    reference = _parsed(item.reference)
    if isinstance(reference, HubReference) and not reference.file and not reference.quant:
        reference = dataclasses.replace(reference, quant=quant_of(item.path.name))
    return suggested_name(reference) if reference is not None else item.name


def _of_path(word: str, items: Sequence[Item]) -> list[Item]:
    """By whichever part."""
    if "\0" in word:
        return []
    folder, file = os.path.split(os.path.expanduser(word).rstrip("/"))
    file = file.removesuffix(".gguf")
    of_all = ((item, *os.path.split(path)) for item in items for path in item.files)
    same = [(item, its) for item, its, name in of_all if name.removesuffix(".gguf") == file]
    folder = os.path.realpath(folder) if same else ""  # the store, or a folder on the way to it, may be a link
    return list({item.key: item for item, its in same if os.path.realpath(its) == folder}.values())


def _models(found: list[Item]) -> list[Item]:
    return [each for each in found if each.role is Role.MODEL] or found


def _plain_file(name: str) -> str:
    stem = re.sub(r"(?i)(-00001-of-\d{5})?\.gguf$", "", unicodedata.normalize("NFC", name))
    return stem.casefold()


def _of_reference(word: str, items: Sequence[Item]) -> list[Item]:
    """However it is written; a repository is all that is here of it, less what its quantisation or file leaves out."""
    wanted = _parsed(word) if is_reference(word) else None
    if wanted is None:
        return []
    said = [(item, _parsed(item.reference)) for item in items]
    exact = [item for item in items if any(means_same(text, wanted) for text in (item.reference, *_asked(item)))]
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


def _asked(item: Item) -> tuple[str, ...]:
    first = item.origins[0] if item.origins else None
    return first.asked if first is not None else ()


def _parsed(text: str) -> Reference | None:
    try:
        return parse(text) if text else None
    except BadReference:
        return None
