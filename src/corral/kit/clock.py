"""The real clock."""

from __future__ import annotations

import time


class SystemClock:
    """`time.monotonic` and `time.time`; both in seconds."""

    now = staticmethod(time.monotonic)
    wall = staticmethod(time.time)
