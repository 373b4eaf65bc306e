"""How long to wait before a server is asked again, and whether to ask it again at all."""

from __future__ import annotations

import contextlib
import email.utils
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from corral.domain.errors import FetchFailed, FetchStopped

FIRST_S: Final = 0.5
LONGEST_S: Final = 30.0
LOOK_S: Final = 0.25  # how often a wait looks whether it was stopped

Stop = Callable[[], bool]


def never() -> bool:
    """Nobody stops it."""
    return False


@contextlib.contextmanager
def within(longest_s: float, what: str) -> Iterator[Stop]:
    """
    One deadline for all that is asked in the block, for whoever has it end as the given `stop` says.

    Raises FetchFailed in place of FetchStopped.
    """
    end = time.monotonic() + longest_s
    try:
        yield lambda: time.monotonic() >= end
    except FetchStopped:
        raise FetchFailed(
            f"{what} has not come within {longest_s:.0f} s: the server, or the way to it, is too slow.",
            hint="Try again later, or fetch the model: what has come of it then stays.",
        ) from None


@dataclass(frozen=True, slots=True)
class Patience:
    """Time as this room needs it; all of it can be faked."""

    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    chance: Callable[[], float] = random.random  # from 0 to 1

    def pause_s(self, attempt: int) -> float:
        """After the `attempt`th failure, from 1. Between half and the whole: many clients must not come back as one."""
        whole: float = min(LONGEST_S, FIRST_S * 2.0 ** min(attempt - 1, 16))
        return whole * (0.5 + self.chance() / 2)

    def asked_s(self, retry_after: str) -> float | None:
        """What a Retry-After header asks for, as seconds or as a date; None where it says nothing."""
        text = retry_after.strip()
        if text.isascii() and text.isdecimal():
            return float(text) if len(text) < 10 else float("inf")
        try:
            then = email.utils.parsedate_to_datetime(text).timestamp()
        except (ValueError, OverflowError):  # of years that no clock has
            return None
        return max(0.0, then - self.wall())

    def nap(self, seconds: float, stop: Stop) -> None:
        """Wait. Raises FetchStopped soon after it is stopped."""
        end = self.now() + seconds
        while (left := end - self.now()) > 0:
            if stop():
                raise FetchStopped()
            self.sleep(min(left, LOOK_S))
        if stop():
            raise FetchStopped()
