"""
Tiny files in place of the models that llama.cpp's own tests download, one for each task.

The language model is random and has no chat template, as theirs: a demo model would refuse to follow a grammar.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from corral.store.gguf.demo import DemoSpec, Task, build

TEXT, EMBED, RERANK = "text.gguf", "embed.gguf", "rerank.gguf"
_RANDOM: Final = DemoSpec(name="Random", task=Task.EMBED, arch="llama", context=2048, layers=2)
_LANGUAGE: Final = ("general.description", "llama.pooling_type")
"""What tells an embedding model from a language model, in a file whose weights could be either's."""


def build_all(folder: Path) -> None:
    """Write the three files, where they are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / TEXT).exists():
        raw = build(folder / "raw.gguf", _RANDOM)[0]
        removed = [argument for key in _LANGUAGE for argument in ("--remove-metadata", key)]
        program = [sys.executable, "-m", "gguf.scripts.gguf_new_metadata", "--force", *removed]
        subprocess.run([*program, str(raw), str(folder / TEXT)], check=True, timeout=60, capture_output=True)
        raw.unlink()
    if not (folder / EMBED).exists():
        build(folder / EMBED, DemoSpec(name="Embed", task=Task.EMBED, arch="bert", context=2048))
    if not (folder / RERANK).exists():
        build(folder / RERANK, DemoSpec(name="Rerank", task=Task.RERANK, arch="bert", context=2048))


def stand_in(repository: str, file: str) -> str:
    """Which of the three stands in for a model of a hub; "" for one that nothing can stand in for."""
    name = f"{repository}/{file}".lower()
    if "bert" in name:
        return EMBED
    if "rerank" in name:
        return RERANK
    return "" if any(word in name for word in ("gemma3", "tinylaya", "openjev", "moe")) else TEXT
