"""Which program a command means, what it and its files are, and whether a fixed address is free."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from collections.abc import Sequence
from typing import Final

from corral.domain.errors import StartFailed
from corral.domain.names import near_names

_WORDS_LOOKED_AT: Final = 100
_NAMES_LOOKED_AT: Final = 20_000


def find(word: str, *, cwd: str, path: str) -> str:
    """The program's absolute path. Raises StartFailed (permanent) for what is not there or cannot be executed."""
    if "/" not in word and word != "~":
        found = shutil.which(word, path=path)
        if found:
            return found if os.path.isabs(found) else os.path.join(cwd, found)
        raise StartFailed(f"There is no program {word!r} on PATH.", hint=_missing_hint(word, path), permanent=True)
    full = os.path.join(cwd, os.path.expanduser(word).removeprefix("./"))
    if not os.path.exists(full):
        raise StartFailed(
            f"The program {full} does not exist.", hint="Correct the first word of options.command.", permanent=True
        )
    if os.path.isdir(full) or not os.access(full, os.X_OK):
        what = "is a folder" if os.path.isdir(full) else "may not be executed"
        hint = "Name the program in it." if os.path.isdir(full) else f"Run `chmod +x {full}`, or name its interpreter."
        raise StartFailed(f"The program {full} {what}.", hint=hint, permanent=True)
    return full


def _missing_hint(word: str, path: str) -> str:
    if " " in word:
        return "The first item of the list is the program alone: give each word an item of its own, or write one text."
    names: list[str] = []
    for folder in path.split(os.pathsep):
        if os.path.isdir(folder) and len(names) < _NAMES_LOOKED_AT:
            names += os.listdir(folder)[:_NAMES_LOOKED_AT]
    near = near_names(word, names, most=2)
    return f"Did you mean {' or '.join(near)}?" if near else "Install it, or write its whole path in options.command."


def identity(words: Sequence[str], *, cwd: str, path: str) -> list[object]:
    """Path, size and time of the program and of every argument that names a file: what a reload compares."""
    found: list[object] = []
    for index, word in enumerate(words[:_WORDS_LOOKED_AT]):
        name = word.rpartition("=")[2] if word.startswith("-") else word
        full = os.path.join(cwd, os.path.expanduser(name))
        if index == 0 and "/" not in word:
            full = shutil.which(word, path=path) or ""
        try:
            seen = os.stat(full)
        except (OSError, ValueError):
            continue
        if os.path.isfile(full):
            found.append([full, seen.st_size, seen.st_mtime_ns])
    return found


def check_free(host: str, port: int) -> None:
    """Raises StartFailed when somebody listens at this address of our machine already."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that have just ended do not count
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise StartFailed(
                    f"{host}:{port} is taken: something listens there already.",
                    hint="End it, or give the program another port; Models with one address need one swap group.",
                ) from error
            # Another machine's address, a name: the start will tell.
