"""
Whether a peer has left, asked of the socket itself.

A transport whose reading is paused does not notice the end of the stream. Where the system can tell a hang-up without
reading (POLLRDHUP on Linux, POLLHUP elsewhere), this asks; a hang-up that it cannot see is found when reading resumes.
"""

from __future__ import annotations

import select
from typing import Final

_HANGUP: Final = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR


def has_left(fd: int) -> bool:
    """True when the peer of this socket has closed or reset it, unread bytes or not."""
    if fd < 0:
        return True
    poll = select.poll()
    poll.register(fd, _HANGUP)
    return any(events & (_HANGUP | select.POLLNVAL) for _, events in poll.poll(0))
