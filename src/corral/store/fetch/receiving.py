"""What comes over the connections of one attempt: answers asked for, held against the promise, and written."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from corral.store.fetch.answer import Answer
from corral.store.fetch.board import Board, Segment
from corral.store.fetch.denial import Denied, TooBusy, Unranged
from corral.store.fetch.patience import Stop
from corral.store.fetch.promise import Broken, Changed, Promise, odd
from corral.store.fetch.rules import target_of
from corral.store.fetch.web import Line, Web
from corral.store.fetch.wire import Interrupted

logger = logging.getLogger(__name__)

BUFFER: Final = 1024 * 1024
_WORTH_A_TRY: Final = 64 * 1024  # bytes that make up for an earlier failure


@dataclass(slots=True)
class Receiving:
    """`put` writes bytes where they belong; `room` is asked for a size that the first answer tells."""

    web: Web
    board: Board
    promise: Promise  # gets firmer with the first answer
    put: Callable[[memoryview, int], None]
    room: Callable[[int], None]
    stop: Stop
    _direct: str = ""  # where redirects led to

    def begin(self, segment: Segment, line: Line) -> Answer:
        """
        The answer that tells what file this is: 206 where it may come in parts, else 200. Raises Changed.

        Parts need to be of the same file: where neither a hash nor a strong ETag tells that, it comes as one.
        """
        answer = self._asked(segment, line)
        try:
            known = self.promise
            self.promise = known.opened(answer, begun=self.board.done_bytes > 0)
            size = self.promise.size
            if known.size is None and size is not None:
                self.room(size)
                self.board.sized(size)
                segment.end = min(size, segment.end or size)
            if answer.status == 206 and not self.promise.in_parts:
                answer.close()
                answer = self.web.open(self._direct or self._url, stop=self._stopped, line=line)
        except BaseException:
            answer.close()
            raise
        return answer

    def segments(self, segment: Segment | None, answer: Answer | None, line: Line | None) -> None:
        """One connection: segment after segment, until none is left or it fails too often while others do not."""
        failures = 0
        buffer = memoryview(bytearray(BUFFER))
        with self.web.line() if line is None else contextlib.nullcontext(line) as mine:
            while segment is not None or (segment := self.board.take()) is not None:
                began = segment.at
                try:
                    self._segment(segment, answer, mine, buffer)
                    failures = 0
                except (Broken, Interrupted, TooBusy) as error:
                    logger.info("%s", error)
                    failures = 1 if segment.at - began >= _WORTH_A_TRY else failures + 1
                    if not isinstance(error, Broken) or failures > self.web.rules.retries:
                        self.board.give_back(segment)
                        if self.board.retire():
                            return
                        raise (error.error if isinstance(error, Broken) else error) from None
                self.board.give_back(segment)
                segment = answer = None
                if failures:
                    self.web.patience.nap(self.web.patience.pause_s(failures), self._stopped)

    def stream(self, answer: Answer, segment: Segment) -> None:
        """A server without ranges: all of it by one connection, and from the beginning if that breaks."""
        buffer = memoryview(bytearray(BUFFER))
        segment.end = None
        with answer:
            self.promise.check_stream(answer)
            while True:
                try:
                    count = answer.readinto(buffer)
                except Interrupted as error:
                    raise Changed(error.message.rstrip(".")) from error
                if not count:
                    break
                self._write(buffer[:count], segment)
        self.promise.check_length(segment.at)
        self.board.sized(segment.at)

    def _segment(self, segment: Segment, answer: Answer | None, line: Line, buffer: memoryview) -> None:
        with answer or self._asked(segment, line) as answer:
            self.promise.check_part(answer, segment.at)
            assert segment.end is not None
            while segment.at < segment.end:
                try:
                    count = answer.readinto(buffer[: segment.end - segment.at])
                except Interrupted as error:
                    raise Broken(error) from error
                if not count:
                    raise odd(answer, "sent less than was asked for")
                self._write(buffer[:count], segment)

    def _asked(self, segment: Segment, line: Line) -> Answer:
        """A segment's answer; once more from the first address where the one that it led to has become void."""
        for url in (self._direct, self._url):
            if not url:
                continue
            try:
                answer = self.web.open(
                    url, headers=self.promise.headers, start=segment.at, end=segment.end, stop=self._stopped, line=line
                )
                self._direct = answer.url if answer.url != target_of(self._url).url else ""
                return answer
            except Denied:
                if url == self._url:
                    raise
                self._direct = ""
            except Unranged as error:
                if segment.at == 0:  # an empty file has no first byte
                    return self.web.open(self._url, stop=self._stopped, line=line)
                raise Changed("it is shorter now") from error
        raise AssertionError("the file's own address was asked")

    def _write(self, data: memoryview, segment: Segment) -> None:
        self.promise.check_bytes(data, segment.at)
        self.put(data, segment.at)
        self.board.wrote(segment, len(data))

    def _stopped(self) -> bool:
        return self.board.halted or self.stop()

    @property
    def _url(self) -> str:
        return self.promise.file.url
