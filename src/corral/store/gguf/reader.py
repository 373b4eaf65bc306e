"""
Reads the header of a GGUF file: bounded in time and memory, whatever the bytes say.

The file may come from anywhere, so nothing in it is believed before it is checked: every length against what is left
of the file, every count against the bytes that so many entries would need, every tensor against the end of the file,
and what is kept of all of it against what models need: a byte of the file may take twenty in memory.
It is read, not mapped: a mapped file that another program cuts short kills the process with SIGBUS. It is read through
a window that moves forward and grows, so that a vocabulary of 16 MB takes one of 1 MB, and a file on another machine
is asked for little and few times (`Readable`). Of long arrays (a vocabulary has 150,000 strings) only the length is
kept: strings are walked over, numbers are not even read. Format: docs/gguf.md of ggml, versions 2 and 3, both byte
orders.
"""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path
from typing import Final, Protocol

from corral.domain.errors import BadGguf, FileMissing, Unreadable
from corral.domain.units import format_bytes
from corral.store.gguf.ggml import GGML_TYPES, GgmlType
from corral.store.gguf.header import Header, LongArray, TensorInfo, Value

MAX_HEADER_BYTES: Final = 128 * 1024 * 1024  # the largest vocabulary of today (262,000 tokens) needs 16 MB
MAX_KEY_BYTES: Final = 65_535  # the specification's own limit
MAX_STRING_BYTES: Final = 16 * 1024 * 1024  # chat templates reach 100 KB
MAX_TEXTS_BYTES: Final = 32 * 1024 * 1024  # of all that is kept; in memory a letter may take four times its bytes
MAX_METADATA: Final = 100_000
MAX_TENSORS: Final = 100_000  # a second's work; the largest models of today have 2,000
MAX_DIMENSIONS: Final = 4
MAX_NESTING: Final = 3  # arrays of arrays: allowed by the format, used by nobody
MAX_KEPT: Final = 512  # longer arrays keep only their length
MAX_ITEMS: Final = 65_536  # of all arrays that are kept; 512 layers with ten numbers each need 5,000
MAX_NESTED: Final = 100_000  # arrays within arrays, in the whole file
MAX_ELEMENTS: Final = 1 << 63
FIRST_READ: Final = 64 * 1024
MOST_READ: Final = 1024 * 1024  # of a window that has grown, where nothing else is said

_STRING, _ARRAY = 8, 9
_SCALARS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_SIZES: Final = {kind: struct.calcsize("<" + code) for kind, code in _SCALARS.items()}


class Readable(Protocol):
    """Bytes that a reader asks for, forward only: an offset is never below the end of what it was given before."""

    size: int

    def read(self, at: int, count: int) -> bytes:
        """Bytes from offset `at`: `count` of them, less only where that is all there is."""
        ...


def read_header(path: str | os.PathLike[str]) -> Header:
    """
    Read and check the header of one GGUF file (one part of a split model).

    Raises FileMissing when there is no such file, Unreadable when it does not let itself be read, and BadGguf with the
    reason and the offset for anything that is not a whole GGUF file. Reads a few MB at most; call it off the serving
    loop.
    """
    where = Path(path)
    try:
        mode = where.stat().st_mode
        if not stat.S_ISREG(mode):  # asked before it is opened: opening a pipe would wait for its writer
            kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
            raise FileMissing(f"{where} is {kind}.", hint="Name a .gguf file.")
        with where.open("rb", buffering=0) as file:
            return read_from(_OpenFile(file.fileno()), where.name)
    except FileNotFoundError as error:
        raise FileMissing(f"There is no file {where}.") from error
    except OSError as error:
        raise Unreadable(f"{where} cannot be read: {error.strerror or error}.") from error


def read_from(source: Readable, name: str, *, most_read: int = MOST_READ) -> Header:
    """
    The same of a source of bytes, which has the `name` in errors; it is asked for `most_read` bytes at once at most.

    Raises BadGguf, and what the source raises.
    """
    if source.size < 24:
        raise BadGguf(f"{name} is no GGUF file: it has only {source.size} bytes.", hint=_AGAIN)
    return _Reader(source, name, most_read).header()


_AGAIN: Final = "Download it again."


class _OpenFile:
    def __init__(self, number: int) -> None:
        self._number = number
        self.size = os.fstat(number).st_size

    def read(self, at: int, count: int) -> bytes:
        return os.pread(self._number, count, at)


class _Reader:
    """A cursor over the bytes. Each method leaves it behind what it has read, or raises BadGguf."""

    def __init__(self, source: Readable, name: str, most_read: int) -> None:
        self.source = source
        self.size = source.size
        self.name = name
        self.data = b""  # the window
        self.base = 0  # where in the file the window begins
        self.at = 0
        self.order = "<"
        self.next_read, self.most_read = min(FIRST_READ, most_read), most_read
        self.nested = 0
        self.items = 0
        self.texts_bytes = 0

    def header(self) -> Header:
        self.need(24)
        magic = self.data[:4]
        if magic != b"GGUF":
            raise self.bad(f"it begins with {magic!r} instead of b'GGUF'", at=0, hint=_what_instead(magic))
        self.at = 4
        version = self.unsigned("I", 4)
        if version & 0xFFFF == 0:  # a small number in the other byte order
            self.order = ">"
            self.at = 4
            version = self.unsigned("I", 4)
        if version not in (2, 3):
            raise self.bad(f"its version is {version}; versions 2 and 3 can be read", at=4)
        n_tensors, n_metadata = self.unsigned("Q", 8), self.unsigned("Q", 8)
        self.check_count(n_tensors, MAX_TENSORS, 24, "tensors", at=8)
        self.check_count(n_metadata, MAX_METADATA, 13, "metadata entries", at=16)
        metadata = self.metadata(n_metadata)
        alignment = self.alignment(metadata)
        tensors = tuple(self.tensor(alignment) for _ in range(n_tensors))
        start = -(-self.at // alignment) * alignment
        self.check_tensors(tensors, start)
        return Header(version, self.order == ">", metadata, tensors, start, self.size, alignment)

    def metadata(self, count: int) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for _ in range(count):
            at = self.at
            key = self.string(MAX_KEY_BYTES)
            if key in found:
                raise self.bad(f"the key {_short(key)} comes twice", at=at)
            found[key] = self.value(self.unsigned("I", 4), 0)
        return found

    def value(self, kind: int, depth: int) -> Value:
        if kind == _STRING:
            return self.string(MAX_STRING_BYTES)
        if kind == _ARRAY:
            return self.array(depth + 1)
        code = _SCALARS.get(kind)
        if code is None:
            raise self.bad(f"there is no value type {kind}", at=self.at - 4)
        self.need(_SIZES[kind])
        # A bool byte other than 0 or 1 is taken as true, as struct does.
        value: Value = struct.unpack_from(self.order + code, self.data, self.at - self.base)[0]
        self.at += _SIZES[kind]
        return value

    def array(self, depth: int) -> Value:
        at = self.at
        kind, count = self.unsigned("I", 4), self.unsigned("Q", 8)
        if depth > MAX_NESTING:
            raise self.bad("arrays are nested too deep", at=at)
        if kind == _STRING:
            return self.strings(count, at)
        if kind == _ARRAY:
            self.nested += count
            self.check_count(self.nested, MAX_NESTED, 12, "arrays in arrays", at=at)
            if count <= MAX_KEPT:
                self.keep_items(count, at)
                return tuple(self.array(depth + 1) for _ in range(count))
            for _ in range(count):
                self.array(depth + 1)
            return LongArray(count)
        code = _SCALARS.get(kind)
        if code is None:
            raise self.bad(f"there is no value type {kind}", at=at)
        n_bytes = count * _SIZES[kind]  # Python's integers cannot overflow
        if count > MAX_KEPT:
            self.check_end(self.at + n_bytes)
            self.at += n_bytes
            return LongArray(count)
        self.keep_items(count, at)
        self.need(n_bytes)
        values = struct.unpack_from(f"{self.order}{count}{code}", self.data, self.at - self.base)
        self.at += n_bytes
        return values

    def strings(self, count: int, at: int) -> Value:
        """Walk over an array of strings. This loop is what reading a large vocabulary costs."""
        self.check_count(count, self.size, 8, "strings", at=at)
        if count <= MAX_KEPT:
            self.keep_items(count, at)
            return tuple(self.string(MAX_STRING_BYTES) for _ in range(count))
        length = struct.Struct(self.order + "Q").unpack_from
        left = count
        while left:
            self.need(8)
            data, cursor = self.data, self.at - self.base
            ready = len(data) - 8
            for left in range(left - 1, -1, -1):  # noqa: B007, B020 - it is what is left then
                cursor += 8 + length(data, cursor)[0]
                if cursor > ready:
                    break
            self.at = self.base + cursor
        self.need(0)
        return LongArray(count)

    def string(self, limit: int) -> str:
        at = self.at
        length = self.unsigned("Q", 8)
        if length > self.size - self.at:
            raise self.bad(f"a text claims {length} bytes, {self.size - self.at} are left", at=at, hint=_AGAIN)
        if length > limit:
            raise self.bad(f"a text of {format_bytes(length)} is longer than the {format_bytes(limit)} allowed", at=at)
        self.texts_bytes += length
        if self.texts_bytes > MAX_TEXTS_BYTES:
            raise self.bad(f"its texts are longer than {format_bytes(MAX_TEXTS_BYTES)} together", at=at)
        self.need(length)
        begin = self.at - self.base
        raw = self.data[begin : begin + length]
        self.at += length
        return raw.decode("utf-8", "replace")

    def unsigned(self, code: str, size: int) -> int:
        self.need(size)
        value: int = struct.unpack_from(self.order + code, self.data, self.at - self.base)[0]
        self.at += size
        return value

    def alignment(self, metadata: dict[str, Value]) -> int:
        value = metadata.get("general.alignment", 32)
        if not isinstance(value, int) or not 1 <= value <= 1 << 20 or value & (value - 1):
            raise self.bad(f"its alignment is {_short(str(value))}, which is not a power of two", at=self.at)
        return value

    def tensor(self, alignment: int) -> TensorInfo:
        at = self.at
        name = self.string(MAX_KEY_BYTES)
        dimensions = self.unsigned("I", 4)
        if dimensions > MAX_DIMENSIONS:
            raise self.bad(f"tensor {_short(name)} has {dimensions} dimensions", at=at)
        shape = tuple(self.unsigned("Q", 8) for _ in range(dimensions))
        number, offset = self.unsigned("I", 4), self.unsigned("Q", 8)
        if offset % alignment:
            raise self.bad(f"tensor {_short(name)} is at {offset}, no multiple of {alignment}", at=at)
        # llama.cpp grows new types faster than anybody can list them: an unknown one counts no bytes here, and the
        # engine has the last word.
        kind = GGML_TYPES.get(number) or GgmlType(f"type {number}", 1, 0)
        return TensorInfo(name, shape, kind.name, offset, self.tensor_bytes(name, shape, kind, at))

    def tensor_bytes(self, name: str, shape: tuple[int, ...], kind: GgmlType, at: int) -> int:
        elements = 1
        for length in shape:
            elements *= length
        if elements == 0 or elements >= MAX_ELEMENTS:
            raise self.bad(f"tensor {_short(name)} has the impossible shape {shape}", at=at)
        row = shape[0] if shape else 1
        if row % kind.block:
            raise self.bad(f"tensor {_short(name)} has rows of {row}, no multiple of {kind.block}", at=at)
        return elements // kind.block * kind.bytes

    def check_tensors(self, tensors: tuple[TensorInfo, ...], start: int) -> None:
        if len({tensor.name for tensor in tensors}) != len(tensors):
            raise self.bad("two tensors have the same name", at=self.at)
        end = max((start + tensor.offset + tensor.n_bytes for tensor in tensors), default=0)
        if end > self.size:
            missing = end - self.size
            raise BadGguf(f"{self.name} is not complete: the file ends {missing:,} bytes early.", hint=_AGAIN)

    def check_count(self, count: int, limit: int, least_bytes: int, what: str, *, at: int) -> None:
        if count > limit or count * least_bytes > self.size:
            raise self.bad(f"it claims {count} {what}, more than it can hold", at=at)

    def keep_items(self, count: int, at: int) -> None:
        self.items += count
        if self.items > MAX_ITEMS:
            raise self.bad(f"its arrays have more than the {MAX_ITEMS:,} values allowed", at=at)

    def need(self, count: int) -> None:
        """Make sure that the next `count` bytes are in the window."""
        end = self.at + count
        if end <= self.base + len(self.data):
            return
        self.check_end(end)
        rest = self.data[self.at - self.base :]  # nothing where the cursor has left the window
        have = self.at + len(rest)
        wanted = min(max(end - have, self.next_read), self.size - have)
        self.next_read = max(self.next_read, min(2 * self.next_read, self.most_read))
        self.data, self.base = b"", self.at  # the old window is gone before the new one comes
        self.data = rest + self.source.read(have, wanted)
        if end > self.base + len(self.data):
            raise self.bad("it got shorter while it was read", at=self.base + len(self.data), hint=_AGAIN)

    def check_end(self, end: int) -> None:
        if end > self.size:
            raise self.bad("it ends in the middle of its header", at=min(self.at, self.size), hint=_AGAIN)
        if end > MAX_HEADER_BYTES:
            raise self.bad(f"its header is larger than {format_bytes(MAX_HEADER_BYTES)}", at=self.at)

    def bad(self, what: str, *, at: int, hint: str = "") -> BadGguf:
        return BadGguf(f"{self.name} is not a GGUF file that can be read: {what} (at byte {at}).", hint=hint)


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _what_instead(magic: bytes) -> str:
    if magic in (b"ggml", b"ggjt", b"ggla", b"ggmf", b"tjgg", b"lmgg"):
        return "It is of the older GGML format; get the model as GGUF."
    if magic[:2] == b"PK":
        return "It looks like a zip or PyTorch file; get the model as GGUF."
    if magic[:1] in (b"<", b"{") or magic == b"vers":
        return "It looks like text, perhaps a web page or a Git LFS pointer saved as the model. " + _AGAIN
    return "Get the model as GGUF."
