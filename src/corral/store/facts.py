"""
Facts of Models, from their files.

A file is read once for all that want to know something of it: the footprints read through `files`, and what they have
read is remembered here in its small form until the file changes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from corral.domain.errors import StoreFailed
from corral.domain.facts import NOTHING, ModelFacts
from corral.domain.fleet import ModelSpec
from corral.store.files import FileStamp, ModelFiles, resolve, stamp
from corral.store.gguf.facts import FileSays, facts, says, template_abilities

logger = logging.getLogger(__name__)

_TEMPLATE_BYTES: Final = 1024**2
_REMEMBERED: Final = 20_000


class FileFacts:
    """The facts of a whole Fleet. Blocks on the disk: call it in a thread."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[tuple[FileStamp, ...], FileSays]] = {}

    def files(self, path: str) -> ModelFiles:
        """`store.files.resolve`, and what it read is remembered. Raises StoreFailed."""
        return self._read(path)[0]

    def _read(self, path: str) -> tuple[ModelFiles, FileSays]:
        found = resolve(path)
        said = says(found.header, found.tensors, size_bytes=found.total_bytes)
        if len(self._seen) >= _REMEMBERED:
            self._seen.clear()
        self._seen[path] = (found.parts, said)
        return found, said

    def of(self, models: Mapping[str, ModelSpec]) -> dict[str, ModelFacts]:
        """The facts of every Model (with its options resolved). Never raises: nothing is known of a bad file."""
        fresh: dict[str, FileSays] = {}  # many Models may be of one file: it is looked at once
        return {name: self._of(model, fresh) for name, model in models.items()}

    def _of(self, model: ModelSpec, fresh: dict[str, FileSays]) -> ModelFacts:
        if not model.source.path:
            return NOTHING
        projector = model.options.get("mmproj")
        try:
            return facts(
                self._says(model.source.path, fresh),
                options=model.options,
                slots=model.slots,
                template=_template(model),
                projector=self._says(str(projector), fresh) if projector else None,
            )
        except StoreFailed as error:  # told elsewhere: its footprint could not be estimated either
            logger.debug("nothing is known of %s: %s", model.name, error.sentence())
            return NOTHING

    def _says(self, path: str, fresh: dict[str, FileSays]) -> FileSays:
        if path not in fresh:
            known = self._seen.get(path)
            current = known is not None and all(_unchanged(part) for part in known[0])
            fresh[path] = known[1] if known is not None and current else self._read(path)[1]
        return fresh[path]


def _template(model: ModelSpec) -> frozenset[str] | None:
    """What the template can do that goes before the file's own. The name of a built-in one says nothing of that."""
    file, text = model.options.get("chat_template_file"), model.options.get("chat_template")
    if file:
        try:
            with open(str(file), encoding="utf-8", errors="replace") as opened:
                return template_abilities(opened.read(_TEMPLATE_BYTES))
        except OSError:
            return frozenset()
    return template_abilities(str(text)) if text else None


def _unchanged(part: FileStamp) -> bool:
    path = Path(part.path)
    try:
        return stamp(path) == part
    except StoreFailed:
        return False
