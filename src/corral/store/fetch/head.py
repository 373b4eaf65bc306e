"""How the head of an answer is read: what comes before it is no answer yet."""

from __future__ import annotations

import http.client
from typing import Final

MOST_INTERIM: Final = 20


class Response(http.client.HTTPResponse):
    """
    The standard library reads past `100 Continue` alone, and takes a `103 Early Hints` for the answer.

    An answer of 101 would be the last one that is HTTP; nobody asks for that.
    """

    def begin(self) -> None:
        """Up to the body of the final answer. Raises HTTPException."""
        for _ in range(MOST_INTERIM + 1):
            super().begin()
            if not 101 < self.status < 200:
                return
            self.headers = None  # type: ignore[assignment]  # with them it would not begin again
        raise http.client.HTTPException(f"more than {MOST_INTERIM} interim answers")
