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

from corral.kit.http_heads import (
    END_OF_HEAD,
    BadHead,
    RequestHead,
    ResponseHead,
    SameHead,
    parse_request_head,
    parse_response_head,
)

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
        ("1.1", "Connection: close\r\nConnection: keep-alive\r\n", False),
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


ANSWER = b"HTTP/1.1 200 OK\r\n"
BAD_ANSWERS = {
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "two lengths": ANSWER + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n",
    "length and chunks": ANSWER + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
    "gzip": ANSWER + b"Transfer-Encoding: gzip\r\n\r\n",
    "gzip, chunked": ANSWER + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "chunked twice": ANSWER + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a length with a sign": ANSWER + b"Content-Length: +2\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\nX: y\r\n\r\n",
    "folding": ANSWER + b"X: y\r\n z\r\n\r\n",
    "NUL": ANSWER + b"X: \0\r\n\r\n",
    "a switch of protocols": b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_answers_that_are_refused(name: str) -> None:
    with pytest.raises(BadHead):
        parse_response_head(BAD_ANSWERS[name])


@pytest.mark.parametrize(
    ("block", "length", "chunked", "keep_alive"),
    [
        (ANSWER + b"Content-Length: 12 \r\n\r\n", 12, False, True),
        (ANSWER + b"Transfer-Encoding: Chunked\r\n\r\n", None, True, True),
        (ANSWER + b"Content-Length: 1\r\nConnection: close\r\n\r\n", 1, False, False),
        (ANSWER + b"Content-Length: 1\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n", 1, False, False),
        (ANSWER + b"\r\n", None, False, True),
        (ANSWER + b"Content-Length: 0\r\n\r\n", 0, False, True),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", 1, False, False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n", 1, False, True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", None, False, True),
    ],
)
def test_the_framing_of_answers(block: bytes, length: int | None, chunked: bool, keep_alive: bool) -> None:
    head = parse_response_head(block)
    assert (head.length, head.chunked, head.keep_alive) == (length, chunked, keep_alive)


SAME = {
    "a client": b"POST /v1/x?a=b HTTP/1.1\r\nHost: a:1\r\nContent-Length: 133\r\nAuthorization: Bearer k\r\n\r\n",
    "length last": b"POST / HTTP/1.1\r\nHost: a\r\nX-Content-Length: 7\r\ncontent-length:5\r\n\r\n",
    "a trap": b"POST / HTTP/1.1\r\nHost: a\r\nX: Content-Length: 9\r\nContent-Length: \t 9\r\n\r\n",
    "a blank behind": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9 \r\n\r\n",
    "no length": b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n",
    "chunks": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
}


def seen(head: RequestHead | ResponseHead, length: int | None) -> list[object]:
    """All that a head says."""
    headers = [pair for pair in head.headers if pair[0] != b"content-length"]
    known = {name: getattr(head, name) for name in head.__slots__ if name not in ("headers", "fields", "length")}
    return [headers, known, length]


telling = st.sampled_from([b"\r\n", b"\n", b" ", b"0", b"12", b":", b"Content-Length: 1\r\n"])
edits = st.lists(
    st.tuples(st.integers(0, 200), st.integers(0, 3), st.one_of(telling, st.binary(max_size=3))), max_size=3
)


@given(st.sampled_from(sorted(SAME)), edits, st.binary(max_size=30))
def test_a_head_that_is_taken_for_the_same_one_is_what_the_parser_makes_of_it(
    name: str, changes: list[tuple[int, int, bytes]], body: bytes
) -> None:
    same = SameHead(SAME[name], parse_request_head(SAME[name], count_limit=100))
    data = SAME[name] + body
    for at, drop, put in changes:
        data = data[:at] + put + data[at + drop :]
    end = same.end(data)
    if end:
        assert end == data.find(END_OF_HEAD) + 4
        parsed = parse_request_head(data[:end], count_limit=100)
        assert seen(same.head, same.length) == seen(parsed, parsed.length)
    elif data.startswith(SAME[name]):
        pytest.fail("the same bytes were not known again")


def test_another_length_is_the_same_head() -> None:
    block = SAME["a trap"]
    same = SameHead(block, parse_request_head(block, count_limit=100))
    assert same.end(block.replace(b"\t 9", b"\t 120") + b"{}") == len(block) + 2
    assert same.length == 120
    for wrong in (b"", b"-1", b"1 2", b"9" * 19, b"\xb2", b"1\r\nX"):
        assert same.end(block.replace(b"\t 9", b"\t " + wrong)) == 0
