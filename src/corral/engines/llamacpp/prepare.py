"""
Everything on the disk that a start needs: looked at, made where Corral makes it, and named as the engine will open it.

Blocks on the disk. With `headers` the files are also asked whether they fit each other.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass

from corral.contracts.headers import Header, Headers
from corral.domain.errors import BadGguf, FileMissing, StartFailed, StoreFailed
from corral.domain.fleet import ModelSpec, OptionValue
from corral.engines.llamacpp import companions, fits
from corral.engines.llamacpp.companions import named, scaled, texts
from corral.engines.llamacpp.files import check_exists, check_folder, check_model, parts_of
from corral.engines.llamacpp.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prepared:
    """The file to load, and the settings with the paths that the engine is told."""

    path: str
    settings: Settings


def prepare(model: ModelSpec, settings: Settings, headers: Headers | None) -> Prepared:
    """Raises StoreFailed for files that are not as they should be, StartFailed for files that do not fit together."""
    path = os.path.abspath(check_model(os.path.expanduser(model.source.path)))
    options = dict(settings.options)
    for name in companions.MODELS:
        if name in options:
            options[name] = _first_parts(name, options[name])
    for name, file in named(options, companions.TEXTS):
        check_exists(file, f"options.{name}:")
    for name, folder in named(options, companions.FOLDERS):
        check_folder(folder, f"options.{name}:")
    for _, file in named(options, ("lookup_cache_dynamic",)):
        _made_file(file)
    if "slot_save_path" in options:
        options["slot_save_path"] = _own_folder(str(options["slot_save_path"]), model.name)
    draft = _judged(model, path, options, headers) if headers is not None else None
    if "model_draft" in options and "spec_type" not in options:
        options["spec_type"] = (fits.spec_type_of(draft) if draft is not None else "draft-simple",)
    return Prepared(path, dataclasses.replace(settings, options=options))


def files_of(model: ModelSpec, settings: Settings) -> Iterator[str]:
    """Every file that a start reads: what they are is part of the load digest."""
    yield from parts_of(os.path.expanduser(model.source.path))
    for _, path in named(settings.options, companions.MODELS):
        yield from parts_of(path)
    for _, path in named(settings.options, companions.TEXTS):
        yield path


def _first_parts(name: str, value: OptionValue) -> OptionValue:
    """The option with part 1 in the place of any part of a split."""
    checked = []
    for entry in texts(value):
        path, scale = scaled(entry) if name in companions.SCALED else (entry, None)
        try:
            first = os.path.abspath(check_model(path))
        except (FileMissing, BadGguf) as error:
            raise type(error)(f"options.{name}: {error.message}", hint=error.hint) from error
        checked.append(first if scale is None else f"{first}:{scale!r}")
    return tuple(checked) if isinstance(value, tuple) else checked[0]


def _own_folder(path: str, model: str) -> str:
    """A folder of the Model's own: slots are the conversations of its clients, and another Model cannot read them."""
    folder = os.path.join(path, urllib.parse.quote(model, safe="@+= ").replace(".", "%2E", model.startswith(".")))
    try:
        os.makedirs(path, exist_ok=True)
        os.makedirs(folder, mode=0o700, exist_ok=True)
    except OSError as error:
        raise FileMissing(
            f"options.slot_save_path: {folder} cannot be made: {error.strerror or error}.",
            hint="Correct the path, or the owner and mode of its folder.",
        ) from error
    return folder


def _made_file(path: str) -> None:
    """llama.cpp writes this file, but ends where it cannot read it first."""
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "ab"):
            pass
    except OSError as error:
        raise FileMissing(
            f"options.lookup_cache_dynamic: {path} cannot be made: {error.strerror or error}.",
            hint="Correct the path, or the owner and mode of its folder.",
        ) from error


def misfits(model: ModelSpec, settings: Settings, headers: Headers, main: Header | None) -> list[str]:
    """
    What the files that are here say against a start; of others nothing is said. `main` is the header of a model that is
    elsewhere.
    """
    if main is None:
        path = os.path.abspath(parts_of(os.path.expanduser(model.source.path))[0])
        main = headers(path)
        if what := fits.not_a_model(main):
            return [f"{path} is {what}."]
    elif what := fits.not_a_model(main):
        return [f"{model.source.reference} is {what}."]
    others: dict[str, list[tuple[str, Header]]] = {}
    for name, file in named(settings.options, companions.MODELS):
        with contextlib.suppress(StoreFailed):
            others.setdefault(name, []).append((file, headers(parts_of(file)[0])))
    return fits.misfits(settings.options, main, others)


def _judged(model: ModelSpec, path: str, options: dict[str, OptionValue], headers: Headers) -> Header | None:
    """Ask the files whether they fit; the draft model's header where there is one."""
    main = headers(path)
    if what := fits.not_a_model(main):
        raise BadGguf(f"{path} is {what}.", hint="Name the model itself as the Model's `source`.")
    others: dict[str, list[tuple[str, Header]]] = {}
    for name, file in named(options, companions.MODELS):
        others.setdefault(name, []).append((file, headers(file)))
    wrong = fits.misfits(options, main, others)
    if wrong:
        raise StartFailed(wrong[0], hint=" ".join(wrong[1:]), permanent=True)
    for note in fits.notes(options, main):
        logger.warning("%s: %s", model.name, note)
    return next((header for _, header in others.get("model_draft", ())), None)
