"""
Files with the vocabulary of a large model and no weights worth mentioning: 4 MB to 15 MB of header.

    large(path)                              as Gemma's: 262,144 tokens with scores and types, 514,906 merges
    large(path, tokens=150_000, merges=0, size_bytes=40_000_000_000)     a sparse file of that size
"""

from __future__ import annotations

import random
import struct
from pathlib import Path
from typing import Final

GEMMA_TOKENS: Final = 262_144
GEMMA_MERGES: Final = 514_906
_STRING, _ARRAY, _U32, _I32, _F32 = 8, 9, 4, 5, 6


def large(path: Path, *, tokens: int = GEMMA_TOKENS, merges: int = GEMMA_MERGES, size_bytes: int = 0) -> Path:
    """Write it; one tensor stands at its end."""
    rng = random.Random(1)
    width = 1024
    last = max(0, (size_bytes - 32 * 1024 * 1024) // 32 * 32)
    entries = [
        _text("general.architecture") + struct.pack("<I", _STRING) + _text("gemma3"),
        _text("gemma3.block_count") + struct.pack("<II", _U32, 1),
        _array("tokenizer.ggml.tokens", _STRING, tokens, _texts(rng, tokens, 3, 10)),
        _array("tokenizer.ggml.scores", _F32, tokens, bytes(4 * tokens)),
        _array("tokenizer.ggml.token_type", _I32, tokens, bytes(4 * tokens)),
        _array("tokenizer.ggml.merges", _STRING, merges, _texts(rng, merges, 5, 13)),
    ]
    tensor = _text("output_norm.weight") + struct.pack("<IQIQ", 1, width, 0, last)
    header = b"GGUF" + struct.pack("<IQQ", 3, 1, len(entries)) + b"".join(entries) + tensor
    with path.open("wb") as file:
        file.write(header)
        start = -(-len(header) // 32) * 32
        file.truncate(max(start + last + 4 * width, size_bytes))
    return path


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def _array(key: str, kind: int, count: int, data: bytes) -> bytes:
    return _text(key) + struct.pack("<IIQ", _ARRAY, kind, count) + data


def _texts(rng: random.Random, count: int, least: int, most: int) -> bytes:
    pieces = [struct.pack("<Q", length) + b"x" * length for length in range(most + 1)]
    return b"".join(pieces[length] for length in rng.choices(range(least, most + 1), k=count))
