"""Names for a fetched model that never change, whatever quantisation or repository stands behind them."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from corral.contracts.fetching import Fetched, Role
from corral.domain.errors import StoreFailed
from corral.store.files import part_paths


def link_model(link: Path, fetched: Fetched) -> list[Path]:
    """
    Links to a model's files: `link` to the first, all parts of a split one under their numbers, the projector beside.

    That is `mmproj.gguf` for `model.gguf`, and `NAME.mmproj.gguf` for any other; what an earlier model has left goes.
    Each is relative and takes its place in one step; what is right already is left alone. A file that stands where a
    link should be is not replaced. Raises StoreFailed.
    """
    link = Path(os.path.abspath(link))
    wanted = {link: fetched.model}
    parts = part_paths(fetched.model)
    stem = re.sub(r"(?i)\.gguf$", "", link.name)
    eye = link.with_name("mmproj.gguf" if stem == "model" else f"{stem}.mmproj.gguf")
    if len(parts) > 1:
        for number, part in enumerate(parts, 1):
            wanted[link.with_name(f"{stem}-{number:05d}-of-{len(parts):05d}.gguf")] = part
    for path, file in zip(fetched.paths, fetched.plan.files, strict=True):
        if file.role is Role.PROJECTOR and path != fetched.model:
            wanted[eye] = path
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        for name, target in reversed(wanted.items()):  # the one that an engine is given comes last
            _link(name, target)
        numbered = re.compile(rf"{re.escape(stem)}-\d{{5}}-of-\d{{5}}\.gguf")
        for each in sorted(link.parent.iterdir()):
            if (
                each not in wanted
                and (each == eye or numbered.fullmatch(each.name))
                and _leads_into(_root(fetched), each)
            ):
                each.unlink()
    except OSError as error:
        where = error.filename2 or error.filename or link
        raise StoreFailed(f"The link {where} cannot be made: {error.strerror}.", hint="Check its folder.") from error
    return list(wanted)


def _root(fetched: Fetched) -> Path:
    """The store's folder."""
    return fetched.paths[0].parents[fetched.plan.files[0].path.count("/")]


def _leads_into(root: Path, name: Path) -> bool:
    if not name.is_symlink():
        return False
    target = os.path.join(os.path.realpath(name.parent), os.readlink(name))
    return Path(os.path.normpath(target)).is_relative_to(os.path.abspath(root))


def _link(name: Path, target: Path) -> None:
    points_to = os.path.relpath(os.path.abspath(target), os.path.realpath(name.parent))
    if name.is_symlink():
        if os.readlink(name) == points_to:
            return
    elif name.exists():
        raise StoreFailed(f"{name} is there and is no link.", hint="Move it away, or choose another --link.")
    fresh = name.with_name(f".{name.name[:200]}.{secrets.token_hex(4)}")
    os.symlink(points_to, fresh)
    try:
        os.replace(fresh, name)
    except BaseException:
        os.unlink(fresh)
        raise
