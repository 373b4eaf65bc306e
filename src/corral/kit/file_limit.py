"""How many files (and connections) this process may have open."""

from __future__ import annotations

import resource


def raise_file_limit(wanted: int) -> int:
    """
    Let this process have so many files open, as far as it may raise that itself; how many that makes.

    Linux gives a process 1024 to begin with, for the sake of programs that still use select(2): less than 1,000
    streams need.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    except (ValueError, OSError):  # macOS has a bound of its own besides
        return soft
    return limit
