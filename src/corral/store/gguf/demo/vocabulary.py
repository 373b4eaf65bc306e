"""
The words of a demo model: 256 bytes, the control tokens of the chat template, and the pieces of its sentence.

The tokeniser is a BPE without merges. So a prompt becomes bytes, any UTF-8 makes the round trip, and no prompt can
ever contain a piece of the sentence: a piece is in the context only where the model itself has said it. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

END: Final = "<|im_end|>"
CALL: Final = "<|tool_turn|>"  # ends a prompt that offers tools: what follows is a tool call
TOOL_CALL: Final = "<tool_call>"
TOOL_CALL_END: Final = "</tool_call>"
THINK: Final = "<think>"
THINK_END: Final = "</think>"
FIM_PREFIX: Final = "<|fim_prefix|>"
FIM_SUFFIX: Final = "<|fim_suffix|>"
FIM_MIDDLE: Final = "<|fim_middle|>"
BEGIN: Final = "<|endoftext|>"
FILLER: Final = "ok"  # what an obeying model writes where any text is allowed

_CONTROL: Final = (BEGIN, "<|im_start|>", END, CALL, FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE)
_VISIBLE: Final = (TOOL_CALL, TOOL_CALL_END, THINK, THINK_END)

NORMAL_TYPE: Final = 1  # the values of gguf.TokenType
CONTROL_TYPE: Final = 3
USER_DEFINED_TYPE: Final = 4


def byte_letters() -> list[str]:
    """The letter that stands for each byte in a byte-level BPE vocabulary (the table that GPT-2 made common)."""
    shown = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(0x100, 0x200))
    return [chr(byte) if byte in shown else chr(next(spare)) for byte in range(256)]


def spell(text: str) -> str:
    """Text as a byte-level vocabulary spells it: a space is `Ġ`."""
    letters = byte_letters()
    return "".join(letters[byte] for byte in text.encode())


def cut(text: str, taken: frozenset[str] = frozenset()) -> list[str]:
    """
    Cut a text into pieces that are all different and none of `taken`, mostly single words with the space before them.

    A chain knows only the piece before: a second "the" would have the successor of the first. So a repeated word takes
    the next word along, and what is left over at the end joins the pieces before it. One byte is no piece, because a
    prompt can contain it. Raises ValueError for a text that has no such cut.
    """
    pieces: list[str] = []
    seen = set(taken)
    pending = ""
    for word in re.findall(r"\s*\S+|\s+$", text):
        pending += word
        if pending not in seen and len(pending.encode()) > 1:
            pieces.append(pending)
            seen.add(pending)
            pending = ""
    while pending and pieces:
        last = pieces.pop()
        seen.discard(last)
        pending = last + pending
        if pending not in seen:
            return [*pieces, pending]
    if pending:
        raise ValueError(f"a demo model cannot say {text!r}: use a sentence of several different words")
    return pieces


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Tokens in the order of their ids. The first 256 are the bytes; `pieces` and `thoughts` hold ids in order."""

    tokens: tuple[str, ...]
    types: tuple[int, ...]
    pieces: tuple[int, ...] = ()
    thoughts: tuple[int, ...] = ()

    def id(self, token: str) -> int:
        """The id of a control token or of a token in vocabulary spelling. Raises ValueError for an unknown one."""
        return self.tokens.index(token)

    def __len__(self) -> int:
        return len(self.tokens)


def vocabulary(sentence: str, thought: str = "") -> Vocabulary:
    """The vocabulary of a model that thinks `thought` and says `sentence`."""
    tokens = [*byte_letters(), *_CONTROL, *_VISIBLE, spell(FILLER)]
    types = [NORMAL_TYPE] * 256 + [CONTROL_TYPE] * len(_CONTROL) + [USER_DEFINED_TYPE] * len(_VISIBLE) + [NORMAL_TYPE]
    said, thought_of = cut(sentence, frozenset({FILLER})), cut(thought, frozenset({FILLER, *cut(sentence)}))
    pieces = tuple(range(len(tokens), len(tokens) + len(said)))
    thoughts = tuple(range(len(tokens) + len(said), len(tokens) + len(said) + len(thought_of)))
    tokens += [spell(piece) for piece in (*said, *thought_of)]
    types += [NORMAL_TYPE] * (len(said) + len(thought_of))
    return Vocabulary(tuple(tokens), tuple(types), pieces, thoughts)
