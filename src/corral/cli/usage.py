"""Wrong usage: the command line itself is at fault, so the exit code is 2."""

from __future__ import annotations

from corral.domain.errors import BadRequest


class UsageError(BadRequest):
    """The command line cannot be understood."""

    code = "wrong_usage"
