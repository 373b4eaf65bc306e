"""
A text to be continued as it stands, without a chat template; with `suffix`, what is missing between two texts.

What comes of it are the Deltas of `domain.chat`. None means "not said".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from corral.domain.chat import Format


class CompletionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`logprobs` is how many likely tokens are told for each one; 0 only its own. `extra` as in ChatRequest."""

    prompt: str
    suffix: str | None = None
    stream: bool = False
    format: Format | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    extra: Mapping[str, Any] = {}
