"""
Which files of a repository make the model that is meant: decided from their names and sizes alone.

A repository has one model in many quantisations, each a file or some parts, often a projector for pictures, and
things that only look like models (importance matrices, draft heads, vocabularies). What is not clear is an error that
lists what there is: a guess would cost an hour of download.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from corral.contracts.fetching import Role
from corral.domain.errors import NotThere
from corral.store.sources.listing import ListedFile, part_of, shown_size, sibling, total
from corral.store.sources.quants import normal, quant_of, rank, same

SHOWN: Final = 40  # choices in a message
LOST_SHOWN: Final = 3  # parts that are not there, of the one that was meant
_BY_FILE: Final = "Say which: --file NAME, or as Ollama's clients do, hf.co/ORG/REPO:NAME."

_IMATRIX: Final = re.compile(r"(?i)^imatrix|[-_.]imatrix$")
_VOCABULARY: Final = re.compile(r"(?i)^ggml-vocab-")
_PROJECTOR: Final = re.compile(r"(?i)(^|[-_.])mmproj([-_.]|$)")
_DRAFT: Final = re.compile(r"(?i)^(mtp|dspark|dflash|eagle3?)[-_.]")
_ADAPTER: Final = re.compile(r"(?i)^(lora|adapter)([-_.]|$)|[-_.](lora|adapter)([-_.](bf16|f16|f32|q8_0))?$")
PROJECTORS: Final = ("F16", "BF16", "Q8_0", "F32")


@dataclass(frozen=True, slots=True)
class Choice:
    """One thing that may be meant: a file, or all parts of one, in their order."""

    name: str  # a path without its numbers
    quant: str
    files: tuple[ListedFile, ...]
    parts: int = 1  # as many as its names say that there are
    role: Role = Role.MODEL

    @property
    def whole(self) -> bool:
        """Whether the repository has all parts. Told by their number: anybody may claim to have a hundred thousand."""
        return len(self.files) == self.parts

    @property
    def lost(self) -> Iterator[str]:
        """The names of the parts that it does not have."""
        first, there = self.files[0].path, {part.number for each in self.files if (part := part_of(each.path))}
        return (sibling(first, number).rpartition("/")[2] for number in range(1, self.parts + 1) if number not in there)

    @property
    def size_bytes(self) -> int | None:
        """Of all parts; None where it is not known."""
        return total(self.files)

    @property
    def shown(self) -> str:
        """For lists."""
        parts = f", {len(self.files)} parts" if len(self.files) > 1 else ""
        lost = "" if self.whole else ", not complete"
        return f"{self.name} ({shown_size(self.size_bytes)}{parts}{lost})"


@dataclass(frozen=True, slots=True)
class Chosen:
    """A model, and the projector that belongs to it."""

    model: Choice
    projector: ListedFile | None = None
    by_file: bool = False  # and not by its quantisation


def role_of(path: str) -> Role:
    """What a file is for, by its name. OTHER is never taken for a model."""
    name = path.rpartition("/")[2]
    stem = re.sub(r"(?i)(-\d{5}-of-\d{5})?\.gguf$", "", name)
    if stem == name and not name.lower().endswith(".gguf"):
        return Role.OTHER
    if _PROJECTOR.search(stem):
        return Role.PROJECTOR
    if _VOCABULARY.search(stem) or _DRAFT.search(stem) or _IMATRIX.search(stem):
        return Role.OTHER
    if "imatrix" in stem.lower() and not quant_of(name):
        return Role.OTHER
    return Role.ADAPTER if _ADAPTER.search(stem) else Role.MODEL


def choices(files: Iterable[ListedFile]) -> tuple[Choice, ...]:
    """All models, those first that would be taken sooner; adapters where there is nothing else."""
    by_role: dict[Role, dict[str, list[ListedFile]]] = {}
    for each in files:
        part = part_of(each.path)
        name = f"{part.stem}.gguf" if part else each.path
        key = f"{name}:{part.count}" if part else name  # a whole one may lie beside its parts
        by_role.setdefault(role_of(each.path), {}).setdefault(key, []).append(each)
    for role in (Role.MODEL, Role.ADAPTER):
        if role in by_role:
            found = [_choice(each, role) for each in by_role[role].values()]
            return tuple(sorted(found, key=lambda each: (rank(each.quant), len(each.files), each.name)))
    return ()


def choose(files: Sequence[ListedFile], *, quant: str = "", file: str = "", where: str) -> Chosen:
    """
    What is meant. `where` names the repository in messages. Raises NotThere.

    Without `quant` and `file` the usual quantisation is taken, and one that is there in two models is not clear.
    """
    if file:
        model = _by_file(files, file, where)
    else:
        there = choices(files)
        if not there:
            raise NotThere(f"{where} has no GGUF file.", hint=_instead(files))
        model = _one(_of_quant(there, quant, where) if quant else _usual(there), there, where)
    if not model.whole:
        more = model.parts - len(model.files) - LOST_SHOWN
        lost = ", ".join(islice(model.lost, LOST_SHOWN)) + (f" and {more} more" if more > 0 else "")
        raise NotThere(
            f"{where} has {len(model.files)} of the {model.parts} parts of {model.name}: {lost} not there.",
            hint="Try again when the upload is done, or take another quantisation.",
        )
    return Chosen(model, _projector(files, model) if model.role is Role.MODEL else None, bool(file))


def quants(files: Iterable[ListedFile]) -> dict[str, int | None]:
    """The sizes of what is whole, by quantisation, for listings and plans; the smallest size first."""
    found: dict[str, int | None] = {}
    for each in choices(files):
        if each.quant and each.whole and each.role is Role.MODEL:
            found.setdefault(each.quant, each.size_bytes)
    return dict(sorted(found.items(), key=lambda item: item[1] or 0))


def _choice(files: list[ListedFile], role: Role) -> Choice:
    files = sorted(files, key=lambda each: each.path)
    first = files[0]
    part = part_of(first.path)
    if part is None:
        return Choice(first.path, quant_of(first.path), (first,), role=role)
    end = first.path[-len(".gguf") :]  # an engine looks for the others under the very same ending
    by_number = {other.number: each for each in files if each.path.endswith(end) and (other := part_of(each.path))}
    return Choice(f"{part.stem}.gguf", quant_of(first.path), tuple(by_number.values()), part.count, role)


def _usual(there: tuple[Choice, ...]) -> list[Choice]:
    whole = [each for each in there if each.whole] or list(there)
    best = min(rank(each.quant) for each in whole)
    return [each for each in whole if rank(each.quant) == best]


def _of_quant(there: tuple[Choice, ...], quant: str, where: str) -> list[Choice]:
    wanted = normal(quant)
    for fits in _ways(wanted):
        found = [each for each in there if fits(each.quant)]
        if found:
            return found
    names = list(dict.fromkeys(each.quant for each in there if each.quant))
    near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]}?" if near else ""
    raise NotThere(f"{where} has no {wanted}. There is: {_listed(there)}.", hint=hint)


def _ways(wanted: str) -> tuple[Callable[[str], bool], ...]:
    """Exactly it; else Unsloth's mix of that name."""
    return (lambda there: same(wanted, there)), (lambda there: same(f"UD-{wanted}", there))


def _one(found: list[Choice], there: tuple[Choice, ...], where: str) -> Choice:
    if len({each.name for each in found}) == 1:  # one file, and the same in parts
        return min(found, key=lambda each: (not each.whole, len(each.files)))
    several = f"several models of {found[0].quant}" if found[0].quant else "several models"
    shown = found if found[0].quant else there
    raise NotThere(f"{where} has {several}: {_listed(shown)}.", hint=_BY_FILE)


def _by_file(files: Sequence[ListedFile], file: str, where: str) -> Choice:
    """The named file; a part of a split one means all of it. Upper and lower case are the same where that is clear."""
    ways: tuple[Callable[[ListedFile], bool], ...] = (
        lambda each: each.path == file,
        lambda each: each.name == file,
        lambda each: file.lower() in (each.path.lower(), each.name.lower()),
    )
    found = next((hits for way in ways if (hits := [each for each in files if way(each)])), [])
    if len(found) > 1:
        raise NotThere(f"{where} has several files {file}: {', '.join(each.path for each in found[:SHOWN])}.")
    if not found:
        stem = re.sub(r"(?i)\.gguf$", "", file).lower() + ".gguf"
        split = [each for each in choices(files) if stem in (each.name.lower(), each.name.lower().rpartition("/")[2])]
        if len(split) == 1:
            return split[0]
        quant = normal(stem)
        if same(quant, quant_of(quant)):  # its quantisation, written as a file
            return _one(_of_quant(choices(files), quant, where), choices(files), where)
        names = [each.path for each in files]
        near = difflib.get_close_matches(file, names, n=2, cutoff=0.6)
        hint = f"Did you mean {' or '.join(near)}?" if near else ""
        raise NotThere(f"{where} has no file {file}. There is: {_listed(choices(files))}.", hint=hint)
    part = part_of(found[0].path)
    if part is None:
        return Choice(found[0].path, quant_of(found[0].path), (found[0],), role=role_of(found[0].path))
    parts = [each for each in files if _same_split(each, part.stem, part.count)]
    return _choice(parts, role_of(found[0].path))


def _same_split(each: ListedFile, stem: str, count: int) -> bool:
    other = part_of(each.path)
    return other is not None and (other.stem, other.count) == (stem, count)


def _projector(files: Sequence[ListedFile], model: Choice) -> ListedFile | None:
    """
    The projector that belongs to a model. Of several the one whose name is nearest to the model's, in its folder or
    above it; of one projector's quantisations F16: it is small, and every backend computes with it.
    """
    folder = model.name.rpartition("/")[0]
    found = [
        each
        for each in files
        if role_of(each.path) is Role.PROJECTOR and part_of(each.path) is None and _above(each.path, folder)
    ] or [each for each in files if role_of(each.path) is Role.PROJECTOR and "/" not in each.path]
    if not found:
        return None
    own = plain_name(model.name)

    def order(each: ListedFile) -> tuple[float, int, str]:
        name = plain_name(each.name)
        likeness = round(difflib.SequenceMatcher(None, own, name).ratio(), 1) if name not in ("", "model") else 0.0
        quant = quant_of(each.name)
        return -likeness, PROJECTORS.index(quant) if quant in PROJECTORS else len(PROJECTORS), each.path

    return min(found, key=order)


def _above(path: str, folder: str) -> bool:
    place = path.rpartition("/")[0]
    return not place or place == folder or folder.startswith(f"{place}/")


@functools.lru_cache(1 << 14)
def plain_name(path: str) -> str:
    """A name without its quantisation, `mmproj` and numbers."""
    stem = re.sub(r"(?i)(-\d{5}-of-\d{5})?\.gguf$", "", path.rpartition("/")[2]).lower()
    stem = _PROJECTOR.sub("-", stem)
    quant = quant_of(stem).lower().removeprefix("ud-")
    return re.sub(r"[-_.]+", "-", stem.replace(quant, "") if quant else stem).strip("-")


def _listed(there: Sequence[Choice]) -> str:
    if not there:
        return "no GGUF file"
    more = f" and {len(there) - SHOWN} more" if len(there) > SHOWN else ""
    return ", ".join(each.shown for each in there[:SHOWN]) + more


def _instead(files: Sequence[ListedFile]) -> str:
    names = " ".join(each.name.lower() for each in files)
    if re.search(r"\.gguf[-.](split|part)", names):
        return "Its parts were cut in an old way and have to be joined by hand; look for a newer upload."
    if ".safetensors" in names:
        return "It has safetensors; search for a repository of the same name that ends in -GGUF."
    return ""
