"""
The lines that one engine writes: the newest in a ring in memory, all in segments on the disk.

Every line has a number, counted from 0. A segment `NAME.<number of its first line>.log` is never renamed, so whoever
reads it needs no lock, and a gap (deleted segments, a full disk) can be counted. Readers *pull* from the ring: there
is no buffer per reader, and nobody who reads slowly can hold the engine or grow this process.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque

LINE_BYTES = 16 * 1024
RING_LINES = 4096
RING_BYTES = 1024 * 1024
SEGMENT_BYTES = 8 * 1024 * 1024
SEGMENTS = 4
REPLY_LINES = 512
REPLY_BYTES = 128 * 1024

Line = tuple[float, str, bytes]  # seconds since the epoch, O or E, text without its newline


class Output:
    """What one engine has said. `total` is the number that the next line gets."""

    def __init__(self, folder: str, name: str, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.total = 0
        self._folder = folder
        self._name = name
        self._segment_bytes = segment_bytes
        self._ring: deque[Line] = deque()
        self._ring_bytes = 0
        self._partial = {"O": b"", "E": b""}
        self._fd = -1
        self._fd_bytes = 0
        self._segments: deque[str] = deque()

    def feed(self, stream: str, data: bytes) -> None:
        """Take bytes as they came from a pipe."""
        *lines, rest = (self._partial[stream] + data).split(b"\n")
        pieces = [piece for line in lines for piece in _cut(line)]
        if len(rest) > LINE_BYTES:
            *more, rest = _cut(rest)
            pieces += more
        self._partial[stream] = rest
        self._add(stream, pieces)

    def end(self) -> None:
        """No more will come: a last line without its newline is a line too."""
        for stream, rest in self._partial.items():
            if rest:
                self._add(stream, [rest])
                self._partial[stream] = b""
        self._close()

    def since(self, number: int) -> tuple[int, list[Line]]:
        """Lines from `number` on that the ring has, not more than one reply holds, and the number of the first."""
        first = max(number, self.total - len(self._ring))
        lines: list[Line] = []
        size = 0
        for index in range(first - self.total + len(self._ring), len(self._ring)):
            lines.append(self._ring[index])
            size += len(self._ring[index][2])
            if len(lines) >= REPLY_LINES or size >= REPLY_BYTES:
                break
        return first, lines

    def _add(self, stream: str, lines: list[bytes]) -> None:
        if not lines:
            return
        at = round(time.time(), 3)
        self._write(at, stream, lines)
        for line in lines:
            self._ring.append((at, stream, line))
            self._ring_bytes += len(line)
        while len(self._ring) > RING_LINES or self._ring_bytes > RING_BYTES:
            self._ring_bytes -= len(self._ring.popleft()[2])
        self.total += len(lines)

    def _write(self, at: float, stream: str, lines: list[bytes]) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))
        prefix = f"{stamp}.{round(at % 1 * 1000) % 1000:03d}Z {stream} ".encode()
        data = b"".join(prefix + line + b"\n" for line in lines)
        try:
            if self._fd < 0:
                self._open()
            written = os.write(self._fd, data)
            if written < len(data):
                raise OSError("the disk is full")
        except OSError:
            # An engine must not suffer from a full disk: the ring goes on, and the next segment's number shows the gap.
            self._close()
            return
        self._fd_bytes += len(data)
        if self._fd_bytes >= self._segment_bytes:
            self._close()

    def _open(self) -> None:
        path = f"{self._folder}/{self._name}.{self.total:010d}.log"
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._fd_bytes = 0
        self._segments.append(path)
        while len(self._segments) > SEGMENTS:
            with contextlib.suppress(OSError):
                os.unlink(self._segments.popleft())

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _cut(line: bytes) -> list[bytes]:
    """Pieces of at most LINE_BYTES, not cut inside a UTF-8 character; the last one without a carriage return."""
    pieces = []
    while len(line) > LINE_BYTES:
        end = LINE_BYTES
        while end > LINE_BYTES - 4 and line[end] & 0xC0 == 0x80:
            end -= 1
        pieces.append(line[:end])
        line = line[end:]
    return [*pieces, line.removesuffix(b"\r")]
