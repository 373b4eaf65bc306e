"""
All caches of this machine: where they are, what is in them, and whether what somebody wants is there.

The variables are those that the programs themselves read: llama.cpp's in its `common/hf-cache.cpp`, before 2026 in
`fs_get_cache_directory` of `common/common.cpp`; LM Studio's in `findLMStudioHome` of lmstudio-js.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

from corral.domain.references import OllamaReference
from corral.store.shelf.caches import huggingface, llamacpp, lmstudio, ollama
from corral.store.shelf.caches.cached import Cached, read_json

Scan = Callable[[Path], Iterator[Cached]]
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_OLLAMA_OF_THE_SYSTEM: Final = ("/usr/share/ollama/.ollama/models", "/var/lib/ollama/.ollama/models")


@dataclass(frozen=True, slots=True)
class Caches:
    """`env` as the user has it. Blocks on the disk, and looks at it anew with every call."""

    env: Mapping[str, str]

    def folders(self) -> list[tuple[Path, Scan]]:
        """Every folder that may hold models of other programs, there or not."""
        env, home = self.env, Path(self.env.get("HOME") or os.path.expanduser("~"))
        cache = Path(env.get("XDG_CACHE_HOME") or home / ".cache")
        own = Path(env["LLAMA_CACHE"]) if env.get("LLAMA_CACHE") else None
        hub = env.get("HF_HUB_CACHE") or env.get("HUGGINGFACE_HUB_CACHE")
        hubs = [Path(hub) if hub else Path(env.get("HF_HOME") or cache / "huggingface") / "hub"]
        flat = [own] if own else [cache / "llama.cpp", home / "Library" / "Caches" / "llama.cpp"]
        ollamas = [env.get("OLLAMA_MODELS") or home / ".ollama" / "models", *_OLLAMA_OF_THE_SYSTEM]
        named = [env.get("LMSTUDIO_HOME", ""), _first_line(home / ".lmstudio-home-pointer")]
        homes = [*map(Path, filter(os.path.isabs, named)), home / ".lmstudio", home / ".cache" / "lm-studio"]
        studios = [folder for each in homes for folder in _studio(each)]
        return [
            *((path, huggingface.scan) for path in dict.fromkeys([*hubs, *([own] if own else [])])),
            *((path, llamacpp.scan) for path in flat),
            *((Path(path), ollama.scan) for path in dict.fromkeys(ollamas)),
            *((path, lmstudio.scan) for path in dict.fromkeys(studios)),
        ]

    def all(self) -> list[Cached]:
        """Everything, each file once."""
        found: dict[str, Cached] = {}
        for each in chain.from_iterable(scan(path) for path, scan in self.folders()):
            found.setdefault(os.path.realpath(each.path), each)
        return list(found.values())

    def by_folder(self) -> Iterator[Iterator[Cached]]:
        """What each folder has, file by file."""
        for path, scan in self.folders():
            yield scan(path)

    def layers(self, reference: OllamaReference) -> list[Cached]:
        """What an engine may be given of a model of Ollama's; empty where not all of it is there."""
        roots = (path for path, scan in self.folders() if scan is ollama.scan)
        return next(filter(None, (ollama.model(root, reference) for root in roots)), [])

    def found(self, sha256: str, size_bytes: int) -> Path | None:
        """The file of this size that has this SHA-256 (hexadecimal), as its program says: nothing is hashed."""
        if not _SHA256.fullmatch(sha256):
            return None
        scanned = chain.from_iterable(self.by_folder())
        return next((each.path for each in scanned if (each.sha256, each.size_bytes) == (sha256, size_bytes)), None)


def _first_line(path: Path) -> str:
    """Where LM Studio has noted its home; "" where it has not, or nothing that can be a path."""
    try:
        with open(path, encoding="utf-8") as file:
            line = file.read(4096).partition("\n")[0].strip()
    except (OSError, ValueError):
        return ""
    return line if line.isprintable() else ""


def _studio(folder: Path) -> list[Path]:
    """Where its settings say, else below its own folder."""
    chosen = read_json(folder / "settings.json").get("downloadsFolder")
    return [*([Path(chosen)] if isinstance(chosen, str) and os.path.isabs(chosen) else []), folder / "models"]
