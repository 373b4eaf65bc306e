"""Which program serves a Model: its own `binary`, else llama-server on PATH, else the embedded wheel."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from corral.domain.errors import StartFailed

EMBEDDED: Final = "embedded"
"""As a Model's `binary`: the wheel, even where a llama-server is on PATH."""
_DEFAULT: Final = "llama-server"
_INSTALL: Final = (
    "Put llama-server on PATH, set `binary` to its path, or install the embedded engine: corral[embedded]."
)


@dataclass(frozen=True, slots=True)
class Program:
    """A llama-server binary, or the embedded wheel (`path` is then its shared library)."""

    path: str
    embedded: bool = False

    def identity(self) -> dict[str, object]:
        """What tells this exact program from another: for caches and load digests."""
        parts: dict[str, object] = {"path": self.path, "embedded": self.embedded}
        return parts | identity_of(self.path)


def identity_of(path: str) -> dict[str, object]:
    """Size and mtime of a file, -1 for one that is not there."""
    try:
        stat = os.stat(path)
    except OSError:
        return {"size": -1, "mtime_ns": -1}
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def choose(binary: str, *, which: Callable[[str], str | None] = shutil.which) -> Program:
    """The program for a Model's `binary` ("" lets us choose). Raises StartFailed where there is none."""
    if binary == EMBEDDED:
        return _embedded() or _none("The embedded engine is not installed.")
    if binary:
        wanted = os.path.expanduser(binary)
        found = which(wanted)
        if found is None:
            raise StartFailed(_why_not(wanted), hint=_INSTALL, permanent=True)
        return Program(os.path.abspath(found))
    found = which(_DEFAULT)
    if found is not None:
        return Program(os.path.abspath(found))
    return _embedded() or _none("There is no llama-server on PATH and the embedded engine is not installed.")


def uses_embedded(binary: str, *, which: Callable[[str], str | None] = shutil.which) -> bool:
    """True where `choose` takes the wheel, or would if it were installed."""
    return binary == EMBEDDED or (not binary and which(_DEFAULT) is None)


def worker_argv(*arguments: str) -> tuple[str, ...]:
    """The embedded worker as a program of its own. `-P` keeps the working directory off the import path."""
    return (sys.executable, "-P", "-m", "corral.engines.llamacpp.worker", *arguments)


def _embedded() -> Program | None:
    spec = importlib.util.find_spec("xllamacpp")  # finds it without importing it
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent
    library = next((path for path in sorted(folder.iterdir()) if path.suffix in (".so", ".pyd", ".dylib")), None)
    return Program(str(library or spec.origin), embedded=True)


def _none(message: str) -> Program:
    raise StartFailed(message, hint=_INSTALL, permanent=True)


def _why_not(path: str) -> str:
    if os.path.isdir(path):
        return f"The binary {path} is a folder."
    if os.path.exists(path):
        return f"The binary {path} may not be executed."
    if os.sep in path:
        return f"The binary {path} does not exist."
    return f"There is no program {path!r} on PATH."
