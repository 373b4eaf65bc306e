"""
What browsers are told about pages of other origins (https://fetch.spec.whatwg.org/#http-cors-protocol). Pure.

The door has judged the origin before; these are only the lines that let its page send what it wants and read what it
gets. A page may send any header it asks for: clients' libraries add dozens of their own (`x-stainless-os`,
`anthropic-dangerous-direct-browser-access`, ...), nobody here trusts one for coming from a page, and `*` would not do,
for it leaves out `authorization`.
"""

from __future__ import annotations

import re
from typing import Final

_EXPOSED: Final = b"x-request-id, request-id, x-corral-source, retry-after, server-timing, x-corral-ignored-options"
_USUAL: Final = (
    b"authorization, content-type, x-api-key, x-request-id, anthropic-version, anthropic-beta, "
    b"openai-organization, openai-project"
)
"""For a preflight that asks for none, or makes no sense."""

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_NAMES: Final = re.compile(rb"\A%b(?:[ \t]*,[ \t]*%b)*\Z" % (_TOKEN, _TOKEN))
_NAMES_LIMIT: Final = 4096


def answer_lines(origin: bytes) -> bytes:
    """The header lines of every answer to a page of this origin."""
    return b"access-control-allow-origin: %b\r\nvary: origin\r\naccess-control-expose-headers: %b\r\n" % (
        origin,
        _EXPOSED,
    )


def preflight_lines(asked: bytes) -> bytes:
    """Further lines of the answer to a preflight, which asks for these headers (Access-Control-Request-Headers)."""
    good = len(asked) <= _NAMES_LIMIT and _NAMES.match(asked) is not None
    return (
        b"access-control-allow-methods: GET, POST, DELETE, OPTIONS\r\n"
        b"access-control-allow-headers: %b\r\naccess-control-max-age: 600\r\n" % (asked if good else _USUAL)
    )
