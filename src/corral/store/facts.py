"""Facts of Models, read from their files; a file that has not changed is not read again."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from corral.domain.errors import StoreFailed
from corral.domain.facts import NOTHING, ModelFacts
from corral.domain.fleet import ModelSpec
from corral.store.files import FileStamp, resolve, stamp
from corral.store.gguf.facts import facts
from corral.store.gguf.reader import read_header

logger = logging.getLogger(__name__)

_TEMPLATE_BYTES: Final = 1024**2
_FILES: Final = ("mmproj", "chat_template_file")


class FileFacts:
    """The facts of a whole Fleet. Blocks on the disk: call it in a thread."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[ModelSpec, tuple[FileStamp, ...], ModelFacts]] = {}

    def of(self, models: Mapping[str, ModelSpec]) -> dict[str, ModelFacts]:
        """The facts of every Model (with its options resolved). Never raises: nothing is known of a bad file."""
        found = {name: self._of(model) for name, model in models.items()}
        self._seen = {name: seen for name, seen in self._seen.items() if name in found}
        return found

    def _of(self, model: ModelSpec) -> ModelFacts:
        known = self._seen.get(model.name)
        if known is not None and known[0] == model and all(_unchanged(each) for each in known[1]):
            return known[2]
        if not model.source.path:
            return NOTHING
        try:
            read, stamps = _read(model)
        except StoreFailed as error:  # told elsewhere: its footprint could not be estimated either
            logger.debug("nothing is known of %s: %s", model.name, error.sentence())
            return NOTHING
        self._seen[model.name] = (model, stamps, read)
        return read


def _read(model: ModelSpec) -> tuple[ModelFacts, tuple[FileStamp, ...]]:
    files = resolve(model.source.path)
    options = model.options
    beside = [Path(str(options[name])) for name in _FILES if options.get(name)]
    stamps = (*files.parts, *(stamp(path) for path in beside))
    projector = read_header(str(options["mmproj"])) if options.get("mmproj") else None
    found = facts(
        files.header,
        files.header.tensors,
        size_bytes=files.total_bytes,
        options=options,
        slots=model.slots,
        template=_template(model),
        projector=projector,
    )
    return found, stamps


def _template(model: ModelSpec) -> str | None:
    """The template that goes before the file's own. A name of a built-in one says nothing of what it can do."""
    file, text = model.options.get("chat_template_file"), model.options.get("chat_template")
    if file:
        try:
            with open(str(file), encoding="utf-8", errors="replace") as opened:
                return opened.read(_TEMPLATE_BYTES)
        except OSError:
            return ""
    return str(text) if text else None


def _unchanged(part: FileStamp) -> bool:
    try:
        return stamp(part.path) == part
    except StoreFailed:
        return False
