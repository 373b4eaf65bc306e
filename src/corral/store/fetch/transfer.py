"""
One file from its server into `.NAME.part`: in segments over several connections, hashed as it comes.

The caller's thread watches: it saves the journal, tells the progress and hears a stop. Each connection has a thread
that receives and writes; one more follows the frontier and hashes what it reads back from the page cache, and another
flushes. None of them holds the interpreter's lock for long: receiving, writing, reading and hashing all give it back.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from corral.contracts.fetching import RemoteFile
from corral.domain.errors import FetchFailed, FetchStopped, WrongContent
from corral.store.fetch import journal
from corral.store.fetch.answer import Answer
from corral.store.fetch.board import Board, Segment
from corral.store.fetch.denial import Denied, TooBusy, Unranged
from corral.store.fetch.disk import Beside, Disk, Folder, disk_errors
from corral.store.fetch.journal import Identity, Journal
from corral.store.fetch.patience import Stop, never
from corral.store.fetch.rules import shown, target_of
from corral.store.fetch.spans import Spans
from corral.store.fetch.web import Line, Web
from corral.store.fetch.wire import Interrupted

logger = logging.getLogger(__name__)

BUFFER: Final = 1024 * 1024
HASH_BUFFER: Final = 256 * 1024  # stays in the processor's cache
SETTLED_AFTER: Final = 64 * 1024 * 1024
SAVED_SHARE: Final = 0.1  # of the time that it runs: what a kill costs, at most
SAVED_S: Final = (0.005, 0.1)
TOLD_AFTER_S: Final = 0.2
MOST_RESTARTS: Final = 3
_WORTH_A_TRY: Final = 64 * 1024  # bytes that make up for an earlier failure

Tell = Callable[[int, int | None, str], None]


class _Changed(Exception):
    """The server has another file now, or gives no parts of it after all: from the beginning."""


class _Broken(Exception):
    """An answer broke off: its segment is asked for again. (One that never began has been asked for often enough.)"""


@dataclass(frozen=True, slots=True)
class Arrived:
    """What lies in the part now, flushed."""

    size: int
    sha256: str
    etag: str


@dataclass(slots=True)
class Transfer:
    """`told` gets bytes, of how many, and what is done, from the caller's thread. `room` is asked for a new size."""

    web: Web
    disk: Disk
    folder: Folder
    file: RemoteFile
    connections: int = 4
    told: Tell = lambda done, total, doing: None
    stop: Stop = never
    room: Callable[[int], None] = lambda size: None
    _beside: Beside = field(init=False)
    _board: Board = field(init=False)
    _identity: Identity = field(init=False)
    _direct: str = ""  # where redirects led to
    _restarts: int = 0
    _etags: bool = True  # whether another ETag means another file
    _worthless: bool = False  # what has come
    _digest: str = ""
    _settled: Spans = field(default_factory=Spans)
    _writing: threading.Lock = field(default_factory=threading.Lock)  # in the kernel they would wait by spinning
    _pool: ThreadPoolExecutor = field(init=False)
    _fd: int = -1

    def __post_init__(self) -> None:
        self._beside = Beside.of(self.file.path.rpartition("/")[2])
        self._identity = Identity(shown(self.file.url), self.file.size_bytes, self.file.sha256)

    def run(self) -> Arrived:
        """
        Return when all has come and its hash, where one is known, is right.

        A wrong hash of what was begun earlier is tried once more from the beginning. Raises FetchFailed (WrongContent
        when nothing is kept), FetchStopped, NoSpace and StoreFailed; but for WrongContent what has come is kept.
        """
        with self._errors():
            flags = os.O_RDWR | os.O_CREAT
            self._fd = self.folder.open(self._beside.part, flags, "part.open")
        self._board = Board(None, Spans(), Spans(), self.connections)
        try:
            there = self._resumed()
            self.told(there.count, self._identity.size, "fetching")  # what comes from here on is counted by who is told
            while True:
                fresh = not there.count
                digest = self._attempts(there)
                if not self.file.sha256 or digest == self.file.sha256:
                    with self._errors():
                        self.disk.sync(self._fd)
                    return Arrived(self._board.size or 0, digest, self._identity.etag)
                if fresh:
                    self._refuse(f"its SHA-256 is {digest}, not {self.file.sha256}")
                logger.warning("%s: what came earlier is damaged; once more from the beginning", self.file.path)
                there = self._afresh()
        except BaseException:
            if self._worthless or not self._board.done_bytes:
                with contextlib.suppress(OSError):
                    journal.discard(self.folder, self._beside, part=True)
            raise
        finally:
            os.close(self._fd)

    def _resumed(self) -> Spans:
        """What an earlier fetch has left of this very file."""
        found = journal.load(self.folder, self._beside)
        if found is not None and found.identity.same(self._identity_or(found.identity)):
            there = found.there(journal.boot_id(), os.fstat(self._fd).st_size)
            if there.count:
                self._identity, self._settled = found.identity, Spans.of(found.settled)
                logger.info("%s: goes on after %d bytes", self.file.path, there.count)
                return there
        return self._afresh()

    def _identity_or(self, found: Identity) -> Identity:
        """Ours, with what only the server says: it is asked whether that still holds, by If-Range."""
        mine = self._identity
        return Identity(mine.url, mine.size, mine.sha256, found.etag)

    def _afresh(self) -> Spans:
        with self._errors():
            journal.discard(self.folder, self._beside, part=False)
            self.disk.truncate(self._fd, 0)
        self._identity = Identity(shown(self.file.url), self.file.size_bytes, self.file.sha256)
        self._settled = Spans()
        return Spans()

    def _attempts(self, there: Spans) -> str:
        """The hash of all of it, from the beginning as often as the file changes meanwhile."""
        while True:
            self._board = Board(self._identity.size, there, self._settled, self.connections)
            try:
                return self._once()
            except _Changed as error:
                self._restarts += 1
                self._etags = not self.file.sha256  # servers of one file may differ in tags: then the hash decides
                if self._restarts > MOST_RESTARTS:
                    raise FetchFailed(
                        f"{shown(self.file.url)} changes while it is fetched: {error}.", hint="Try again later."
                    ) from None
                logger.info("%s: %s; from the beginning", self.file.path, error)
                self._direct = ""
                there = self._afresh()
                self.web.patience.nap(self.web.patience.pause_s(self._restarts), self.stop)

    def _once(self) -> str:
        with self._crew() as (crew, line):
            if not self._board.whole:
                segment = self._board.first()
                answer = self._first(segment, line)
                if answer.status == 200:
                    crew.append(self._pool.submit(self._stream, answer, segment))
                else:
                    for number in range(self.connections):
                        self._board.join()
                        start = (segment, answer, line) if number == 0 else (None, None, None)
                        crew.append(self._pool.submit(self._work, *start))
            crew += [self._pool.submit(self._hash), self._pool.submit(self._settle)]
            self._watch(crew)
            return self._digest

    @contextlib.contextmanager
    def _crew(self) -> Iterator[tuple[list[Future[None]], Line]]:
        """Threads that have ended when this does, and a connection for the first request."""
        crew: list[Future[None]] = []
        self._pool = ThreadPoolExecutor(self.connections + 2, thread_name_prefix="fetch")
        try:
            with self.web.line() as line:
                try:
                    yield crew, line
                finally:
                    self._board.halt()
                    self._pool.shutdown(wait=True)
        finally:
            self._save()

    def _watch(self, crew: list[Future[None]]) -> None:
        """Until all have done their part; the first failure is everybody's."""
        waiting = set(crew)
        last, told_at, began = -1, 0.0, self.web.patience.now()
        while waiting:
            pause_s = min(SAVED_S[1], max(SAVED_S[0], SAVED_SHARE * (self.web.patience.now() - began)))
            done, waiting = concurrent.futures.wait(waiting, pause_s, return_when=concurrent.futures.FIRST_EXCEPTION)
            if self.stop():
                raise FetchStopped(hint="The same command goes on with it.")
            for each in done:
                each.result()
            count = self._board.done_bytes
            if count != last:
                last = count
                self._save()
            now = self.web.patience.now()
            if now - told_at >= TOLD_AFTER_S:
                told_at = now
                self.told(count, self._board.size, "verifying" if self._board.whole else "fetching")

    def _save(self) -> None:
        written, settled = self._board.spans()
        doing = "verifying" if self._board.whole else "fetching"
        with self._errors():
            journal.save(
                self.folder,
                self._beside,
                Journal(journal.VERSION, self._identity, journal.boot_id(), written, settled, doing),
            )

    def _first(self, segment: Segment, line: Line) -> Answer:
        """
        The answer that tells what file this is: 206 where it may come in parts, else 200. Raises _Changed.

        Parts need to be of the same file: where neither a hash nor a strong ETag tells that, it comes as one.
        """
        answer = self._opened(segment, line)
        try:
            self._look_at(answer)
            if answer.status == 200 and self._board.done_bytes:
                raise _Changed("the server gives all of it instead of the rest")
            size, known = answer.whole_bytes, self._identity
            if known.size is not None and size is not None and size != known.size:
                if self.file.size_bytes is not None:
                    self._refuse(f"it has {size:,} bytes, not {self.file.size_bytes:,}")
                raise _Changed("its size is another one")
            if known.size is None and size is not None:
                self.room(size)
                self._board.sized(size)
                segment.end = min(size, segment.end or size)
            self._identity = Identity(known.url, known.size or size, known.sha256, known.etag or answer.etag)
            if answer.status == 206 and (self._identity.size is None or not self._identity.told):
                answer.close()
                answer = self.web.open(self._direct or self.file.url, stop=self._stopped, line=line)
        except BaseException:
            answer.close()
            raise
        return answer

    def _look_at(self, answer: Answer) -> None:
        if answer.is_page and not self.file.path.endswith((".html", ".htm")):
            raise WrongContent(
                f"{answer.target.shown} is a page for people, not a file.",
                hint="Name the address of the file itself; if the page asks for a login, give a token.",
            )

    def _opened(self, segment: Segment, line: Line) -> Answer:
        """A segment's answer; once more from the first address where the one that it led to has become void."""
        headers = {"If-Range": self._identity.etag} if self._identity.etag and self._etags else {}
        for url in (self._direct, self.file.url):
            if not url:
                continue
            try:
                answer = self.web.open(
                    url, headers=headers, start=segment.at, end=segment.end, stop=self._stopped, line=line
                )
                self._direct = answer.url if answer.url != target_of(self.file.url).url else ""
                return answer
            except Denied:
                if url == self.file.url:
                    raise
                self._direct = ""
            except Unranged as error:
                if segment.at == 0:  # an empty file has no first byte
                    return self.web.open(self.file.url, stop=self._stopped, line=line)
                raise _Changed("it is shorter now") from error
        raise AssertionError("the file's own address was asked")

    def _stopped(self) -> bool:
        return self._board.halted or self.stop()

    def _work(self, segment: Segment | None, answer: Answer | None, line: Line | None) -> None:
        """One connection: segment after segment, until none is left or it fails too often while others do not."""
        failures = 0
        buffer = memoryview(bytearray(BUFFER))
        with self.web.line() if line is None else contextlib.nullcontext(line) as mine:
            while segment is not None or (segment := self._board.take()) is not None:
                began = segment.at
                try:
                    self._segment(segment, answer, mine, buffer)
                    failures = 0
                except (_Broken, Interrupted, TooBusy) as error:
                    logger.info("%s", error)
                    failures = 1 if segment.at - began >= _WORTH_A_TRY else failures + 1
                    if not isinstance(error, _Broken) or failures > self.web.rules.retries:
                        self._board.give_back(segment)
                        if self._board.retire():
                            return
                        raise error.__cause__ if isinstance(error, _Broken) and error.__cause__ else error from None
                self._board.give_back(segment)
                segment = answer = None
                if failures:
                    self.web.patience.nap(self.web.patience.pause_s(failures), self._stopped)

    def _segment(self, segment: Segment, answer: Answer | None, line: Line, buffer: memoryview) -> None:
        with answer or self._opened(segment, line) as answer:
            self._check_part(answer, segment)
            assert segment.end is not None
            while segment.at < segment.end:
                try:
                    count = answer.readinto(buffer[: segment.end - segment.at])
                except Interrupted as error:
                    raise _Broken(error.message) from error
                if not count:
                    self._odd(f"{answer.target.shown} sent less than was asked for")
                self._write(buffer[:count], segment)

    def _check_part(self, answer: Answer, segment: Segment) -> None:
        if answer.status != 206:
            raise _Changed("the server gives all of it instead of a part")
        if answer.whole_bytes not in (None, self._identity.size):
            raise _Changed("its size is another one")
        if answer.first_byte != segment.at:
            self._odd(f"{answer.target.shown} sent another part than was asked for")
        if self._etags and answer.etag != self._identity.etag:
            raise _Changed("its ETag is another one")

    def _odd(self, what: str) -> None:
        raise _Broken(what) from Interrupted(f"{what}.", hint="Try again later.")

    def _stream(self, answer: Answer, segment: Segment) -> None:
        """A server without ranges: all of it by one connection, and from the beginning if that breaks."""
        buffer = memoryview(bytearray(BUFFER))
        segment.end = None
        with answer:
            framed = answer.framed
            if not framed and not self.file.sha256 and not self.file.path.endswith(".gguf"):
                self._refuse("the server says neither its size nor where it ends, so nothing tells whether it is whole")
            while True:
                try:
                    count = answer.readinto(buffer)
                except Interrupted as error:
                    raise _Changed(error.message.rstrip(".")) from error
                if not count:
                    break
                if self._identity.size is not None and segment.at + count > self._identity.size:
                    self._refuse(f"it has more than the {self._identity.size:,} bytes that were promised")
                self._write(buffer[:count], segment)
        if self._identity.size not in (None, segment.at):
            self._refuse(f"it has {segment.at:,} bytes, not {self._identity.size:,}")
        self._board.sized(segment.at)

    def _write(self, data: memoryview, segment: Segment) -> None:
        if segment.at == 0 and self.file.path.endswith(".gguf") and bytes(data[:4]) != b"GGUF"[: len(data)]:
            self._refuse(f"it begins with {bytes(data[:4])!r}, so it is no GGUF file")
        with self._errors(), self._writing:
            self.disk.write(self._fd, data, segment.at)
        self._board.wrote(segment, len(data))

    def _hash(self) -> None:
        digest, at = hashlib.sha256(), 0
        buffer = memoryview(bytearray(HASH_BUFFER))
        while (end := self._board.to_hash(at)) > at:
            while at < end and not self._board.halted:
                with self._errors():
                    count = os.preadv(self._fd, [buffer[: end - at]], at)
                if not count:
                    raise FetchFailed(f"{self.file.path} got shorter while it was fetched.", hint="Fetch it again.")
                digest.update(buffer[:count])
                at += count
        self._digest = digest.hexdigest()

    def _settle(self) -> None:
        """Flush early and often: the disk works while the network does, and less is lost with the power."""
        while self._board.unsettled(SETTLED_AFTER):
            written, _ = self._board.spans()
            with self._errors():
                self.disk.settle(self._fd)
            self._board.settled(written)

    def _refuse(self, what: str) -> None:
        self._worthless = True
        raise WrongContent(
            f"{shown(self.file.url)} is not what was promised: {what}. Nothing of it is kept.",
            hint="Try again; if it stays so, tell whoever offers it.",
        )

    def _errors(self) -> contextlib.AbstractContextManager[None]:
        return disk_errors(f"{self.folder.path / self._beside.name} cannot be written")
