"""
A language model as a table: for every token the list of tokens that should follow it, best first.

With attention and feed-forward at zero the last hidden vector of llama.cpp is the embedding of the last token alone.
Tokens share a *state*; each state is one row of a Hadamard matrix, whose rows are orthogonal. The output row of a
token is the sum of those rows, weighted with the score it shall have in each state, so every logit comes out exactly
as written in the table: no training, no noise, no seed. A step in rank is worth STEP in logits, which leaves the order
certain up to temperature 2 and beyond.

Under a grammar llama.cpp takes the best token that the grammar allows: the order of the rest of a state's list is what
makes an obeying model close its strings, arrays and objects and end.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from corral.store.gguf.demo.vocabulary import (
    BEGIN,
    CALL,
    END,
    FILLER,
    THINK,
    THINK_END,
    TOOL_CALL,
    TOOL_CALL_END,
    Vocabulary,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STEP: Final = 40.0
QUOTE: Final = 0x22

# What any state falls back to. Closing comes before opening, so an answer under a grammar gets shorter, not longer.
_FALLBACK: Final = "\"}],:.-/@TtfnuroeE42135678 90abcdghijklmpqsvwxyzABCDFGHIJKLMNOPQRSUVWXYZ_{[\n()<>=+*&%$#!?;'\\|~^`"
_VALUE: Final = ('"', "4", "t", "n", "[", "{")  # "null" before "{": a recursive schema must come to an end
_CLOSE: Final = ("}", "]", ",")


@dataclass(frozen=True, slots=True)
class Chain:
    """`state_of[token]` is the state that a token leads to, `order[state]` the tokens to follow it, best first."""

    state_of: tuple[int, ...]
    order: tuple[tuple[int, ...], ...]


def chain(words: Vocabulary, *, obey: bool = False, endless: bool = False) -> Chain:
    """
    The table of a model that says its pieces and ends, or says them again and again when `endless`.

    A model that says follows any token but its own pieces with the first piece, whatever the prompt ends with. One
    that obeys does the same where it is free, and writes short JSON and tool calls where a grammar or its chat
    template asks for them.
    """
    states: dict[int, list[int]] = {}  # token -> what follows it
    end = words.id(END)
    said = [*words.pieces]
    opening = [words.id(THINK), *words.thoughts, words.id(THINK_END)] if words.thoughts else []
    spoken = [*opening, *said]
    states |= {before: [after] for before, after in pairwise([*spoken, end])}
    if endless and said:
        states[said[-1]] = [said[0]]
    if said:
        states[words.id(THINK_END)] = [said[0]]  # a prompt that closes the thinking skips it
    start = spoken[:1]
    if obey:
        # A prompt may end with any byte, so the sentence comes first where a grammar would not allow it anyway.
        states |= {
            token: [*(start if token < 256 and token != QUOTE else ()), *after]
            for token, after in _json_states(words).items()
        }
        start = [*start, *(words.id(token) for token in ("{", "[", '"', "4", "t", "n"))]

    rest = [end, words.id(BEGIN), *(words.id(_letter(char)) for char in _FALLBACK)]
    rows = [_unique([*start, *rest])]
    state_of = [0] * len(words)
    for token, following in states.items():
        state_of[token] = len(rows)
        rows.append(_unique([*following, *rest]))
    return Chain(tuple(state_of), tuple(rows))


def _json_states(words: Vocabulary) -> dict[int, list[int]]:
    table: dict[str, tuple[str, ...]] = {
        '"': (FILLER, "o", "}", "]", ":", ","),
        FILLER: (END, '"', FILLER),
        "{": ('"', "}"),
        "[": ('"', "4", "t", "]", "n", "{", "["),
        ":": _VALUE,
        ",": _VALUE,
        "}": (END, "}", "]", TOOL_CALL_END, ","),
        "]": (END, "}", "]", TOOL_CALL_END, ","),
        "4": (END, "2", *_CLOSE),
        CALL: (TOOL_CALL,),
        TOOL_CALL: ("\n", "{"),
        TOOL_CALL_END: (END,),
    }
    table |= dict.fromkeys("012356789", (END, *_CLOSE))
    return {words.id(_letter(token)): [words.id(_letter(after)) for after in order] for token, order in table.items()}


def _letter(char: str) -> str:
    return {"\n": "Ċ", " ": "Ġ"}.get(char, char)


def _unique(tokens: list[int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(tokens))


def width(table: Chain) -> int:
    """The embedding length that the table needs: a power of two with a row for each state."""
    return max(64, 1 << (len(table.order) - 1).bit_length())


def matrices(table: Chain, d: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The embedding and the output matrix, both (tokens, d), that make llama.cpp follow the table."""
    import numpy as np

    rows = np.array([[1.0]], dtype=np.float32)
    while len(rows) < d:
        rows = np.block([[rows, rows], [rows, -rows]]).astype(np.float32)
    scores = np.zeros((len(table.state_of), len(table.order)), dtype=np.float32)
    for state, order in enumerate(table.order):
        scores[list(order), state] = STEP * np.arange(len(order), 0, -1, dtype=np.float32)
    return rows[list(table.state_of)], scores @ (rows[: len(table.order)] / np.float32(d))
