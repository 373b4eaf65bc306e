"""
Facts of Models, from their files.

A file is read once for all that want to know something of it, footprints among them (`store.known`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
from collections.abc import Mapping
from typing import Final

from corral.domain.errors import StoreFailed
from corral.domain.facts import NOTHING, ModelFacts
from corral.domain.fleet import ModelSpec
from corral.store.gguf.facts import facts
from corral.store.gguf.templates import template_abilities
from corral.store.known import Known, KnownFiles

logger = logging.getLogger(__name__)

_TEMPLATE_BYTES: Final = 1024**2


class FileFacts:
    """The facts of a whole Fleet. Blocks on the disk: call it in a thread."""

    def __init__(self, files: KnownFiles | None = None) -> None:
        self._files = files or KnownFiles()

    def of(self, models: Mapping[str, ModelSpec]) -> dict[str, ModelFacts]:
        """The facts of every Model (with its options resolved). Never raises: nothing is known of a bad file."""
        fresh: dict[str, Known] = {}  # many Models may be of one file: it is looked at once
        return {name: self._of(model, fresh) for name, model in models.items()}

    def _of(self, model: ModelSpec, fresh: dict[str, Known]) -> ModelFacts:
        if not model.source.path:
            return NOTHING
        projector = model.options.get("mmproj")
        try:
            known = self._known(model.source.path, fresh)
            found = facts(
                known.says,
                options=model.options,
                slots=model.slots,
                template=_template(model),
                projector=self._known(str(projector), fresh).says if projector else None,
            )
            return dataclasses.replace(found, modified_at=_modified(known), file_digest=_digest(known))
        except StoreFailed as error:  # told elsewhere: its footprint could not be estimated either
            logger.debug("nothing is known of %s: %s", model.name, error.sentence())
            return NOTHING

    def _known(self, path: str, fresh: dict[str, Known]) -> Known:
        if path not in fresh:
            fresh[path] = self._files.of(path)
        return fresh[path]


def _modified(known: Known) -> float:
    return max(mtime_ns for _, _, mtime_ns in known.parts) / 1e9


def _digest(known: Known) -> str:
    """The same after a move to another folder, another as soon as a part is written anew."""
    parts = [(os.path.basename(path), size, mtime_ns) for path, size, mtime_ns in known.parts]
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogateescape")).hexdigest()


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
