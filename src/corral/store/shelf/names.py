"""
What things on a shelf are called, and the memory of that.

A client's name must mean the same weights tomorrow. What has a name keeps it, whatever comes, goes, or is made anew; so
the names that were given are remembered, in a file of their own that outlives every version of the index.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from corral.contracts.fetching import Role
from corral.domain.references import BadReference, FileReference, Reference, mark_of, parse, suggested_name, told_apart
from corral.store.sealed import Sealed
from corral.store.shelf.items import Item

logger = logging.getLogger(__name__)

NAMES: Final = ".names"
_UNUSUAL: Final = re.compile(r"[^A-Za-z0-9._:/@+-]+")
_NUMBER: Final = re.compile(r"-00001-of-\d{5}$")
_LONGEST: Final = 200
_LARGEST: Final = 256 * 1024 * 1024


class Given(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The name that an item was given when it would have liked to be called `wanted`."""

    wanted: str
    name: str


def named(items: Sequence[Item], before: Mapping[str, Given] | None = None) -> list[Item]:
    """
    The items with their names, each another. What had a name `before` keeps it, as long as it wants the same.

    Of the rest that would have one name it goes to what came first, and models go before what belongs to them; the
    others are called by their key. No item is called by the key of another: a word means one model, whether it is read
    as a name or as a key.
    """
    before = before or {}
    keys = {item.key for item in items}
    wanted = {item.key: item.wanted or wanted_name(item.role, item.path.name, item.reference) for item in items}
    names: dict[str, str] = {}
    taken: set[str] = set()

    def take(key: str, name: str) -> bool:
        if name in taken or (name in keys and name != key):
            return False
        taken.add(name)
        names[key] = name
        return True

    order = sorted(items, key=lambda item: (item.role is not Role.MODEL, item.came_at, item.modified_at, item.key))
    for key in (item.key for item in order):
        known = before.get(key)
        if known is not None and known.wanted == wanted[key] and known.name not in taken:
            taken.add(known.name)
            names[key] = known.name  # also where a file came since whose place is called so
    for key in (item.key for item in order if item.key not in names):
        any(take(key, name) for name in _possible(key, wanted[key]))
    return [replace(item, name=names[item.key], wanted=wanted[item.key]) for item in items]


def given(items: Sequence[Item]) -> dict[str, Given]:
    """What is to be remembered of them."""
    return {item.key: Given(item.wanted, item.name) for item in items}


def _possible(key: str, wanted: str) -> Iterator[str]:
    """Names in the order in which they are tried, without end; each follows from the key alone."""
    yield wanted
    plain = model_name(key)
    yield plain
    for number in itertools.count():
        yield _marked(plain, f"{key}\0{number}" if number else key)


def wanted_name(role: Role, file: str, came_by: str) -> str:
    """After the reference that it came by, else after its file."""
    reference: Reference | None = None
    if came_by and role is Role.MODEL:
        with contextlib.suppress(BadReference):
            reference = parse(came_by)
    if reference is None or isinstance(reference, FileReference):
        reference = FileReference(file)
    return suggested_name(reference)[:_LONGEST].rstrip("-._") or "model"


def model_name(key: str) -> str:
    """A name that a Model may have (`domain.names.MODEL_NAME`) for any key."""
    text, apart = told_apart(_NUMBER.sub("", key))
    plain = re.sub(r"^[^A-Za-z0-9]+", "", _UNUSUAL.sub("-", text))[:_LONGEST].rstrip("-./") or "model"
    return _marked(plain, key) if apart else plain


def _marked(name: str, key: str) -> str:
    return f"{name[: _LONGEST - 9].rstrip('-./')}-{mark_of(key)}"


_decoder: Final = msgspec.msgpack.Decoder(dict[str, Given])
_encoder: Final = msgspec.msgpack.Encoder()


def load(root: Path) -> dict[str, Given]:
    """The names that were given in the store at `root`."""
    return _sealed(root).read(_decoder.decode) or {}


def save(root: Path, names: Mapping[str, Given]) -> None:
    """
    Remember them. In a store that cannot be written they follow from what came first alone.

    What cannot be read now may hold the names that others go by: it is not replaced.
    """
    try:
        with contextlib.suppress(FileNotFoundError):
            (root / NAMES).read_bytes()
        _sealed(root).write(_encoder.encode(names))
    except (OSError, ValueError) as error:  # ValueError: a path that is no UTF-8
        logger.debug("the names of what is in %s cannot be remembered: %s", root, error)


def _sealed(root: Path) -> Sealed:
    return Sealed(root / NAMES, "names 1", _LARGEST, lasting=True)
