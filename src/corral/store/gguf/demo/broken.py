"""GGUF files that are wrong in the ways that files of real life are wrong."""

from __future__ import annotations

import os
import struct
from enum import StrEnum
from pathlib import Path

from corral.store.gguf.demo.build import build
from corral.store.gguf.demo.spec import DemoSpec

_COUNTS_AT = 8  # magic and version come first


class Damage(StrEnum):
    """What is wrong with a file."""

    EMPTY = "empty"
    MAGIC = "magic"  # other first four bytes
    WEB_PAGE = "web_page"  # an error page saved under the model's name
    LFS_POINTER = "lfs_pointer"  # a Git LFS pointer instead of the file
    VERSION = "version"  # a format version that does not exist
    HEADER_CUT = "header_cut"  # ends in the header
    DATA_CUT = "data_cut"  # ends in the tensors: a download that broke off
    STRING_LENGTH = "string_length"  # the first text claims more bytes than there are
    COUNT = "count"  # claims more tensors than there can be
    OFFSET = "offset"  # a tensor lies far behind the end of the file
    ARCHITECTURE = "architecture"  # whole, but of an architecture that no engine knows


def broken(path: str | os.PathLike[str], damage: Damage, spec: DemoSpec | None = None) -> Path:
    """Write a demo model with this damage. Raises StoreFailed as `build` does."""
    file = build(path, spec or DemoSpec())[0]
    file.write_bytes(damaged(file.read_bytes(), damage))
    return file


def damaged(data: bytes, damage: Damage) -> bytes:
    """The bytes of a whole GGUF file (little endian) with this damage. Pure."""
    match damage:
        case Damage.EMPTY:
            return b""
        case Damage.MAGIC:
            return b"GGML" + data[4:]
        case Damage.WEB_PAGE:
            return b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n"
        case Damage.LFS_POINTER:
            return b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"
        case Damage.VERSION:
            return data[:4] + struct.pack("<I", 99) + data[8:]
        case Damage.HEADER_CUT:
            return data[:1000]
        case Damage.DATA_CUT:
            return data[:-10_000]
        case Damage.STRING_LENGTH:
            return data[:24] + struct.pack("<Q", 1 << 62) + data[32:]
        case Damage.COUNT:
            return data[:_COUNTS_AT] + struct.pack("<Q", 1 << 60) + data[16:]
        case Damage.OFFSET:
            return _far_offset(data)
        case Damage.ARCHITECTURE:
            return data.replace(b"llama", b"lamma")


def _far_offset(data: bytes) -> bytes:
    """Move the first tensor, token_embd.weight with two dimensions, far behind the end."""
    name = b"token_embd.weight"
    at = data.index(struct.pack("<Q", len(name)) + name) + 8 + len(name) + 4 + 2 * 8 + 4
    return data[:at] + struct.pack("<Q", 1 << 40) + data[at + 8 :]
