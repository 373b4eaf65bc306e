"""A command line as one text -> its words, by the quoting rules of a shell and with nothing else of a shell."""

from __future__ import annotations

import re
import shlex
from typing import Final

_FEATURES: Final = {
    "|": "a pipe",
    "&": "& or &&",
    ";": "a semicolon",
    "<": "a redirection",
    ">": "a redirection",
    "`": "a command substitution",
}
_WAY_OUT: Final = "no shell reads it. Put such a line into a script, or write [sh, -c, '...'] as a list"


def split_words(text: str) -> tuple[str, ...]:
    """
    The words. A backslash at the end of a line joins it with the next; lines that begin with # are left out.

    Raises ValueError for quotes that do not close, and for unquoted characters that only a shell would understand.
    """
    lines = [line for line in text.split("\n") if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\s*(\n|\Z)", " ", "\n".join(lines))
    _refuse_shell(joined)
    try:
        words = tuple(shlex.split(joined))
    except ValueError:
        raise ValueError("a quote in it is not closed; write the words as a list where quoting is hard") from None
    if "\0" in joined or not words:
        raise ValueError("it must name a program" if not words else "it cannot contain a NUL character")
    return words


def _refuse_shell(text: str) -> None:
    quote = ""
    at = 0
    while at < len(text):
        char = text[at]
        if char == "\\" and quote != "'":
            at += 2
            continue
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in _FEATURES:
            raise ValueError(f"it has {_FEATURES[char]} in it, but {_WAY_OUT}")
        if char == "$" and quote != "'" and re.match(r"\$[A-Za-z_{(]", text[at:]):
            raise ValueError(
                "it has a $ in it, but no shell reads it. Write ${env.NAME} for a variable, or quote it '$'"
            )
        at += 1
