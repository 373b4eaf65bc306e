"""Names for a fetched model that never change, whatever quantisation or repository stands behind them."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from corral.contracts.fetching import Fetched, Role
from corral.domain.errors import StoreFailed
from corral.store.files import part_paths

_LONGEST: Final = 200  # of a name; what makes it another comes after
_UNFINISHED_S: Final = 60.0  # a link on its way to its name is there for a moment only


def link_model(link: Path, fetched: Fetched) -> list[Path]:
    """
    Links to a model's files: `link` to the first, all parts of a split one under their numbers, the projector beside.

    That is `mmproj.gguf` for `model.gguf`, and `NAME.mmproj.gguf` for any other; what an earlier model has left goes.
    Each is relative and takes its place in one step; what is right already is left alone. A file that stands where a
    link should be is not replaced. Raises StoreFailed.
    """
    wanted = _wanted(link, fetched)
    link = next(iter(wanted))
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        for name, target in reversed(wanted.items()):  # the one that an engine is given comes last
            _link(name, target)
        for each in sorted(link.parent.iterdir()):
            with contextlib.suppress(FileNotFoundError):  # who makes the same links removes the same ones
                if _is_left(each, link, wanted) and _leads_into(_root(fetched), each):
                    each.unlink()
    except OSError as error:
        where = error.filename2 or error.filename or link
        raise StoreFailed(f"The link {where} cannot be made: {error.strerror}.", hint="Check its folder.") from error
    return list(wanted)


def check_links(link: Path, fetched: Fetched) -> None:
    """
    Whether they can be made, of files that need not be there yet: so that it is known before they are fetched.

    Raises StoreFailed.
    """
    wanted = _wanted(link, fetched)
    for name in wanted:
        if not name.is_symlink() and os.path.lexists(name):
            raise _in_the_way(name)
    if all(_is_right(name, target) for name, target in wanted.items()):
        return  # a second run changes nothing, and needs no leave to
    folder = next(iter(wanted)).parent
    there = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        why = "this user may not write to it" if there.is_dir() else "it is no folder"
        raise StoreFailed(f"Links in {folder} cannot be made: {there}: {why}.", hint="Choose another --link.")


def _is_right(name: Path, target: Path) -> bool:
    try:
        return os.readlink(name) == _way(name, target)
    except OSError:
        return False


def _wanted(link: Path, fetched: Fetched) -> dict[Path, Path]:
    """What each link leads to; `link` comes first. Raises StoreFailed where its name is that of another part."""
    link = Path(os.path.abspath(link))
    wanted = {link: fetched.model}
    parts = part_paths(fetched.model)
    if len(parts) > 1:
        numbered = [link.with_name(f"{_stem(link)}-{n:05d}-of-{len(parts):05d}.gguf") for n in range(1, len(parts) + 1)]
        if part_paths(link) != (link,) and link != numbered[0]:
            raise StoreFailed(
                f"{link} has a number that is not that of part 1 of {len(parts)}.",
                hint=f"Leave the number out: {link.with_name(_stem(link))}.gguf.",
            )
        wanted |= dict(zip(numbered, parts, strict=True))
    for path, file in zip(fetched.paths, fetched.plan.files, strict=True):
        if file.role is Role.PROJECTOR and path != fetched.model:
            wanted[_eye(link)] = path
    return wanted


def _stem(link: Path) -> str:
    """What all links of one model begin with: without the ending, and without the number of a part."""
    return re.sub(r"-\d{5}-of-\d{5}$", "", re.sub(r"(?i)\.gguf$", "", link.name))


def _eye(link: Path) -> Path:
    stem = _stem(link)
    return link.with_name("mmproj.gguf" if stem == "model" else f"{stem}.mmproj.gguf")


def _is_left(each: Path, link: Path, wanted: Mapping[Path, Path]) -> bool:
    """Of an earlier model, or of a command that was killed between two steps."""
    if each in wanted:
        return False
    if each == _eye(link) or re.fullmatch(rf"{re.escape(_stem(link))}-\d{{5}}-of-\d{{5}}\.gguf", each.name):
        return True
    unfinished = re.fullmatch(r"\.(.+)\.[0-9a-f]{8}", each.name)
    ours = unfinished is not None and any(unfinished[1] == name.name[:_LONGEST] for name in wanted)
    return ours and time.time() - each.lstat().st_mtime > _UNFINISHED_S


def _root(fetched: Fetched) -> Path:
    """The store's folder."""
    return fetched.paths[0].parents[fetched.plan.files[0].path.count("/")]


def _leads_into(root: Path, name: Path) -> bool:
    if not name.is_symlink():
        return False
    target = os.path.join(os.path.realpath(name.parent), os.readlink(name))
    return Path(os.path.normpath(target)).is_relative_to(os.path.abspath(root))


def _link(name: Path, target: Path) -> None:
    points_to = _way(name, target)
    try:
        if os.readlink(name) == points_to:
            return
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno != errno.EINVAL:  # which means that it is no link
            raise
        raise _in_the_way(name) from None
    fresh = name.with_name(f".{name.name[:_LONGEST]}.{secrets.token_hex(4)}")
    os.symlink(points_to, fresh)
    try:
        os.replace(fresh, name)
    except BaseException:
        os.unlink(fresh)
        raise


def _way(name: Path, target: Path) -> str:
    """From the link to where it leads."""
    return os.path.relpath(os.path.abspath(target), os.path.realpath(name.parent))


def _in_the_way(name: Path) -> StoreFailed:
    return StoreFailed(f"{name} is there and is no link.", hint="Move it away, or choose another --link.")
