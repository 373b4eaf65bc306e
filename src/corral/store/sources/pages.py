"""Listings that come in pages: where the next one is, as a Link header says it (RFC 8288)."""

from __future__ import annotations

import re
from typing import Final

_PARAMETER: Final = r'\s*;\s*([^\s;,="]+)\s*(?:=\s*(?:"([^"]*)"|([^\s;,"]*)))?'
_LINK: Final = re.compile(rf"<([^<>]*)>((?:{_PARAMETER})*)")


def next_page(link: str) -> str:
    """The address of the next page, however else the link is described; "" where this is the last one."""
    for found in _LINK.finditer(link):
        said = {name.lower(): quoted or plain for name, quoted, plain in reversed(re.findall(_PARAMETER, found[2]))}
        if "next" in said.get("rel", "").lower().split():
            return found[1]
    return ""
