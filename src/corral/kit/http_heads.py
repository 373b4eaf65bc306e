"""
Heads of HTTP/1 messages: one strict reader for requests, one for answers, and the pieces from which answers are built.

llhttp (through httptools) judges the syntax of exactly the bytes of one head, in a parser made for it. What it lets
through, and what a gateway must not, is refused here: absolute targets, more than one Host, codings other than
`chunked`, `Transfer-Encoding` in HTTP/1.0, two spaces in the request line, HTTP/0.9.
`tests/unit/kit/test_http_heads.py` holds the table of both, so that a parser that becomes lenient is noticed.

Peers repeat themselves: on one connection head after head is the same but for its Content-Length. `SameHead` knows such
a head again by comparing bytes, so that it need not be parsed again; nothing that differs in any other byte passes it.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final, Generic, TypeVar

import httptools

END_OF_HEAD: Final = b"\r\n\r\n"

STATUS_LINES: Final[dict[int, bytes]] = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}

_REQUEST_LINE = re.compile(rb"\A([A-Z]{1,16}) ([!-~]+) HTTP/1\.([01])\r\n")
_LENGTH_LINE = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)\r\n", re.IGNORECASE)
_DIGITS_LIMIT: Final = 18
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

    # fmt: off
    __slots__ = (
        "chunked", "fields", "headers", "keep_alive", "length", "method", "minor", "path", "query", "sent", "target",
    )
    # fmt: on

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
        self.sent: tuple[object, bytes, bytes] | None = (
            None  # for whoever passes it on: to whom, where to, in which words
        )

    @property
    def has_body(self) -> bool:
        """True when body bytes follow the head."""
        return self.chunked or bool(self.length)


class ResponseHead:
    """
    One head of an answer, checked; names and values as in RequestHead.

    `length` None without `chunked`: the body ends with the connection, whatever `keep_alive` says.
    """

    __slots__ = ("chunked", "fields", "headers", "keep_alive", "length", "minor", "status")

    def __init__(self, status: int, minor: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status = status
        self.minor = minor
        self.headers = headers
        self.fields = dict(headers)
        self.length: int | None = None
        self.chunked = False
        self.keep_alive = minor == 1


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


Head = TypeVar("Head", RequestHead, ResponseHead)


class SameHead(Generic[Head]):
    """
    A head that was accepted, known again by its bytes; only the digits of its Content-Length may be others.

    They stand on a line of their own and decide nothing but the length (a second such line is never accepted), so what
    was found out about the rest of the head still holds.
    """

    __slots__ = ("_after", "_before", "_reach", "_start", "head", "length")

    def __init__(self, block: bytes, head: Head) -> None:
        self.head: Head = head
        self.length = head.length  # as the last match has it
        self._before, self._after = block, b""
        if head.length is not None:
            digits = _LENGTH_LINE.search(block)
            if digits is not None:
                self._before, self._after = block[: digits.start(1)], block[digits.end(1) :]
        self._start = len(self._before)
        self._reach = self._start + _DIGITS_LIMIT + len(self._after)

    def end(self, data: bytes) -> int:
        """Where the same head ends in `data`, whose length is then in `length`; 0 when it is another head."""
        if not data.startswith(self._before):
            return 0
        start, after = self._start, self._after
        if not after:
            return start
        end = data.find(after, start, self._reach)
        digits = data[start:end]
        if end < 0 or not digits.isdigit():
            return 0
        self.length = int(digits)
        return end + len(after)


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
        head.length = _length(length)
    coding = fields.get(b"transfer-encoding")
    if coding is not None:
        if length is not None or head.minor == 0 or coding.lower() != b"chunked":
            raise BadHead("The only Transfer-Encoding accepted is chunked, without Content-Length, in HTTP/1.1.")
        head.chunked = True
    _check_connection(head)


def _check_connection(head: RequestHead | ResponseHead) -> None:
    if b"connection" not in head.fields:
        return
    tokens = b",".join([value for name, value in head.headers if name == b"connection"]).lower()
    if b"close" in tokens:
        head.keep_alive = False
    elif b"keep-alive" in tokens:
        head.keep_alive = True


def _length(value: bytes) -> int:
    if not value.isdigit() or len(value) > _DIGITS_LIMIT:
        raise BadHead("The Content-Length header is malformed.")
    return int(value)


def parse_response_head(block: bytes, *, switching: bool = False) -> ResponseHead:
    """
    The head in `block`, which ends with its empty line and holds nothing else. Raises BadHead.

    `switching`: a switch of protocols was asked for, so that an answer may agree to it.
    """
    collector = _Collector()
    parser = httptools.HttpResponseParser(collector)
    try:
        parser.feed_data(block)
    except httptools.HttpParserUpgrade:
        if not switching:
            raise BadHead("a switch of protocols") from None
    except httptools.HttpParserError as error:
        raise BadHead(str(error)) from None
    if not collector.complete:
        raise BadHead("it is cut off")
    head = ResponseHead(parser.get_status_code(), 1 if block.startswith(b"HTTP/1.1") else 0, collector.headers)
    fields = head.fields
    length, coding = fields.get(b"content-length"), fields.get(b"transfer-encoding")
    if length is not None:
        head.length = _length(length)
    if coding is not None:
        codings = [value.lower() for name, value in head.headers if name == b"transfer-encoding"]
        if length is not None or codings != [b"chunked"]:
            raise BadHead("an unknown transfer coding")
        head.chunked = True
    _check_connection(head)
    return head


def _check_repeats(headers: list[tuple[bytes, bytes]]) -> None:
    seen: set[bytes] = set()
    for name, _ in headers:
        if name in seen and name in _ONLY_ONCE:
            raise BadHead(f"The {name.decode('latin-1')} header must not be repeated.")
        seen.add(name)
