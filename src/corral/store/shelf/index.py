"""
What was read of the store's files: kept in the store, so that a list of ten thousand is a walk and one small file.

It follows from the files alone, so it may be lost, damaged or old at any time: whatever has changed since by size or
time is read anew, and a file that could not be read is not in it: that says something of a mode or a disk, to one user
at one time, and nothing of the file.

That is why it is one msgpack file that is replaced as a whole, and no database: readers take no lock, two writers have
each written the whole truth of their own walk, a store on a network disk or one that cannot be written needs nothing
else, and its sum tells when it is damaged. SQLite would add what nobody asks for here, queries
and small writes, and its locks are not to be relied on over NFS.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from corral.contracts.fetching import Role
from corral.domain.errors import StoreFailed, Unreadable
from corral.store.fetch.linked import is_there
from corral.store.files import ModelFiles, resolve
from corral.store.gguf.facts import says
from corral.store.sealed import Sealed
from corral.store.shelf import names
from corral.store.shelf import origin as origins
from corral.store.shelf.items import Item, grouped, reference_of, with_companions
from corral.store.shelf.origin import Origin
from corral.store.shelf.roles import role_by_header
from corral.store.shelf.walk import Seen, Walked, walk

logger = logging.getLogger(__name__)

INDEX: Final = ".index"
CHANGED_LINK: Final = "It is a link to a file that has changed since: remove it, and pull or import it again."
_LARGEST: Final = 256 * 1024 * 1024

Stamp = tuple[str, int, int, int]
"""Path, size, mtime in ns, and that of its origin (0: it has none)."""


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one reading of all parts gave."""

    stamps: tuple[Stamp, ...]
    role: Role = Role.MODEL
    architecture: str = ""
    title: str = ""
    parameters: int | None = None
    quantisation: str = ""
    context_tokens: int | None = None
    licence: str = ""
    width: int | None = None
    kinds: tuple[str, ...] = ()
    problem: str = ""
    origins: tuple[Origin | None, ...] = ()
    reference: str = ""  # these two follow from key and origins
    wanted: str = ""


_decoder: Final = msgspec.msgpack.Decoder(dict[str, Entry])
_encoder: Final = msgspec.msgpack.Encoder()


class Index:
    """The store at `root`. Blocks on the disk; each call stands alone, so threads and processes may share a store."""

    def __init__(self, root: Path, *, read: Callable[[str], ModelFiles] = resolve) -> None:
        self.root, self._read = root, read
        self._prefix = os.path.join(root, "")

    def items(self) -> list[Item]:
        """All that is there now, named, models with what belongs to them. A store that is not there is empty."""
        return self.items_of(walk(self.root))

    def items_of(self, walked: Walked) -> list[Item]:
        """The same of a walk that was made already."""
        known = _load(self.root / INDEX)
        entries: dict[str, Entry] = {}
        passing: set[str] = set()  # what could not be read this time
        changed = False
        seen = {each.path: each for each in walked.models}
        for key, paths in grouped(seen).items():
            stamps = tuple(_stamp(seen[path], walked) for path in paths)
            entry = known.get(key)
            if entry is None or entry.stamps != stamps:
                entry, sure = self._entry(key, stamps, entry)
                passing |= set() if sure else {key}
                changed = changed or sure
            entries[key] = entry
        kept = {key: entry for key, entry in entries.items() if key not in passing}
        if changed or len(kept) != len(known):
            _write(self.root / INDEX, kept)
        items = [self._item(key, entry, seen) for key, entry in entries.items()]
        return self._named(with_companions(items), passing)

    def _named(self, items: list[Item], passing: Collection[str]) -> list[Item]:
        before = names.load(self.root)
        unsure = {key: before[key].wanted for key in passing if key in before}
        items = [replace(item, wanted=unsure.get(item.key, item.wanted)) for item in items] if unsure else items
        found = names.named(items, before)
        if (now := names.given(found)) != before:
            names.save(self.root, now)
        return found

    def _entry(self, key: str, stamps: tuple[Stamp, ...], before: Entry | None) -> tuple[Entry, bool]:
        """What is known of it now, and whether that holds for as long as nothing changes."""
        fresh = before is None or [stamp[:3] for stamp in before.stamps] != [stamp[:3] for stamp in stamps]
        own = tuple(self._origin(stamp[0]) if stamp[3] else None for stamp in stamps)
        changed, sure = False, True
        try:
            if before is None or fresh or before.problem == CHANGED_LINK:
                before = self._read_anew(stamps)  # else only the origins are new
            changed = any(
                said and said.linked and not is_there(self.root / stamp[0])
                for said, stamp in zip(own, stamps, strict=True)
            )
        except Unreadable as error:
            before, sure = Entry(stamps, problem=error.sentence()), False
        reference = reference_of(key, stamps[0][0], own[0])
        role = Role.ADAPTER if own[0] is not None and own[0].role == Role.ADAPTER else before.role
        entry = replace(
            before,
            stamps=stamps,
            role=role,
            problem=before.problem or (CHANGED_LINK if changed else ""),
            licence=next((each.licence for each in own if each and each.licence), before.licence),
            origins=own,
            reference=reference,
            wanted=names.wanted_name(role, stamps[0][0].rpartition("/")[2], reference),
        )
        return entry, sure

    def _read_anew(self, stamps: tuple[Stamp, ...]) -> Entry:
        try:
            if any(stamp[1] < 0 for stamp in stamps):
                raise _leads_nowhere(next(self.root / stamp[0] for stamp in stamps if stamp[1] < 0))
            files = self._read(str(self.root / stamps[0][0]))
        except Unreadable:
            raise
        except StoreFailed as error:
            return Entry(stamps, problem=error.sentence())
        said = says(files.header, files.tensors, size_bytes=files.total_bytes)
        base, sight = said.base, said.projects
        role = role_by_header(files.header)
        return Entry(
            stamps,
            role=role,
            architecture=base.architecture,
            title=base.name,
            parameters=base.parameters,
            quantisation=base.quantisation,
            context_tokens=base.trained_context_tokens,
            licence=base.license,
            width=sight.width if sight is not None else base.embedding_length,
            kinds=sight.kinds if sight is not None else (),
        )

    def _origin(self, path: str) -> Origin | None:
        try:
            return origins.read(self.root, path)
        except StoreFailed:  # a path that none of ours would have
            return None

    def _item(self, key: str, entry: Entry, seen: Mapping[str, Seen]) -> Item:
        return Item(
            key=key,
            files=tuple(f"{self._prefix}{stamp[0]}" for stamp in entry.stamps),
            size_bytes=sum(max(0, stamp[1]) for stamp in entry.stamps),
            modified_at=max(stamp[2] for stamp in entry.stamps) / 1e9,
            role=entry.role,
            architecture=entry.architecture,
            title=entry.title,
            parameters=entry.parameters,
            quantisation=entry.quantisation,
            context_tokens=entry.context_tokens,
            licence=entry.licence,
            width=entry.width,
            kinds=entry.kinds,
            problem=entry.problem,
            origins=entry.origins,
            reference=entry.reference,
            wanted=entry.wanted,
            came_at=_came_at(seen[entry.stamps[0][0]], entry.origins),
        )


def _leads_nowhere(link: Path) -> StoreFailed:
    """What is wrong with a link that the walk could not follow."""
    try:
        status = os.stat(link)
    except FileNotFoundError:
        return StoreFailed("It is a link to a file that is not there.")
    except OSError as error:
        if error.errno == errno.ELOOP:
            return StoreFailed("It is a link that leads in a circle.")
        return Unreadable(
            f"It is a link to what cannot be looked at: {error.strerror or error}.",
            hint="Let the user that Corral runs as read the file and enter the folders above it.",
        )
    if stat.S_ISREG(status.st_mode):
        return Unreadable("It is a link to a file that has come only now.")
    return StoreFailed("It is a link to what is no file.")


def _came_at(seen: Seen, own: Sequence[Origin | None]) -> float:
    """
    When it came here, at the latest. No command sets a file's time of status change back, as `cp -p` does with that of
    its content; when a hash was remembered of what lay here before is not when it came.
    """
    first = own[0] if own else None
    changed_at = seen.changed_ns / 1e9
    return min(first.fetched_at, changed_at) if first is not None and first.fetched_at else changed_at


def _stamp(seen: Seen, walked: Walked) -> Stamp:
    folder, slash, name = seen.path.rpartition("/")
    at = walked.origins.get(f"{folder}{slash}{origins.name_of(name)}", 0)
    return seen.path, seen.size_bytes, seen.mtime_ns, at


def _load(path: Path) -> dict[str, Entry]:
    return _sealed(path).read(_decoder.decode) or {}


def _write(path: Path, entries: dict[str, Entry]) -> None:
    """A store that cannot be written has none."""
    try:
        _sealed(path).write(_encoder.encode(entries))
    except (OSError, ValueError) as error:  # ValueError: a path that is no UTF-8
        logger.debug("what the files of the store say cannot be kept in %s: %s", path, error)


def _sealed(path: Path) -> Sealed:
    return Sealed(path, "shelf 6", _LARGEST)
