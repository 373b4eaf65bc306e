"""
All that a model file says, for those who ask about one Model: read then, and kept for a few.

What is kept of every file (`store.known`) is what Corral itself needs; a whole header may have megabytes.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from corral.domain.errors import StoreFailed
from corral.domain.facts import FileDetails
from corral.domain.fleet import ModelSpec
from corral.kit.tasks import Tasks
from corral.store.files import ModelFiles, resolve
from corral.store.gguf.header import LongArray, Value
from corral.store.known import Known, KnownFiles

logger = logging.getLogger(__name__)

DEADLINE_S: Final = 5.0
KEPT: Final = 16
_READERS: Final = 2  # threads that may hang on a disk that does not answer

_Stamp = tuple[tuple[tuple[str, int, int], ...], ...]


class FileDetailsReader:
    """The details of one Model's files. Blocks on the disk; safe to call from several threads."""

    def __init__(self, files: KnownFiles, *, read: Callable[[str], ModelFiles] = resolve) -> None:
        self._files, self._read = files, read
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], tuple[_Stamp, FileDetails]] = OrderedDict()

    def of(self, model: ModelSpec) -> FileDetails:
        """Of a Model with its options resolved. Raises StoreFailed."""
        paths = (model.source.path, str(model.options.get("mmproj") or ""))
        stamp = tuple(self._known(path).parts for path in paths if path)
        with self._lock:
            kept = self._kept.get(paths)
            if kept is not None and kept[0] == stamp:
                self._kept.move_to_end(paths)
                return kept[1]
        found = self._details(*paths)
        with self._lock:
            self._kept[paths] = (stamp, found)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return found

    def _known(self, path: str) -> Known:
        return self._files.of(path)

    def _details(self, path: str, projector: str) -> FileDetails:
        files = self._read(path)
        return FileDetails(
            _plain(files.header.metadata),
            tuple((each.name, each.type, each.shape) for each in files.tensors),
            _plain(self._read(projector).header.metadata) if projector else {},
        )


class ShownFiles:
    """
    The same for a loop that serves: in a thread, within a deadline. Implements `contracts.details.Details`.

    Who asks for a Model that is being read already waits for that reading. `resolved` fills a Model's options in.
    """

    def __init__(self, files: KnownFiles, resolved: Callable[[ModelSpec], ModelSpec]) -> None:
        self._reader = FileDetailsReader(files)
        self._resolved = resolved
        self._tasks = Tasks("file details")
        self._turn = asyncio.Semaphore(_READERS)
        self._running: dict[str, asyncio.Task[FileDetails | None]] = {}

    async def of(self, model: ModelSpec) -> FileDetails | None:
        """None where there is no file, where it cannot be read, and where the disk takes too long."""
        if not model.source.path:
            return None
        task = self._running.get(model.name)
        if task is None:
            task = self._running[model.name] = self._tasks.start(self._off_the_loop(model), name=model.name)
            task.add_done_callback(lambda _: self._running.pop(model.name, None))
        done, _ = await asyncio.wait({task}, timeout=DEADLINE_S)
        if not done:
            logger.warning("the file of %s did not answer within %g s", model.name, DEADLINE_S)
        return task.result() if done and not task.cancelled() else None

    async def _off_the_loop(self, model: ModelSpec) -> FileDetails | None:
        async with self._turn:
            return await asyncio.to_thread(self._of, model)

    def _of(self, model: ModelSpec) -> FileDetails | None:
        try:
            return self._reader.of(self._resolved(model))
        except StoreFailed as error:
            logger.debug("the file of %s says nothing: %s", model.name, error.sentence())
            return None

    async def aclose(self) -> None:
        """Nobody waits any longer."""
        await self._tasks.aclose()


def _plain(metadata: Mapping[str, Value]) -> dict[str, object]:
    return {key: _json(value) for key, value in metadata.items()}


def _json(value: object) -> object:
    if isinstance(value, LongArray):
        return []
    if isinstance(value, tuple):
        return [_json(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
