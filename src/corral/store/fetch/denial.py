"""What a server's refusal means, and what to do about it."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from typing import Final

from corral.domain.errors import FetchFailed, NotThere
from corral.domain.references import HUB_HOSTS
from corral.store.fetch.rules import Target

_AGAIN: Final = (408, 425, 429)
_NEVER: Final = (501, 505, 508, 510)  # failures of a server that stay


class Denied(NotThere):
    """401, 403, 404 or 410. `answered` is the status; `headers` (small letters) may say how to be let in."""

    def __init__(self, message: str, *, hint: str = "", answered: int, headers: Mapping[str, str]) -> None:
        self.answered, self.headers = answered, headers
        super().__init__(message, hint=hint)


class Unranged(FetchFailed):
    """416: the file is shorter than was thought, so it is another one."""


class TooBusy(FetchFailed):
    """A server still wants us to come back later, after all that we waited."""


def may_pass(status: int) -> bool:
    """Whether it may go well another time: servers in front of others have failures of their own (520 to 530)."""
    return status in _AGAIN or (500 <= status < 600 and status not in _NEVER)


def denial(target: Target, status: int, headers: Mapping[str, str], *, with_token: bool) -> FetchFailed:
    """An error for a status of 400 and above."""
    words = f"{status} {http.client.responses.get(status, '')}".strip()
    said = _printable(headers.get("x-error-message", ""))
    if said:
        words += f", {said!r}"
    message = f"{target.shown} cannot be had: the server says {words}."
    if status in (401, 403, 404, 410):
        return Denied(message, hint=_hint(target, status, headers, with_token), answered=status, headers=headers)
    if status == 416:
        return Unranged(f"{target.shown} has no such part.", hint="Fetch it again from the beginning.")
    if may_pass(status):
        return TooBusy(message, hint="Try again later; what has come so far is kept.")
    return FetchFailed(message, hint="Check the address.")


def _hint(target: Target, status: int, headers: Mapping[str, str], with_token: bool) -> str:
    hub = target.host in HUB_HOSTS or "x-error-code" in headers
    if hub and headers.get("x-error-code") == "GatedRepo":
        page = f"{target.origin}/{'/'.join(target.path.strip('/').split('/')[:2])}"
        ask = "" if "/api/" in target.path else f" at {page}"
        return f"Its owner shares it on conditions: accept them{ask}" + (
            "." if with_token else " and set HF_TOKEN to a token of that account."
        )
    if headers.get("x-error-code") == "RevisionNotFound":
        return "Check the revision, which is what stands behind the @."
    if status in (404, 410) and not hub:
        return "Check the address."
    if hub and status in (401, 404) and not with_token:  # the hub does not tell strangers what is private
        return "Check the name; if it is private, set HF_TOKEN to a token that may read it."
    if with_token:
        return "The token that was sent may not read it: check its rights and the name."
    if hub:
        return "Set HF_TOKEN to a token that may read it."
    return "It needs a login: give a token for this host (store.tokens)."


def _printable(text: str) -> str:
    return "".join(each for each in text if each.isprintable())[:200]
