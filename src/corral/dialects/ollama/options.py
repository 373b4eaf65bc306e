"""`options` of Ollama's requests: those of one answer by their OpenAI names."""

from __future__ import annotations

from typing import Any, Final

import msgspec

_SAME: Final = (
    "seed", "top_k", "top_p", "min_p", "typical_p", "repeat_last_n", "temperature", "repeat_penalty",
    "presence_penalty", "frequency_penalty",
)  # fmt: skip


class Options(msgspec.Struct, kw_only=True):
    """Unknown ones are passed over, as Ollama does; one of a wrong type is an error."""

    num_keep: int | None = None
    seed: int | None = None
    num_predict: int | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repeat_last_n: int | None = None
    temperature: float | None = None
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: list[str] | str | None = None

    def sampling(self) -> dict[str, Any]:
        """What llama-server knows by the same name."""
        return {name: value for name in _SAME if (value := getattr(self, name)) is not None}

    def max_tokens(self) -> int | None:
        """None for no bound: negative numbers mean that."""
        return self.num_predict if self.num_predict is not None and self.num_predict >= 0 else None

    def stops(self) -> tuple[str, ...]:
        """Stop sequences."""
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)
