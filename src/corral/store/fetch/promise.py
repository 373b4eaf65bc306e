"""
What a file is known to be before it comes, and whether a server's answers keep to that.

Its source promises a size and a hash, an earlier fetch or the first answer an ETag; each further answer is held
against all of it. Decided from what an answer says alone: nothing here asks, waits or writes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from corral.contracts.fetching import RemoteFile
from corral.domain.errors import WrongContent
from corral.store.fetch.journal import Identity
from corral.store.fetch.rules import Target, shown
from corral.store.fetch.wire import Interrupted

_MAGIC = b"GGUF"


class Changed(Exception):
    """The server has another file now, or gives no parts of it after all: from the beginning."""


class Broken(Exception):
    """An answer broke off: its segment is asked for again. (One that never began has been asked for often enough.)"""

    def __init__(self, error: Interrupted) -> None:
        self.error = error  # what to say when it has been asked for often enough
        super().__init__(error.message)


class Worthless(WrongContent):
    """What has come cannot be any of the file: nothing of it is kept."""


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
    """`etags`: whether another ETag means another file."""

    file: RemoteFile
    identity: Identity
    etags: bool = True

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
    def headers(self) -> dict[str, str]:
        """What to ask with, so that no part of another file comes."""
        return {"If-Range": self.identity.etag} if self.identity.etag and self.etags else {}

    def afresh(self, *, changed: bool = False) -> Promise:
        """What its source says, once more. Servers of one file may differ in tags: after a change a hash decides."""
        return replace(Promise.of(self.file), etags=self.etags and not (changed and self.file.sha256))

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

        Raises Changed, Worthless, and WrongContent for a page that stands in the file's place.
        """
        if answer.is_page and not self.file.path.endswith((".html", ".htm")):
            raise WrongContent(
                f"{answer.target.shown} is a page for people, not a file.",
                hint="Name the address of the file itself; if the page asks for a login, give a token.",
            )
        if answer.status == 200 and begun:
            raise Changed("the server gives all of it instead of the rest")
        known, size = self.identity, answer.whole_bytes
        if known.size is not None and size is not None and size != known.size:
            if self.file.size_bytes is not None:
                raise self.broken(f"it has {size:,} bytes, not {self.file.size_bytes:,}")
            raise Changed("its size is another one")
        told = Identity(known.url, known.size or size, known.sha256, known.etag or answer.etag)
        return replace(self, identity=told)

    def check_part(self, answer: Said, at: int) -> None:
        """See that this is the part of the same file that begins there. Raises Changed, Broken."""
        if answer.status != 206:
            raise Changed("the server gives all of it instead of a part")
        if answer.whole_bytes not in (None, self.size):
            raise Changed("its size is another one")
        if answer.first_byte != at:
            raise odd(answer, "sent another part than was asked for")
        if self.etags and answer.etag != self.identity.etag:
            raise Changed("its ETag is another one")

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

    def broken(self, what: str) -> Worthless:
        """For an answer that is not of this file."""
        return Worthless(
            f"{shown(self.file.url)} is not what was promised: {what}. Nothing of it is kept.",
            hint="Try again; if it stays so, tell whoever offers it.",
        )


def odd(answer: Said, what: str) -> Broken:
    """For a server that does not do as it was asked."""
    return Broken(Interrupted(f"{answer.target.shown} {what}.", hint="Try again later."))
