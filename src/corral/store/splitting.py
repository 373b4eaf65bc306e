"""
Cutting a model file into parts, and joining parts: llama.cpp's own llama-gguf-split does it, this sees that it did.

The tool writes into a hidden folder beside the result; what it wrote is read and compared with what it was given, and
only then gets its name. So there is a whole result or none, whatever ends the tool. The original stays as it is.
The tool ends with us, whatever ends us; the folder that a killed command leaves is removed by the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from corral.domain.errors import BadGguf, NoSpace, PlaceFailed, StoreFailed
from corral.domain.units import format_bytes
from corral.kit import guarded
from corral.store.files import ModelFiles, resolve
from corral.store.gguf.header import Header, TensorInfo

TOOL: Final = "llama-gguf-split"
SLOWEST_PER_S: Final = 5_000_000  # bytes: a disk that is slower counts as one that hangs
_LEAST_S: Final = 60.0
_MEGABYTE: Final = 1_000_000  # the tool's own M
_LAST_LINES: Final = 3
_HIDDEN: Final = ".corral-split-"  # and the number of the process
_PARTS: Final = re.compile(r"-\d{5}-of-\d{5}$")


def find_tool(
    given: str = "", *, servers: Sequence[str] = (), which: Callable[[str], str | None] = shutil.which
) -> Path:
    """
    The tool that was `given`, else that on PATH, else one beside a llama-server: `servers`, or that on PATH.

    Raises PlaceFailed where there is none.
    """
    if given:
        found = which(os.path.expanduser(given))
        if found is None:
            raise PlaceFailed(f"There is no program {given}.", hint=f"Name llama.cpp's {TOOL} with --tool.")
        return Path(os.path.abspath(found))
    found = which(TOOL)
    if found is not None:
        return Path(os.path.abspath(found))
    for server in (*servers, "llama-server"):
        there = which(os.path.expanduser(server))
        for path in (Path(there), Path(there).resolve()) if there else ():
            if os.access(path.with_name(TOOL), os.X_OK):
                return path.with_name(TOOL)
    raise PlaceFailed(
        f"{TOOL} is not here: neither on PATH nor beside a llama-server.",
        hint="It comes with llama.cpp's programs; name it with --tool.",
    )


def split(path: Path, folder: Path, most_bytes: int, tool: Path) -> list[Path]:
    """
    Cut one file into parts of at most `most_bytes` (a tensor is never cut) in `folder`; returns them, part 1 first.

    Raises StoreFailed.
    """
    whole = resolve(path)
    if whole.header.split is not None:
        raise StoreFailed(f"{path.name} is a part of a split model already.", hint="Join its parts first.")
    if most_bytes < _MEGABYTE:
        raise StoreFailed(f"Parts of {format_bytes(most_bytes)} are too small.", hint="Allow at least 1 MB.")
    if most_bytes >= whole.total_bytes:
        raise StoreFailed(f"{path.name} has {format_bytes(whole.total_bytes)}: that is one part of that size.")
    stem = _PARTS.sub("", path.stem)
    _refuse_taken([each for each in _listed(folder) if _PARTS.sub("", each.stem) == stem and _PARTS.search(each.stem)])
    with _place(folder, whole.total_bytes) as place:
        size = f"{most_bytes // _MEGABYTE}M"
        _run([str(tool), "--split", "--split-max-size", size, str(path), str(place / stem)], whole.total_bytes)
        made = sorted(place.glob("*.gguf"))
        return _keep(made, whole, folder, tool)


def merge(first: Path, target: Path, tool: Path) -> Path:
    """Join all parts of the model of which `first` is one; returns the file. Raises StoreFailed."""
    parts = resolve(first)
    if parts.header.split is None:
        raise StoreFailed(f"{first.name} is no part of a split model.", hint="There is nothing to join.")
    _refuse_taken([target])
    with _place(target.parent, parts.total_bytes) as place:
        _run([str(tool), "--merge", str(parts.path), str(place / target.name)], parts.total_bytes)
        return _keep([place / target.name], parts, target.parent, tool)[0]


@contextlib.contextmanager
def _place(folder: Path, needed_bytes: int) -> Iterator[Path]:
    """A hidden folder for the result; gone afterwards."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _clean(folder)
        free = shutil.disk_usage(folder).free
        if free < needed_bytes:
            raise NoSpace(
                f"{folder} has {format_bytes(free)} free, {format_bytes(needed_bytes)} are needed.",
                hint="Free some, or choose another folder.",
            )
        place = Path(tempfile.mkdtemp(prefix=f"{_HIDDEN}{os.getpid()}-", dir=folder))
    except OSError as error:
        raise StoreFailed(f"{folder} cannot be written to: {error.strerror or error}.") from error
    try:
        yield place
    except OSError as error:
        raise StoreFailed(f"{error.filename or folder} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _clean(folder: Path) -> None:
    """Remove what a process left that is no more. Raises OSError."""
    for each in _listed(folder):
        number, dash, _ = each.name.removeprefix(_HIDDEN).partition("-")
        if each.name.startswith(_HIDDEN) and dash and number.isdecimal() and not _runs(int(number)):
            shutil.rmtree(each, ignore_errors=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def _listed(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _run(argv: list[str], n_bytes: int) -> None:
    name, deadline_s = Path(argv[0]).name, _LEAST_S + n_bytes / SLOWEST_PER_S
    try:
        code, said = asyncio.run(guarded.output(argv, env=os.environ, deadline_s=deadline_s))
    except TimeoutError:
        raise StoreFailed(f"{name} did not end in time.", hint="Is the disk slow, or gone?") from None
    except OSError as error:
        raise PlaceFailed(
            f"{argv[0]} cannot be run: {error.strerror or error}.", hint=f"Name llama.cpp's {TOOL} with --tool."
        ) from error
    if code != 0:
        last = said.strip().splitlines()[-_LAST_LINES:]
        raise StoreFailed(f"{name} failed ({code}): {' / '.join(last) or 'it said nothing'}.")


def _refuse_taken(targets: Sequence[Path]) -> None:
    for target in targets:
        if os.path.lexists(target):
            raise StoreFailed(f"{target} is there already.", hint="Remove it, or choose another place.")


def _keep(made: Sequence[Path], given: ModelFiles, folder: Path, tool: Path) -> list[Path]:
    """Compare what was made with what was given, and name it; part 1 comes last, so that a set with it is whole."""
    targets = [folder / each.name for each in made]
    _refuse_taken(targets)
    if not made or not _same(given, resolve(made[0])):
        raise BadGguf(f"What {tool.name} wrote is not the model that it was given; it was not kept.")
    for each in made:
        with each.open("rb") as file:
            os.fsync(file.fileno())
    for each, target in reversed(list(zip(made, targets, strict=True))):
        each.rename(target)
    return targets


def _same(one: ModelFiles, other: ModelFiles) -> bool:
    """The same metadata and tensors, however they are spread over files."""
    return _metadata(one.header) == _metadata(other.header) and _tensors(one.tensors) == _tensors(other.tensors)


def _metadata(header: Header) -> dict[str, object]:
    return {key: value for key, value in header.metadata.items() if not key.startswith("split.")}


def _tensors(tensors: Sequence[TensorInfo]) -> set[tuple[object, ...]]:
    return {(each.name, each.type, each.shape, each.n_bytes) for each in tensors}
