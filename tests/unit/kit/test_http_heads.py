"""
The strict reader of request heads.

`LENIENT` is what llhttp lets through and the reader must refuse; `STRICT` is what llhttp itself refuses. Together they
hold the line when the parser library changes.
"""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.kit.http_heads import BadHead, parse_request_head

GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"

LENIENT = {
    "an absolute target": b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "two spaces": b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": GET + b"Host: b\r\n\r\n",
    "a host with a path": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "gzip, chunked": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "chunked in 1.0": b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    "two credentials": GET + b"Authorization: a\r\nAuthorization: b\r\n\r\n",
}
STRICT = {
    "two lengths": POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
    "a length with a sign": POST + b"Content-Length: +1\r\n\r\n",
    "length and chunks": POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "chunked, identity": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n",
    "identity": POST + b"Transfer-Encoding: identity\r\n\r\n",
    "bare LF": GET + b"X: y\nZ: z\r\n\r\n",
    "bare CR": GET + b"X: y\rZ: z\r\n\r\n",
    "folding": GET + b"X: y\r\n z\r\n\r\n",
    "NUL": GET + b"X: \0\r\n\r\n",
    "a blank in a name": GET + b"X : y\r\n\r\n",
    "no colon": GET + b"X\r\n\r\n",
    "a blank first": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "a byte above 127 in the target": b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
}


@pytest.mark.parametrize("name", LENIENT)
def test_what_llhttp_lets_through_is_refused(name: str) -> None:
    httptools.HttpRequestParser(object()).feed_data(LENIENT[name])
    with pytest.raises(BadHead):
        parse_request_head(LENIENT[name], count_limit=100)


@pytest.mark.parametrize("name", STRICT)
def test_what_llhttp_refuses(name: str) -> None:
    with pytest.raises(BadHead):
        parse_request_head(STRICT[name], count_limit=100)


def test_a_head_and_its_parts() -> None:
    head = parse_request_head(
        b"POST /a%20b?x=1?y HTTP/1.1\r\nHost: h:1\r\nX-A:  1 \r\nx-a: 2\r\nContent-Length: 007 \r\n\r\n",
        count_limit=100,
    )
    assert (head.method, head.target, head.path, head.query) == (b"POST", b"/a%20b?x=1?y", b"/a%20b", b"x=1?y")
    assert head.headers == [(b"host", b"h:1"), (b"x-a", b"1"), (b"x-a", b"2"), (b"content-length", b"007")]
    assert (head.fields[b"x-a"], head.length, head.chunked, head.minor) == (b"2", 7, False, 1)
    assert head.has_body


@pytest.mark.parametrize(
    ("version", "connection", "keep"),
    [
        ("1.1", "", True),
        ("1.1", "Connection: close\r\n", False),
        ("1.1", "Connection: X, Close\r\n", False),
        ("1.1", "Connection: keep-alive\r\n", True),
        ("1.0", "", False),
        ("1.0", "Connection: Keep-Alive\r\n", True),
        ("1.0", "Connection: keep-alive, close\r\n", False),
    ],
)
def test_keep_alive(version: str, connection: str, keep: bool) -> None:
    head = parse_request_head(f"GET / HTTP/{version}\r\nHost: a\r\n{connection}\r\n".encode(), count_limit=100)
    assert head.keep_alive is keep


def test_too_many_fields() -> None:
    block = GET + b"X: y\r\n" * 9 + b"\r\n"
    assert len(parse_request_head(block, count_limit=10).headers) == 10
    with pytest.raises(BadHead) as caught:
        parse_request_head(block, count_limit=9)
    assert caught.value.status == 431


@pytest.mark.parametrize("version", [b"HTTP/2.0", b"HTTP/3"])
def test_other_versions(version: bytes) -> None:
    with pytest.raises(BadHead) as caught:
        parse_request_head(b"GET / %b\r\nHost: a\r\n\r\n" % version, count_limit=9)
    assert caught.value.status == 505


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(noise: bytes) -> None:
    for block in (noise + b"\r\n\r\n", GET + noise + b"\r\n\r\n", GET + b"X: " + noise + b"\r\n\r\n"):
        try:
            head = parse_request_head(block, count_limit=50)
        except BadHead:
            continue
        assert b"\n" not in b"".join(name + value for name, value in head.headers)
