"""The chunk decoder against llhttp as the oracle."""

from __future__ import annotations

from itertools import pairwise

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.kit.chunked import AnswerChunks, BadChunk, ChunkDecoder

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


class Oracle:
    """What llhttp makes of it."""

    def __init__(self) -> None:
        self.body = b""
        self.done = False

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.done = True


def decode(*pieces: bytes) -> tuple[bytes, bool, bytes]:
    """Body, whether it is complete, the rest."""
    decoder, body, rest = ChunkDecoder(), b"", b""
    for piece in pieces:
        if decoder.done:
            rest += piece
        else:
            body += decoder.feed(piece)
            rest = decoder.rest
    return body, decoder.done, rest


def encode(chunks: list[bytes], *, extension: bytes = b"", trailer: bytes = b"") -> bytes:
    """Chunked coding of these chunks."""
    out = b"".join(b"%X%b\r\n%b\r\n" % (len(data), extension, data) for data in chunks if data)
    return out + b"0\r\n" + trailer + b"\r\n"


@given(
    st.lists(st.binary(max_size=40), max_size=8),
    st.sampled_from([b"", b";a=b", b';q="x y"']),
    st.sampled_from([b"", b"X: y\r\n", b"X: y\r\nZ: z\r\n"]),
    st.binary(max_size=20),
    st.lists(st.integers(0, 400), max_size=20),
)
def test_the_body_and_its_end_are_exact_however_it_is_cut(
    chunks: list[bytes], extension: bytes, trailer: bytes, rest: bytes, cuts: list[int]
) -> None:
    wire = encode(chunks, extension=extension, trailer=trailer) + rest
    edges = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    pieces = [wire[a:b] for a, b in pairwise(edges)]
    assert decode(*pieces) == (b"".join(chunks), True, rest)


@given(st.lists(st.sampled_from([b"0", b"3", b"a", b"abc", b"\r\n", b"\n", b"\r", b";x", b" ", b"-", b"\r\n\r\n"])))
def test_nothing_is_accepted_that_llhttp_reads_differently(parts: list[bytes]) -> None:
    wire = b"".join(parts)
    oracle = Oracle()
    try:
        body, done, rest = decode(wire)
    except BadChunk:
        return
    if not done:
        return
    whole = wire[: len(wire) - len(rest)]
    httptools.HttpRequestParser(oracle).feed_data(HEAD + whole)
    assert (oracle.body, oracle.done) == (body, done)


@pytest.mark.parametrize(
    "wire",
    [
        b"x\r\n",
        b"\r\n",
        b"3\r\nabcd\r\n",
        b"3\r\nab\r\n0\r\n\r\n",
        b"3\nabc\r\n",
        b"0x3\r\n",
        b"+3\r\n",
        b"3 \r\n",
        b"3\r\nabc\nx",
        b"1" * 16 + b"\r\n",
        b"0\r\nX: y\n\r\n",
        b"0\r\n0\r\n\r\n",
        b"0\r\nX : y\r\n\r\n",
        b"0\r\n y\r\n\r\n",
        b"0\r\nX: \0\r\n\r\n",
        b"1;" + b"x" * 1100,
        b"1;" + b"x" * 900 + b"\r\na\r\n" + (b"1;" + b"x" * 900 + b"\r\na\r\n") * 20,
        b"0\r\n" + b"X: yyyyyyyy\r\n" * 2000,
    ],
)
def test_what_is_refused(wire: bytes) -> None:
    with pytest.raises(BadChunk):
        decode(wire)


@given(
    st.lists(st.binary(max_size=40), max_size=8),
    st.sampled_from([b"", b";a=b"]),
    st.sampled_from([b"", b"X: y\r\n"]),
    st.lists(st.integers(0, 400), max_size=20),
)
def test_answers_are_decoded_however_they_are_cut(
    chunks: list[bytes], extension: bytes, trailer: bytes, cuts: list[int]
) -> None:
    wire = encode(chunks, extension=extension, trailer=trailer)
    edges = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    decoder = AnswerChunks()
    body = b"".join(decoder.feed(wire[start:end]) for start, end in pairwise(edges))
    assert (body, decoder.done, decoder.extra) == (b"".join(chunks), True, False)


@pytest.mark.parametrize("extra", [b"x", b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx", b"5\r\nhello\r\n"])
def test_what_follows_an_answer_is_seen_and_never_part_of_it(extra: bytes) -> None:
    decoder = AnswerChunks()
    assert decoder.feed(encode([b"ab", b"c"]) + extra) == b"abc"
    assert (decoder.done, decoder.extra) == (True, True)


@pytest.mark.parametrize("wire", [b"x\r\n", b"-1\r\n", b"2\r\nabc\r\n", b"2\nab\n", b"\r\n"])
def test_an_answer_with_broken_chunks(wire: bytes) -> None:
    with pytest.raises(BadChunk):
        AnswerChunks().feed(wire)
