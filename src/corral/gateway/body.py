"""Reading one request body under two caps: its own, and that of all bodies held at one time."""

from __future__ import annotations

from corral.domain.errors import BadRequest, BodyTooLarge, Busy
from corral.kit.chunked import BadChunk, ChunkDecoder
from corral.kit.http_heads import RequestHead


def check_plain(encoding: bytes) -> None:
    """A few bytes may be gigabytes once they are unpacked, and engines unpack none. Raises BadRequest."""
    if encoding.strip().lower() not in (b"", b"identity"):
        words = encoding.decode("latin-1")[:50]
        raise BadRequest(f"The request body is compressed ({words}), and is not read so.", hint="Send it as it is.")


class BodyBudget:
    """Bytes of request bodies in memory, all connections together."""

    __slots__ = ("held", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

    def take(self, count: int) -> None:
        """Count bytes in. Raises Busy when there is no room for them."""
        if self.held + count > self.limit:
            raise Busy("Too many request bodies are being held at this moment.")
        self.held += count

    def give(self, count: int) -> None:
        """Count bytes out."""
        self.held -= count


class BodyReader:
    """Collects the body that follows a head; `feed` it until `done`."""

    __slots__ = ("_budget", "_chunks", "_limit", "_missing", "_pieces", "done", "rest", "size")

    def __init__(self, head: RequestHead, limit: int, budget: BodyBudget) -> None:
        self._chunks = ChunkDecoder() if head.chunked else None
        self._missing = head.length or 0
        self._limit = limit
        self._budget = budget
        self._pieces: list[bytes] = []
        self.size = 0
        self.done = False
        self.rest = b""  # once done: what follows the body

    def feed(self, data: bytes) -> None:
        """Take bytes. Raises BodyTooLarge, Busy, and BadRequest for broken framing."""
        if self._chunks is None:
            piece = data[: self._missing]
            self._missing -= len(piece)
            self.done = self._missing == 0
            self.rest = data[len(piece) :]
        else:
            try:
                piece = self._chunks.feed(data)
            except BadChunk as error:
                raise BadRequest(f"The request body is malformed: {error}.") from None
            self.done = self._chunks.done
            self.rest = self._chunks.rest
            if self.size + len(piece) > self._limit:
                raise BodyTooLarge(f"The request body is larger than {self._limit} bytes.")
        self._budget.take(len(piece))
        self.size += len(piece)
        self._pieces.append(piece)

    def body(self) -> bytes:
        """All of it."""
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces = []
        return body
