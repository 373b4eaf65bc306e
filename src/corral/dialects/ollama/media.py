"""Images and sounds as Ollama sends them: base64 without a word of what they are, so their first bytes tell."""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import Final

from corral.domain.chat import Media, MediaKind
from corral.domain.errors import BadRequest

_LOOK: Final = 24  # base64 characters: 18 bytes
_IMAGE, _AUDIO = MediaKind.IMAGE, MediaKind.AUDIO
_MAGIC: Final = (
    (b"\x89PNG\r\n\x1a\n", _IMAGE, "image/png"),
    (b"\xff\xd8\xff", _IMAGE, "image/jpeg"),
    (b"GIF8", _IMAGE, "image/gif"),
    (b"BM", _IMAGE, "image/bmp"),
    (b"ID3", _AUDIO, "audio/mp3"),
    (b"\xff\xfb", _AUDIO, "audio/mp3"),
    (b"fLaC", _AUDIO, "audio/flac"),
    (b"OggS", _AUDIO, "audio/ogg"),
)


def media(text: str, where: str) -> Media:
    """One of them. Raises BadRequest for what is none."""
    if not text.isascii() or len(text) % 4:
        raise BadRequest(f"{where}: this is not base64.")
    try:
        begin = b64decode(text[:_LOOK], validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(f"{where}: this is not base64.") from None
    if begin[:4] == b"RIFF" and begin[8:12] == b"WEBP":
        return Media(_IMAGE, "image/webp", text)
    if begin[:4] == b"RIFF" and begin[8:12] == b"WAVE":
        return Media(_AUDIO, "audio/wav", text)
    for magic, kind, name in _MAGIC:
        if begin.startswith(magic):
            return Media(kind, name, text)
    raise BadRequest(f"{where}: this is neither an image nor a sound.")
