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

from corral.contracts.fetching import Role
from corral.domain.references import FileReference, HubReference, Reference, WebReference
from corral.store.files import part_paths
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

    def found(self, wanted: Reference | str, size_bytes: int | None = None) -> Path | None:
        """
        The file that has this SHA-256 (hexadecimal), or that a reference names; None where there is none of that size.

        It is whole as far as its program's own bookkeeping says; nothing is hashed. Of a split model part 1, and only
        where all parts are there.
        """
        if isinstance(wanted, str) and not _SHA256.fullmatch(wanted):
            return None
        for path, scan in self.folders():
            for each in scan(path):
                right = each.sha256 == wanted if isinstance(wanted, str) else _names(wanted, each)
                if right and size_bytes in (None, each.size_bytes) and _whole(each):
                    return each.path
        return None


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


def _names(wanted: Reference, each: Cached) -> bool:
    known = each.reference
    if isinstance(wanted, FileReference):
        return False
    if isinstance(wanted, WebReference):
        return isinstance(known, WebReference) and str(known) == str(wanted)
    if not isinstance(wanted, HubReference):
        return known == wanted and each.role is Role.MODEL
    if not isinstance(known, HubReference):  # a flat name that nothing beside it explains
        return known is None and bool(wanted.file) and each.path.name == llamacpp.flat_name(wanted.repo, wanted.file)
    if (known.repo.lower(), known.revision) != (wanted.repo.lower(), wanted.revision):
        return False
    if wanted.file:
        return known.file == wanted.file
    return bool(wanted.quant) and each.role is Role.MODEL and _is_quant(known.file, wanted.quant)


def _is_quant(file: str, quant: str) -> bool:
    """Whether a file name says this quantisation, as a word of its own; of a split model only part 1 does."""
    later = re.search(r"-(\d{5})-of-\d{5}\.gguf$", file)
    said = re.search(rf"(?<![A-Za-z0-9])(?<!UD-){re.escape(quant)}(?![A-Za-z0-9_])", file, re.IGNORECASE)
    return said is not None and (later is None or later[1] == "00001")


def _whole(each: Cached) -> bool:
    return all(part.is_file() for part in part_paths(each.path))
