"""
What a file is known to be before it comes, and whether a server's answers keep to that.

Its source promises a size and a hash, an earlier fetch or the first answer an ETag; each further answer is held
against all of it. Decided from what an answer says alone: nothing here asks, waits or writes.

What an answer to a question for a part costs, where some of the file is here already:

    a part of it                            nothing, that is what was asked for
    all of it, by its length and tag        nothing: asked again, and the second time in a row taken as one stream
    a page, or something of another length  nothing: asked again, and refused in the end
    a part or all of another version        what has come: from the beginning
    the same under another tag              nothing, where a hash is known: it judges all of it in the end
    a part under no tag, and no hash known  nothing: asked again, and the second time in a row taken as one stream

Where no hash is known and the tags of a server change time and again, they say nothing: it comes as one stream then,
by one answer, so that nothing can be mixed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Protocol

from corral.contracts.fetching import RemoteFile
from corral.domain.errors import FetchFailed, WrongContent
from corral.store.fetch.journal import Identity
from corral.store.fetch.rules import Target, shown
from corral.store.fetch.wire import Interrupted

_MAGIC: Final = b"GGUF"
SHOWN: Final = 2  # once it may have been one server of several, or a cache


class Changed(Exception):
    """The server has another file now: from the beginning."""


class Retagged(Changed):
    """It has another ETag, and that is all that tells it."""


class Broken(Exception):
    """
    An answer broke off, or is of something else: what has come is kept, and the rest is asked for again.

    (An answer that never began has been asked for often enough.)
    """

    def __init__(self, error: FetchFailed) -> None:
        self.error = error  # what to say when it has been asked for often enough
        super().__init__(error.message)


class Unparted(Broken):
    """The server gives all of the file where a part of it was asked for: it may come as one stream."""


class Untagged(Unparted):
    """A part of a file that only an ETag tells from others came without one: it might be of another."""


class Worthless(WrongContent):
    """What has come cannot be any of the file: nothing of it is kept. `what` says why."""

    def __init__(self, message: str, *, hint: str = "", what: str) -> None:
        self.what = what
        super().__init__(message, hint=hint)


class Said(Protocol):
    """What is judged of an answer; `store.fetch.answer.Answer` says what each means."""

    target: Target
    status: int

    @property
    def etag(self) -> str: ...

    @property
    def whole_bytes(self) -> int | None: ...

    @property
    def first_byte(self) -> int: ...

    @property
    def framed(self) -> bool: ...

    @property
    def is_page(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Promise:
    """`wholes`: how often in a row all of it came, not a part. `tagless`: ETags mean nothing, so there is none."""

    file: RemoteFile
    identity: Identity
    wholes: int = 0
    tagless: bool = False

    @staticmethod
    def of(file: RemoteFile) -> Promise:
        """What its source says."""
        return Promise(file, Identity(shown(file.url), file.size_bytes, file.sha256))

    @property
    def size(self) -> int | None:
        """As far as it is known."""
        return self.identity.size

    @property
    def in_parts(self) -> bool:
        """Whether it may come in parts: only of a file that can be told from another one."""
        return self.size is not None and self.identity.told

    @property
    def streams(self) -> bool:
        """Whether the server has shown that it gives no parts."""
        return self.wholes >= SHOWN

    @property
    def by_tag(self) -> bool:
        """Whether another ETag means another file: where a hash is known it decides, for mirrors tag as they like."""
        return not self.file.sha256

    @property
    def headers(self) -> dict[str, str]:
        """What to ask with, so that no part of another file comes."""
        return {"If-Range": self.identity.etag} if self.identity.etag and self.by_tag else {}

    def as_one(self) -> Promise:
        """For a file whose parts nothing can tell from those of another: one answer brings all of it."""
        known = self.identity
        return replace(self, identity=Identity(known.url, known.size, known.sha256), tagless=True)

    def resumed(self, found: Identity) -> Promise | None:
        """With what an earlier fetch knew, where that was of this very file; the server is asked, by If-Range."""
        mine = self.identity
        if not found.same(Identity(mine.url, mine.size, mine.sha256, found.etag)):
            return None
        size = mine.size if found.size is None else found.size
        return replace(self, identity=Identity(found.url, size, found.sha256, found.etag))

    def opened(self, answer: Said, *, begun: bool) -> Promise:
        """
        With what the first answer tells. `begun`: some of the file is here.

        Raises Changed, Broken, Worthless, and WrongContent for a page that stands in the file's place.
        """
        self._check_page(answer, begun=begun)
        self._check_size(answer, begun=begun)
        if answer.status == 200 and begun:
            self._check_tag(answer)
        known = self.identity
        size = answer.whole_bytes if known.size is None else known.size
        etag = "" if self.tagless else known.etag or answer.etag
        told = Identity(known.url, size, known.sha256, etag)
        return replace(self, identity=told, wholes=self.wholes + 1 if answer.status == 200 else 0)

    def check_part(self, answer: Said, at: int) -> None:
        """See that this is the part of the same file that begins there. Raises Changed, Broken."""
        self._check_page(answer, begun=True)
        self._check_size(answer, begun=True)
        if answer.status != 206:
            self._check_tag(answer)
            raise Unparted(FetchFailed(f"{answer.target.shown} gives all of the file instead of a part of it."))
        if answer.first_byte != at:
            raise odd(answer, "sent another part than was asked for")
        self._check_tag(answer)
        if self.by_tag and not answer.etag:
            raise Untagged(FetchFailed(f"{answer.target.shown} does not say of which version a part is (no ETag)."))

    def other_tag(self, answer: Said) -> bool:
        """Whether it says that it is of another version; saying nothing is no such word."""
        return "" not in (answer.etag, self.identity.etag) and answer.etag != self.identity.etag

    def _check_page(self, answer: Said, *, begun: bool) -> None:
        if not answer.is_page or self.file.path.endswith((".html", ".htm")):
            return
        page = WrongContent(
            f"{answer.target.shown} is a page for people, not a file.",
            hint="Name the address of the file itself; if the page asks for a login, give a token.",
        )
        raise Broken(page) if begun else page  # of one server of several, or of something in between

    def _check_size(self, answer: Said, *, begun: bool) -> None:
        size = answer.whole_bytes
        if self.size is None or size is None or size == self.size:
            return
        if self.file.size_bytes is not None and not begun:
            raise self.broken(f"it has {size:,} bytes, not {self.file.size_bytes:,}")
        if self.file.size_bytes is not None or (answer.status == 200 and not self.other_tag(answer)):
            raise Broken(self.refused(f"it has {size:,} bytes, not {self.size:,}"))
        raise Changed("its size is another one")

    def _check_tag(self, answer: Said) -> None:
        if self.by_tag and self.other_tag(answer):
            raise Retagged("its ETag is another one")

    def check_stream(self, answer: Said) -> None:
        """See that its end will be noticed, by somebody. Raises Worthless."""
        if not answer.framed and not self.file.sha256 and not self.file.is_gguf:
            raise self.broken(
                "the server says neither its size nor where it ends, so nothing tells whether it is whole"
            )

    def check_bytes(self, data: memoryview, at: int) -> None:
        """See that these can stand there. Raises Worthless."""
        if self.size is not None and at + len(data) > self.size:
            raise self.broken(f"it has more than the {self.size:,} bytes that were promised")
        if at == 0 and self.file.is_gguf and bytes(data[:4]) != _MAGIC[: len(data)]:
            raise self.broken(f"it begins with {bytes(data[:4])!r}, so it is no GGUF file")

    def check_length(self, count: int) -> None:
        """See that a stream that has ended had all of it. Raises Worthless."""
        if self.size not in (None, count):
            raise self.broken(f"it has {count:,} bytes, not {self.size:,}")

    def differing(self, answer: Said) -> Changed | Broken:
        """For a stream with other bytes than have come. Without a length it may be anything, not the file at all."""
        if answer.whole_bytes is None:
            return Broken(self.refused("it begins otherwise than what has come"))
        return Changed("what has come is of another version")

    def refused(self, what: str) -> WrongContent:
        """For an answer that seems not to be of this file, while some of it is here."""
        return WrongContent(
            f"{shown(self.file.url)} is not what was promised: {what}. What came before is kept.",
            hint="Try again later; `corral models gc --older-than 0s` clears it away, for a new beginning.",
        )

    def broken(self, what: str) -> Worthless:
        """For an answer that is not of this file."""
        return Worthless(
            f"{shown(self.file.url)} is not what was promised: {what}. Nothing of it is kept.",
            hint="Try again; if it stays so, tell whoever offers it.",
            what=what,
        )


def odd(answer: Said, what: str) -> Broken:
    """For a server that does not do as it was asked."""
    return Broken(Interrupted(f"{answer.target.shown} {what}.", hint="Try again later."))
