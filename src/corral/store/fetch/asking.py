"""What is asked at each hop: the headers that may be told there, and where a redirect leads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from corral.domain.errors import FetchFailed, FetchRefused
from corral.store.fetch.answer import Answer
from corral.store.fetch.proxy import basic
from corral.store.fetch.rules import Target, joined, target_of
from corral.version import __version__

_EVERYWHERE: Final = ("accept", "if-range")  # headers of a caller that may go on to another origin
_PLAIN: Final = re.compile(r"[\t\x20-\x7e]*")


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked for, at each hop."""

    method: str
    headers: Mapping[str, str]
    span: str  # a Range header, or ""
    first: str = ""  # the origin that `headers` and the user of the address are meant for
    user: str = ""

    def head(self, target: Target, token: str) -> dict[str, str]:
        """All headers for one hop."""
        at_first = target.origin == self.first
        found = {"Host": target.authority, "User-Agent": f"corral/{__version__}", "Accept": "*/*"}
        given = {n: v for n, v in self.headers.items() if at_first or n.lower() in _EVERYWHERE}
        if target.user or (at_first and self.user):
            found["Authorization"] = basic(target.user or self.user)
        if token:
            found["Authorization"] = f"Bearer {token}"
        for name, value in given.items():
            found[next((each for each in found if each.lower() == name.lower()), name)] = value
        found["Accept-Encoding"] = "identity"  # a file's bytes, not what a server makes of them
        if self.span:
            found["Range"] = self.span
        for name, value in found.items():
            if not _PLAIN.fullmatch(value):
                raise FetchRefused(f"What is to be sent to {target.host} as {name} has characters that cannot be sent.")
        return found


def span_of(start: int | None, end: int | None) -> str:
    """A Range header for these bytes, the end exclusive; "" for all of them."""
    if start is None and end is None:
        return ""
    return f"bytes={start or 0}-{'' if end is None else end - 1}"


def next_hop(answer: Answer) -> Target:
    """Where a redirect leads. Raises FetchFailed, and FetchRefused where it may not."""
    where = _meant(answer.headers.get("location", ""))
    here = answer.target
    if not where:
        raise FetchFailed(f"{here.shown}: redirected to nowhere.", hint="Check the address in a browser.")
    target = target_of(joined(here.url, where))
    if here.scheme == "https" and target.scheme == "http":
        raise FetchRefused(
            f"{here.shown} leads to {target.shown}: from https to http, where anybody could change it.",
            hint="Name the address that it leads to, if it is meant.",
        )
    return target


def _meant(location: str) -> str:
    """Heads are read byte by byte as Latin-1, and servers that escape nothing write UTF-8."""
    try:
        return location.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return location
