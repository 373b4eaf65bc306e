"""One answer of a server, to be read once; what is wrong with its body becomes an error of ours here."""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final

from corral.domain.errors import FetchFailed, WrongContent
from corral.store.fetch.pace import LEAST_PER_S, Pace
from corral.store.fetch.patience import Stop
from corral.store.fetch.proxy import Proxy
from corral.store.fetch.rules import Target
from corral.store.fetch.wire import Interrupted, Wire

_PIECE: Final = 64 * 1024
_TAG: Final = re.compile(r'"[\x20-\x7e]{1,1000}"')


class Answer:
    """
    A status, headers (names in small letters) and a body.

    Reading raises Interrupted where the connection ends, drips or falls silent before the body is whole: it never seems
    shorter than it is. `length` is None where the server does not say it.
    """

    def __init__(
        self,
        target: Target,
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
        wire: Wire,
        *,
        proxy: Proxy | None = None,
        head: bool = False,
    ) -> None:
        self.target = target
        self.status = response.status
        self.proxy = proxy  # who was asked for it
        self.headers: Mapping[str, str] = _headers(response)
        self._connection, self._response, self._wire = connection, response, wire
        self.length: int | None = _number(self.headers.get("content-length", "")) if head else response.length
        self.then: Callable[[], None] = _nothing  # done with a connection that may be used again
        self._left = None if response.chunked or response.length is None else response.length
        self._done = self._left == 0
        self._pace = Pace()

    @property
    def url(self) -> str:
        """The one that answered, after all redirects; its query may be a secret."""
        return self.target.url

    @property
    def etag(self) -> str:
        """A strong one, which stands for these very bytes; "" where there is none that can be sent back."""
        tag = self.headers.get("etag", "")
        return tag if _TAG.fullmatch(tag) else ""

    @property
    def whole_bytes(self) -> int | None:
        """The size of the whole file, also where this is a part of it."""
        if self.status == 206:
            return _number(self.headers.get("content-range", "").rpartition("/")[2])
        return self.length

    @property
    def first_byte(self) -> int:
        """Where in the file this part begins. Raises WrongContent for a part that does not say it."""
        if self.status != 206:
            return 0
        unit, _, rest = self.headers.get("content-range", "").partition(" ")
        first = _number(rest.partition("-")[0])
        if unit.lower() != "bytes" or first is None:
            raise WrongContent(f"{self.target.shown} answered with a part of the file and not with which.")
        return first

    @property
    def framed(self) -> bool:
        """Whether an end that comes too early would be noticed."""
        return self._response.chunked or self._left is not None

    @property
    def is_page(self) -> bool:
        """Whether it is something for people to read, such as a page to log in."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower() in (
            "text/html",
            "application/xhtml+xml",
        )

    def watch(self, stop: Stop, deadline: float | None = None) -> None:
        """From now on reading ends when `stop` says so, or at `deadline` (of the monotonic clock)."""
        self._wire.stop, self._wire.deadline = stop, deadline

    def readinto(self, buffer: memoryview) -> int:
        """What has come, at most as much as fits; 0 is the end. Raises Interrupted, FetchStopped."""
        if self._done:
            return 0
        now = self._wire.patience.now
        began = now()
        try:
            count = self._known(buffer) if self._left is not None else self._unknown(buffer)
            if count and self._pace.drips(count, now() - began):
                raise ConnectionError(f"it brings less than {LEAST_PER_S:,} bytes a second")
        except (OSError, http.client.HTTPException) as error:
            raise interrupted(self.target, error) from error
        self._done = count == 0 or self._left == 0
        return count

    def read(self, limit: int) -> bytes:
        """All of the rest. Raises WrongContent when that is more than `limit` bytes."""
        body = bytearray()
        piece = memoryview(bytearray(min(_PIECE, limit + 1)))
        while count := self.readinto(piece):
            body += piece[:count]
            if len(body) > limit:
                raise WrongContent(f"{self.target.shown} answered with more than {limit:,} bytes.")
        return bytes(body)

    def close(self) -> None:
        """The connection goes too, unless somebody keeps it for the next request."""
        self._response.close()
        then, self.then = self.then, _nothing
        if then is not _nothing and self._done and not self._response.will_close:
            then()
        else:
            self._connection.close()

    def __enter__(self) -> Answer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _known(self, buffer: memoryview) -> int:
        assert self._left is not None
        count = self._response.fp.readinto1(buffer[: self._left])  # one receive; http.client would wait for all of it
        if count == 0 and len(buffer):
            raise ConnectionResetError(f"it ended {self._left:,} bytes early")
        self._left -= count
        return count

    def _unknown(self, buffer: memoryview) -> int:
        piece = self._response.read1(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


def usable(answer: Answer) -> Answer:
    """The same, where its body is the very bytes that are meant. Raises FetchFailed, and it is closed then."""
    fault = ""
    for name, plain in (("content-encoding", ("", "identity")), ("transfer-encoding", ("", "identity", "chunked"))):
        encoding = answer.headers.get(name, "").strip().lower()
        if encoding not in plain:
            fault = f"comes only compressed ({encoding[:20]!r}), not as it is"
    if len({each.strip() for each in answer.headers.get("content-length", "").split(",")}) > 1:
        fault = "says two lengths of one answer"
    if not fault:
        return answer
    answer.close()
    raise FetchFailed(f"{answer.target.shown} {fault}.")


def interrupted(target: Target, error: BaseException) -> FetchFailed:
    """A failure of the connection, in our words."""
    if isinstance(error, TimeoutError):
        words = "it fell silent"
    elif isinstance(error, OSError):
        words = error.strerror or str(error)
    else:
        words = f"{type(error).__name__} {str(error)[:100]}".strip()
    return Interrupted(f"The connection to {target.shown} broke: {words}.", hint="Try again later.")


def _nothing() -> None:
    """Nobody keeps it."""


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None


def _headers(response: http.client.HTTPResponse) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in response.getheaders():
        key = name.lower()
        found[key] = f"{found[key]}, {value}" if key in found else value
    return found
