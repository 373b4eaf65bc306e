"""
Heads of HTTP/1 messages: one strict reader for requests, and the pieces from which answers are built.

llhttp (through httptools) judges the syntax. What it lets through, and what a gateway must not, is refused here:
absolute targets, more than one Host, codings other than `chunked`, `Transfer-Encoding` in HTTP/1.0, two spaces in the
request line, HTTP/0.9. `tests/unit/kit/test_http_heads.py` holds the table of both, so that a parser that becomes
lenient is noticed.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final

import httptools

END_OF_HEAD: Final = b"\r\n\r\n"

STATUS_LINES: Final[dict[int, bytes]] = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}

_REQUEST_LINE = re.compile(rb"\A([A-Z]{1,16}) ([!-~]+) HTTP/1\.([01])\r\n")
_HOST = re.compile(rb"\A(?:[A-Za-z0-9._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?\Z")
_ONLY_ONCE: Final = frozenset(
    {
        b"host", b"content-length", b"transfer-encoding", b"content-type", b"expect", b"origin",
        b"authorization", b"x-api-key",
    }
)  # fmt: skip


class BadHead(ValueError):
    """A head that is not accepted. `status` is the answer; the connection cannot be trusted any further."""

    def __init__(self, message: str, status: int = 400) -> None:
        self.status = status
        super().__init__(message)


class RequestHead:
    """
    One request head, checked. Header names are lower case, values without outer blanks.

    `headers` keeps all in order; `fields` has the last value of each name (names that decide something occur once).
    `path` and `query` are the raw target's parts, percent-encoding kept.
    """

    __slots__ = ("chunked", "fields", "headers", "keep_alive", "length", "method", "minor", "path", "query", "target")

    def __init__(self, method: bytes, target: bytes, minor: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.method = method
        self.target = target
        self.path, _, self.query = target.partition(b"?")
        self.minor = minor
        self.headers = headers
        self.fields = dict(headers)
        self.length: int | None = None
        self.chunked = False
        self.keep_alive = minor == 1

    @property
    def has_body(self) -> bool:
        """True when body bytes follow the head."""
        return self.chunked or bool(self.length)


class _Collector:
    """What llhttp reports of one head."""

    __slots__ = ("complete", "headers")

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.complete = True


def parse_request_head(block: bytes, *, count_limit: int) -> RequestHead:
    """The head in `block`, which ends with its empty line and holds nothing else. Raises BadHead."""
    if block.count(b"\n") > count_limit + 2:
        raise BadHead(f"The request has more than {count_limit} header fields.", 431)
    collector = _Collector()
    try:
        httptools.HttpRequestParser(collector).feed_data(block)
    except httptools.HttpParserUpgrade:
        pass  # the head is fine; whether the upgrade is wanted is the caller's question
    except httptools.HttpParserError as error:
        raise BadHead(f"The request head is malformed: {error}.", _syntax_status(block)) from None
    line = _REQUEST_LINE.match(block)
    if line is None or not collector.complete:
        raise BadHead("The request head is malformed.", _syntax_status(block))
    target = line[2]
    if not target.startswith(b"/") and target != b"*":
        raise BadHead("The request target must be a path.")
    head = RequestHead(line[1], target, 1 if line[3] == b"1" else 0, collector.headers)
    _check(head)
    return head


def _syntax_status(block: bytes) -> int:
    """505 for a version of HTTP that is not spoken here, else 400."""
    version = block.partition(b"\r\n")[0].rpartition(b" ")[2]
    return 505 if re.fullmatch(rb"HTTP/[2-9](\.[0-9])?", version) else 400


def _check(head: RequestHead) -> None:
    fields = head.fields
    if len(fields) != len(head.headers):
        _check_repeats(head.headers)
    host = fields.get(b"host")
    if host is None:
        if head.minor == 1:
            raise BadHead("The Host header is missing.")
    elif _HOST.match(host) is None:
        raise BadHead("The Host header is malformed.")
    length = fields.get(b"content-length")
    if length is not None:
        if not length.isdigit() or len(length) > 18:
            raise BadHead("The Content-Length header is malformed.")
        head.length = int(length)
    coding = fields.get(b"transfer-encoding")
    if coding is not None:
        if length is not None or head.minor == 0 or coding.lower() != b"chunked":
            raise BadHead("The only Transfer-Encoding accepted is chunked, without Content-Length, in HTTP/1.1.")
        head.chunked = True
    connection = fields.get(b"connection")
    if connection is not None:
        tokens = connection.lower()
        if b"close" in tokens:
            head.keep_alive = False
        elif b"keep-alive" in tokens:
            head.keep_alive = True


def _check_repeats(headers: list[tuple[bytes, bytes]]) -> None:
    seen: set[bytes] = set()
    for name, _ in headers:
        if name in seen and name in _ONLY_ONCE:
            raise BadHead(f"The {name.decode('latin-1')} header must not be repeated.")
        seen.add(name)
