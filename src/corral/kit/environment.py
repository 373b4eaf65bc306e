"""
What a program that Corral starts may inherit: everything but secrets.

Keys of the gateway and of providers come to Corral in its environment, and an engine has no use for them. Whoever needs
one gets it by name, where the program is configured.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

_WORDS: Final = frozenset({"AUTH", "CREDENTIAL", "CREDENTIALS", "PASS", "PASSPHRASE"})
_ENDS: Final = ("KEY", "KEYS", "TOKEN", "TOKENS", "SECRET", "SECRETS", "PASSWORD", "PASSWORDS", "PASSWD", "OAUTH")
"""Ends of a word: API_KEY and TS_AUTHKEY, PGPASSWORD; but not KEYBOARD or TOKENIZERS_PARALLELISM."""


def looks_secret(name: str) -> bool:
    """Whether a variable of this name probably holds a secret. Wrong guesses cost an `env:` entry, never a key."""
    words = [word for word in re.split(r"[^A-Z0-9]+", name.upper()) if word]
    if any(word in _WORDS or word.endswith(_ENDS) for word in words):
        return True
    return len(words) > 1 and words[-1] == "PWD"  # MYSQL_PWD; the shell's own PWD and OLDPWD are folders


def inherited(env: Mapping[str, str], *, scrub: tuple[str, ...] = (), hidden: Collection[str] = ()) -> dict[str, str]:
    """The variables that a child may have: without secrets, the `hidden` names and what begins with one of `scrub`."""
    return {
        name: value
        for name, value in env.items()
        if not name.startswith(scrub) and name not in hidden and not looks_secret(name)
    }
