"""What comes over the connections of one attempt: answers asked for, held against the promise, and written."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from corral.domain.errors import FetchFailed, FetchRefused
from corral.store.fetch.answer import Answer
from corral.store.fetch.board import Board, Segment
from corral.store.fetch.denial import TooBusy, Unranged
from corral.store.fetch.line import Line
from corral.store.fetch.patience import Stop
from corral.store.fetch.promise import SHOWN, Broken, Changed, Promise, Unparted, Worthless, odd
from corral.store.fetch.rules import target_of
from corral.store.fetch.spans import Spans
from corral.store.fetch.web import Web
from corral.store.fetch.wire import Interrupted

logger = logging.getLogger(__name__)

BUFFER: Final = 1024 * 1024
WORTH_A_TRY: Final = 64 * 1024  # bytes that make up for an earlier failure


@dataclass(slots=True)
class Receiving:
    """`put` writes bytes where they belong, `get` reads them; `room` is asked for a size that an answer tells first."""

    web: Web
    board: Board
    promise: Promise  # gets firmer with the first answer
    put: Callable[[memoryview, int], None]
    get: Callable[[memoryview, int], int]
    room: Callable[[int], None]
    stop: Stop
    answered: bool = False  # once it was, a host that is not there is taken to be there soon
    mixed: bool = False  # whether parts have come under several tags: perhaps of several files
    _direct: str = ""  # where redirects led to

    def begin(self, segment: Segment, line: Line) -> Answer:
        """
        The answer that tells what file this is: 206 where it may come in parts, else 200.

        Where some of the file is here, who gives all of it is asked a second time. Raises Changed, FetchFailed.
        """
        begun = self.board.done_bytes > 0
        failures = 0
        while True:
            try:
                answer = self._opened(segment, line, begun=begun)
                if answer.status == 206 or not begun or self.promise.streams:
                    return self._parted(answer, line, begun=begun)
                answer.close()
                logger.info("%s gives all of the file instead of the rest; once more", answer.target.shown)
            except Broken as error:
                logger.info("%s", error)
                if failures == self.web.rules.retries:
                    raise error.error from None
                failures += 1
            self.web.patience.nap(self.web.patience.pause_s(max(1, failures)), self._stopped)

    def _opened(self, segment: Segment, line: Line, *, begun: bool) -> Answer:
        answer = self._asked(segment, line)
        try:
            known = self.promise
            self.promise = known.opened(answer, begun=begun)
            size = self.promise.size
            if known.size is None and size is not None:
                self.room(size)
                self.board.sized(size)
                segment.end = min(size, segment.end or size)
        except BaseException:
            answer.close()
            raise
        return answer

    def _parted(self, answer: Answer, line: Line, *, begun: bool) -> Answer:
        """Parts need to be of the same file: where neither a hash nor a strong ETag tells that, it comes as one."""
        if answer.status == 200 or self.promise.in_parts:
            return answer
        answer.close()
        whole = self.web.open(self._direct or self._url, stop=self._stopped, line=line)
        try:
            self.promise = self.promise.opened(whole, begun=begun)
        except BaseException:
            whole.close()
            raise
        return whole

    def segments(self, segment: Segment | None, answer: Answer | None, line: Line | None) -> None:
        """
        One connection: segment after segment, until none is left or it is refused one, or fails too often.

        What one node of many refuses another may give: the others go on then, and the last one's end is the end.
        Raises Unparted, and FetchFailed at once where Corral does not go, or what came cannot be of the file.
        """
        failures = unparted = 0
        buffer = memoryview(bytearray(BUFFER))
        with self.web.line() if line is None else contextlib.nullcontext(line) as mine:
            while segment is not None or (segment := self.board.take()) is not None:
                began = segment.at
                try:
                    self._segment(segment, answer, mine, buffer)
                    failures = unparted = 0
                except (FetchRefused, Worthless):
                    raise
                except (Broken, FetchFailed) as error:
                    logger.info("%s", error)
                    failures = 1 if segment.at - began >= WORTH_A_TRY else failures + 1
                    unparted = unparted + 1 if isinstance(error, Unparted) else 0
                    if unparted == SHOWN or failures > self.web.rules.retries or not isinstance(error, Broken):
                        self._retire(segment, error)
                        return
                self.board.give_back(segment)
                segment = answer = None
                if failures:
                    self.web.patience.nap(self.web.patience.pause_s(failures), self._stopped)

    def _retire(self, segment: Segment, why: Broken | FetchFailed) -> None:
        """Raises what ended the last one, or the others before it."""
        self.board.give_back(segment)
        reasons = self.board.retire(why)
        if reasons:
            raise _decisive(reasons) from None

    def stream(self, answer: Answer, segment: Segment) -> None:
        """
        A server without ranges: all of it by one connection. What is here already is compared, and not written again.

        Raises Broken where it breaks, or turns out to be something else than the file of which some is here; what has
        come of the file is kept then. Raises Changed where it is another version of it, and Worthless.
        """
        earlier, settled = self.board.spans()
        segment.at, segment.end = 0, None
        try:
            with answer:
                self.promise.check_stream(answer)
                self._all_of(answer, segment, Spans(earlier))
            self.promise.check_length(segment.at)
        except Worthless as error:
            if not earlier:
                raise
            self.board.revert(earlier, settled)
            raise Broken(self.promise.refused(error.what)) from None
        self.board.sized(segment.at)

    def _all_of(self, answer: Answer, segment: Segment, there: Spans) -> None:
        buffer, own = memoryview(bytearray(BUFFER)), memoryview(bytearray(BUFFER))
        while True:
            here, end = there.run(segment.at)
            try:
                count = answer.readinto(buffer if end is None else buffer[: end - segment.at])
            except Interrupted as error:
                raise Broken(error) from error
            if not count:
                return
            if not here:
                self._write(buffer[:count], segment)
            elif self._same(buffer[:count], segment.at, own):
                self.board.wrote(segment, count)
            else:
                raise self.promise.differing(answer)

    def _same(self, data: memoryview, at: int, own: memoryview) -> bool:
        """Whether these bytes are what stands there."""
        done = 0
        while done < len(data) and (count := self.get(own[done : len(data)], at + done)):
            done += count
        return bytes(own[:done]) == bytes(data)  # as bytes: views are compared one by one

    def _segment(self, segment: Segment, answer: Answer | None, line: Line, buffer: memoryview) -> None:
        with answer or self._asked(segment, line) as answer:
            self.promise.check_part(answer, segment.at)
            if self.promise.other_tag(answer):
                self.mixed = True
            self.board.served()
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
            own = url == self._url
            try:
                answer = self.web.open(
                    url,
                    headers=self.promise.headers,
                    start=segment.at,
                    end=segment.end,
                    stop=self._stopped,
                    line=line,
                    patient=own and self.answered,
                )
                self.answered = True
                self._direct = answer.url if answer.url != target_of(self._url).url else ""
                return answer
            except Unranged as error:
                if segment.at == 0:  # an empty file has no first byte
                    return self.web.open(self._url, stop=self._stopped, line=line)
                if self.promise.file.size_bytes is not None:  # whoever says so has something else
                    raise Broken(error) from error
                raise Changed("it is shorter now") from error
            except FetchFailed as error:  # servers of signed addresses say in many ways that one has expired
                if own:
                    raise
                logger.info("%s Asking for it where it was first.", error.message)
                self._direct = ""
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


def _decisive(reasons: list[Exception]) -> Exception:
    """What may go well without parts; else what was refused, for that a bad day must not hide; else the first."""
    for each in reasons:
        if isinstance(each, Unparted):
            return each
    errors = [each.error if isinstance(each, Broken) else each for each in reasons]
    return next((each for each in errors if not isinstance(each, (Interrupted, TooBusy))), errors[0])
