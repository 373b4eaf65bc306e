"""
Decoding chunked bodies, strictly (RFC 9112, section 7.1).

`ChunkDecoder` is for requests: a parser that runs on into the next message cannot say where this one ended, and a
gateway that answers pipelined requests in order must know it to the byte. `AnswerChunks` is for answers, where
whatever follows the end only means that the connection cannot be used again: that llhttp can tell, at a fifth of the
cost.
"""

from __future__ import annotations

import re
from typing import Final

import httptools

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_EXTENSION: Final = rb";" + _TOKEN + rb"(?:=(?:" + _TOKEN + rb"|\"[\t !#-\[\]-~]*\"))?"
_SIZE_LINE = re.compile(rb"\A([0-9A-Fa-f]{1,15})(?:" + _EXTENSION + rb")*\Z")
_TRAILER = re.compile(rb"\A" + _TOKEN + rb":[\t !-~\x80-\xff]*\Z")
_LINE_LIMIT: Final = 1024
_EXTRAS_LIMIT: Final = 16 * 1024  # chunk extensions and trailers of one body: nobody reads them


class BadChunk(ValueError):
    """The body is not valid chunked coding; the connection cannot be trusted any further."""


class ChunkDecoder:
    """Feed it what comes; `done` is set when the body has ended, `rest` then holds the bytes that follow it."""

    __slots__ = ("_buffer", "_extras", "_in_trailer", "_left", "done", "rest")

    def __init__(self) -> None:
        self._buffer = b""
        self._left = 0  # bytes of the present chunk still to come, its CRLF included
        self._extras = 0
        self._in_trailer = False
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """The body bytes in `data`, without the framing. Raises BadChunk."""
        data = self._buffer + data if self._buffer else data
        at = 0
        out: list[bytes] = []
        while not self.done:
            if self._left:
                taken = self._take(data, at, out)
                if not taken:
                    break
                at += taken
                continue
            end = data.find(b"\n", at, at + _LINE_LIMIT)
            if end < 0:
                if len(data) - at >= _LINE_LIMIT:
                    raise BadChunk("a line of the chunked body is too long")
                break
            self._line(data[at : end + 1])
            at = end + 1
        if self.done:
            self.rest, self._buffer = data[at:], b""
        else:
            self._buffer = data[at:]
        return b"".join(out)

    def _take(self, data: bytes, at: int, out: list[bytes]) -> int:
        """Take what there is of the present chunk and its CRLF; how many bytes that was."""
        here = len(data) - at
        if self._left > 2:
            piece = data[at : at + self._left - 2]
            if piece:
                out.append(piece)
                self._left -= len(piece)
            return len(piece)
        if here < 2:
            return 0
        if data[at : at + 2] != b"\r\n":
            raise BadChunk("a chunk is longer than its size")
        self._left = 0
        return 2

    def _line(self, line: bytes) -> None:
        if not line.endswith(b"\r\n"):
            raise BadChunk("a line of the chunked body does not end with CRLF")
        line = line[:-2]
        if self._in_trailer:
            self._count(len(line))
            self.done = not line
            if line and _TRAILER.match(line) is None:
                raise BadChunk("a trailer is malformed")
            return
        match = _SIZE_LINE.match(line)
        if match is None:
            raise BadChunk("a chunk size is malformed")
        self._count(len(line) - len(match[1]))
        size = int(match[1], 16)
        if size:
            self._left = size + 2
        else:
            self._in_trailer = True

    def _count(self, extra: int) -> None:
        self._extras += extra
        if self._extras > _EXTRAS_LIMIT:
            raise BadChunk("the chunked body has too many extensions or trailers")


class AnswerChunks:
    """Feed it what comes; `done` is set when the body has ended, `extra` when anything came after it."""

    __slots__ = ("_feed", "_heard", "done", "extra")

    def __init__(self) -> None:
        self._heard = _Heard()
        self._feed = httptools.HttpResponseParser(self._heard).feed_data
        self._feed(_CHUNKED_HEAD)
        self.done = False
        self.extra = False

    def feed(self, data: bytes) -> bytes:
        """The body bytes in `data`, without the framing. Raises BadChunk."""
        heard = self._heard
        try:
            self._feed(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not heard.done:
                raise BadChunk(str(error)) from None
            heard.extra = True
        self.done, self.extra = heard.done, heard.extra
        pieces = heard.pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return body


class _Heard:
    """What llhttp reports of one chunked body (apart from AnswerChunks, or the two would keep each other alive)."""

    __slots__ = ("done", "extra", "pieces")

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.done = False
        self.extra = False

    def on_body(self, data: bytes) -> None:
        if not self.done:
            self.pieces.append(data)

    def on_message_complete(self) -> None:
        self.done = True

    def on_message_begin(self) -> None:
        self.extra = self.done  # the head that it is given first is not extra, a second answer is


_CHUNKED_HEAD: Final = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
