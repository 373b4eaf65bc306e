"""
Models at the other end of addresses: of each file its header comes, by ranges that grow, and nothing else.

A header ends where only its reader can tell. So little is asked for at first, and each time twice as much, up to
2 MB: a header of 15 MB takes eleven questions, and a small one is there with the first.
"""

from __future__ import annotations

from typing import Final

from corral.contracts.fetching import Plan, RemoteFile, Role
from corral.domain.errors import BadGguf, FetchFailed, WrongContent
from corral.domain.units import format_bytes
from corral.store.fetch.answer import Answer
from corral.store.fetch.denial import Denied
from corral.store.fetch.line import Line
from corral.store.fetch.rules import shown
from corral.store.fetch.web import Web
from corral.store.gguf.header import Header
from corral.store.gguf.reader import FIRST_READ, read_from, read_header
from corral.store.sources.cached import local_path

MOST_READ: Final = 2 * 1024 * 1024  # at once: as much may come for nothing
MOST_HEADER_BYTES: Final = 32 * 1024 * 1024  # of one file; the largest vocabularies of today need half of it


class RemoteBytes:
    """
    A file that is asked for by parts. Implements `gguf.reader.Readable`.

    The first part is fetched at once: it says how large the file is, and where it really lies after redirects. Raises
    FetchFailed, also where the file is another one half-way.
    """

    def __init__(self, web: Web, url: str, line: Line) -> None:
        self._web, self._line = web, line
        self._url = self._lies_at = url
        self._etag = ""
        self.size = -1
        self.fetched_bytes = 0
        self._first = self._fetch(0, FIRST_READ)

    def read(self, at: int, count: int) -> bytes:
        """See `Readable.read`."""
        if at + count <= len(self._first):
            return self._first[at : at + count]
        if at + count > MOST_HEADER_BYTES:
            raise BadGguf(
                f"The header of {shown(self._url)} is larger than {format_bytes(MOST_HEADER_BYTES)}.",
                hint="Fetch the file to inspect it here.",
            )
        return self._fetch(at, count)

    def _fetch(self, at: int, count: int) -> bytes:
        try:
            return self._ask(self._lies_at, at, count)
        except Denied:
            if self._lies_at == self._url:
                raise
            self._lies_at = self._url  # a signed address has come to its end
            return self._ask(self._url, at, count)

    def _ask(self, url: str, at: int, count: int) -> bytes:
        data = self._web.read(url, start=at, end=at + count, limit=MOST_HEADER_BYTES, line=self._line, seen=self._look)
        self.fetched_bytes += len(data)
        return data

    def _look(self, answer: Answer) -> None:
        if answer.is_page:
            raise WrongContent(
                f"{answer.target.shown} is a page for people and no file.",
                hint="Take the address behind its download button.",
            )
        size = answer.whole_bytes
        if size is None:
            raise FetchFailed(
                f"The server does not say how large {answer.target.shown} is.",
                hint="Fetch the file to inspect it here.",
            )
        if self.size >= 0 and (size, answer.etag) != (self.size, self._etag):
            raise FetchFailed(f"{answer.target.shown} was changed while it was read.", hint="Try again.")
        self.size, self._etag, self._lies_at = size, answer.etag, answer.url


class PlannedFiles:
    """The files of a plan, where they are. Implements `places.Files`."""

    def __init__(self, plan: Plan, web: Web, line: Line) -> None:
        self._web, self._line = web, line
        self._files = {_name(each): each for each in plan.files}
        self._projectors = [_name(each) for each in plan.files if each.role is Role.PROJECTOR]
        self.name = _name(plan.files[0])
        self.licence = plan.licence
        self.fetched_bytes = 0

    def header(self, name: str) -> Header | None:
        """See `Files.header`."""
        file = self._files.get(name)
        if file is None:
            return None
        here = local_path(file)
        if here is not None:
            return read_header(here)
        source = RemoteBytes(self._web, file.url, self._line)
        try:
            return read_from(source, name, most_read=MOST_READ)
        finally:
            self.fetched_bytes += source.fetched_bytes

    def projectors(self) -> list[str]:
        """See `Files.projectors`."""
        return self._projectors

    def came_with(self, projector: str) -> bool:
        """See `Files.came_with`: whoever planned has chosen it for the model."""
        return True

    def others(self) -> list[str]:
        """See `Files.others`."""
        return []


def _name(file: RemoteFile) -> str:
    return file.path.rpartition("/")[2]
