"""
Which layers see only a window of the context, and which keep no keys of their own. Facts of llama.cpp b11434.

A file says how long its window is (`attention.sliding_window`), and newer ones say which layers have it
(`attention.sliding_window_pattern`); for the others every architecture has its own rule, which is kept here.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Final

from corral.store.gguf.shape import ModelShape

REMEMBERED: Final = 1024  # shapes, of which some facts are needed again and again
_KEY: Final = "attention.sliding_window"
_PATTERN: Final = "attention.sliding_window_pattern"


@dataclass(frozen=True, slots=True)
class Rule:
    """Every `period`-th layer sees everything: the last of each period, or the first. 0: none does."""

    period: int
    full_first: bool = False
    window: int = 0  # where the file does not say


_RULES: Final = {
    "afmoe": Rule(4),
    "cohere2": Rule(4),
    "cohere2moe": Rule(4, full_first=True),
    "exaone-moe": Rule(4, window=128),
    "exaone4": Rule(4, window=4096),
    "gemma2": Rule(2, window=4096),
    "gemma3": Rule(6),
    "gemma3n": Rule(5),
    "gpt-oss": Rule(2),
    "laguna": Rule(4, full_first=True),
    "llama4": Rule(4, window=8192),
    "mellum": Rule(4),
    "muse-glimmer": Rule(4),
    "olmo2": Rule(4),
    "plamo3": Rule(8),
    "smallthinker": Rule(4, full_first=True, window=4096),
    "lfm2": Rule(0),
    "lfm2moe": Rule(0),
    "deepseek4": Rule(0),
}
_UNUSED: Final = frozenset({"phi3"})  # it has a window that llama.cpp does not use
_FIXED: Final = frozenset({"llama4", "smallthinker"})  # their window is the rule's, whatever the file says beside 0
_BIG: Final = 64  # layers of the one exaone4 that has windows
_GEMMA3N_OWN: Final = 20  # layers of gemma3n with keys of their own


@functools.lru_cache(REMEMBERED)
def window_of(shape: ModelShape) -> int:
    """How many tokens a windowed layer sees; 0 for a model without windows."""
    rule = _RULES.get(shape.architecture)
    said = shape.whole(_KEY)
    if shape.architecture in _UNUSED or (shape.has(_KEY) and not said):
        return 0
    if shape.architecture == "exaone4" and shape.layers != _BIG:
        return 0
    if rule and rule.window and (not said or shape.architecture in _FIXED):
        return rule.window
    return said if rule or shape.has(_PATTERN) else 0


@functools.lru_cache(REMEMBERED)
def windowed(shape: ModelShape) -> tuple[bool, ...]:
    """For each layer whether it sees a window only."""
    if not window_of(shape):
        return (False,) * shape.layers
    if isinstance(shape.numbers.get(_PATTERN), tuple):
        return tuple(bool(each) for each in shape.by_layer(_PATTERN))
    rule = _RULES.get(shape.architecture, Rule(1))
    period = shape.whole(_PATTERN, rule.period)
    trunk = shape.layers - next_layers(shape)
    if period == 0:
        return tuple(layer < trunk for layer in range(shape.layers))
    full = 0 if rule.full_first else period - 1
    return tuple(layer < trunk and layer % period != full for layer in range(shape.layers))


def next_layers(shape: ModelShape) -> int:
    """Layers at the end that only predict further tokens: used by speculative decoding alone."""
    return min(shape.whole("nextn_predict_layers"), shape.layers)


def own_keys(shape: ModelShape) -> int:
    """How many layers, from the first, keep keys of their own; the others look into those of an earlier one."""
    if shape.architecture == "gemma3n":
        return min(_GEMMA3N_OWN, shape.layers)
    if shape.architecture == "gemma4":
        return max(0, shape.layers - shape.whole("attention.shared_kv_layers"))
    return shape.layers
