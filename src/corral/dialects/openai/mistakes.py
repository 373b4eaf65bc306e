"""
What llama-server answers with 500 although the request is at fault (measured at b11434).

Official clients send what failed with 500 again and again, and tell their users that the server is broken.
"""

from __future__ import annotations

from typing import Final

TYPE: Final = "invalid_request_error"
_WORDS: Final = (
    "input is not supported",  # a picture for a model without eyes
    "Invalid base64 value",
    "cannot make GET request",  # an address of a picture that is none, or where nobody answers
    "invalid URL format",
    "Failed to download image",
    "Failed to parse messages",
    "Failed to parse tools",
    "Failed to parse tool call arguments",  # of an earlier turn, which many models and token limits leave broken
    "Cannot use both json_schema and grammar",
    "Unknown reasoning format",
    "does not support logits computation",  # a chat with a Model that only embeds or ranks
)


def is_mistake(status: int, words: str) -> bool:
    """Whether an answer with this status and these words is about the client's mistake: a 400."""
    return status == 500 and any(each in words for each in _WORDS)
