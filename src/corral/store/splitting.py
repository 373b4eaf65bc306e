"""
Cutting a model file into parts, and joining parts: llama.cpp's own llama-gguf-split does it, this sees that it did.

The tool writes into a hidden folder beside the result; what it wrote is read and compared with what it was given, and
only then gets its name. So there is a whole result or none, whatever ends the tool. The original stays as it is.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from corral.domain.errors import BadGguf, NoSpace, PlaceFailed, StoreFailed
from corral.domain.units import format_bytes
from corral.store.files import ModelFiles, resolve
from corral.store.gguf.header import Header, TensorInfo

TOOL: Final = "llama-gguf-split"
SLOWEST_PER_S: Final = 5_000_000  # bytes: a disk that is slower counts as one that hangs
_LEAST_S: Final = 60.0
_MEGABYTE: Final = 1_000_000  # the tool's own M
_LAST_LINES: Final = 3
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
        return Path(found)
    found = which(TOOL)
    if found is not None:
        return Path(found)
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
    with _place(folder, whole.total_bytes) as place:
        stem = _PARTS.sub("", path.stem)
        size = f"{most_bytes // _MEGABYTE}M"
        _run([str(tool), "--split", "--split-max-size", size, str(path), str(place / stem)], place, whole.total_bytes)
        made = sorted(place.glob("*.gguf"))
        return _keep(made, whole, folder, tool)


def merge(first: Path, target: Path, tool: Path) -> Path:
    """Join all parts of the model of which `first` is one; returns the file. Raises StoreFailed."""
    parts = resolve(first)
    if parts.header.split is None:
        raise StoreFailed(f"{first.name} is no part of a split model.", hint="There is nothing to join.")
    with _place(target.parent, parts.total_bytes) as place:
        _run([str(tool), "--merge", str(parts.path), str(place / target.name)], place, parts.total_bytes)
        return _keep([place / target.name], parts, target.parent, tool)[0]


@contextlib.contextmanager
def _place(folder: Path, needed_bytes: int) -> Iterator[Path]:
    """A hidden folder for the result; gone afterwards."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < needed_bytes:
            raise NoSpace(
                f"{folder} has {format_bytes(free)} free, {format_bytes(needed_bytes)} are needed.",
                hint="Free some, or choose another folder.",
            )
        place = Path(tempfile.mkdtemp(prefix=".corral-split-", dir=folder))
    except OSError as error:
        raise StoreFailed(f"{folder} cannot be written to: {error.strerror or error}.") from error
    try:
        yield place
    except OSError as error:
        raise StoreFailed(f"{error.filename or folder} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _run(argv: list[str], place: Path, n_bytes: int) -> None:
    log = place / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        code = process.wait(timeout=_LEAST_S + n_bytes / SLOWEST_PER_S)
    except subprocess.TimeoutExpired:
        raise StoreFailed(f"{Path(argv[0]).name} did not end in time.", hint="Is the disk slow, or gone?") from None
    finally:  # Ctrl-C as well
        process.kill()
        process.wait()
    if code != 0:
        said = log.read_text("utf-8", "replace").strip().splitlines()[-_LAST_LINES:]
        raise StoreFailed(f"{Path(argv[0]).name} failed ({code}): {' / '.join(said) or 'it said nothing'}.")


def _keep(made: Sequence[Path], given: ModelFiles, folder: Path, tool: Path) -> list[Path]:
    """Compare what was made with what was given, and name it; part 1 comes last, so that a set with it is whole."""
    targets = [folder / each.name for each in made]
    for target in targets:
        if target.exists():
            raise StoreFailed(f"{target} is there already.", hint="Remove it, or choose another place.")
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
