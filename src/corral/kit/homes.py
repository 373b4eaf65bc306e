"""`~` at the beginning of a path, as a shell has it."""

from __future__ import annotations

import os
from pathlib import Path


def expanded(text: str | os.PathLike[str]) -> Path:
    """`~nobody`, where no such user is known, is the name of a file; `Path.expanduser` raises RuntimeError for it."""
    return Path(os.path.expanduser(text))
