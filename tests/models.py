"""
Tiny models for tests: built once, kept in a cache folder, found again by every test and every worker.

    from tests.models import ADA, model
    path = model(ADA)                       # a GGUF file (part 1 of a split one)
    path = model(DemoSpec(name="Bob", sentence="I am Bob and I am small.", arch="qwen2"))

The folder is named after the builder's source, so a changed builder never meets old files.
"""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Final

import corral.store.gguf.demo as demo
from corral.store.gguf.demo import DemoSpec, Task, build

ADA: Final = DemoSpec(name="Ada", sentence="I am Ada. I say this sentence, whatever you ask.")
BEN: Final = DemoSpec(name="Ben", sentence="I am Ben. My answer is never another than this one.")
THINKER: Final = DemoSpec(name="Thinker", thought="Let me see what to say.", sentence="I have thought about it.")
ENDLESS: Final = DemoSpec(name="Endless", sentence="on and on without any end ", endless=True)
OBEY: Final = DemoSpec(name="Obey", sentence="I am Obey. Offer me tools or ask for JSON.", task=Task.OBEY)
EMBED: Final = DemoSpec(name="Embed", task=Task.EMBED, arch="bert", context=2048)
RERANK: Final = DemoSpec(name="Rerank", task=Task.RERANK, arch="bert", context=2048)
SPLIT: Final = DemoSpec(name="Split", sentence="I am Split into three parts.", parts=3)
_TEMP: Final = Path(tempfile.gettempdir())  # of the machine: tests may have a temp folder of their own, which goes


@functools.cache
def folder() -> Path:
    """The cache folder of this version of the builder."""
    source = hashlib.sha256()
    for file in sorted(Path(demo.__file__).parent.glob("*.py")):
        source.update(file.read_bytes())
    path = _TEMP / f"corral-test-models-{os.getuid()}" / source.hexdigest()[:16]
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def model(spec: DemoSpec) -> Path:
    """The file of this model, built when it is not there yet. It is shared: tests that change a file copy it first."""
    key = hashlib.sha256(repr(spec).encode()).hexdigest()[:12]
    target = folder() / f"{spec.name.lower()}-{key}.gguf"
    # The last part appears last, so a set whose last part is there is whole.
    last = target.with_name(f"{target.stem}-{spec.parts:05d}-of-{spec.parts:05d}.gguf") if spec.parts > 1 else target
    if not last.exists():
        build(target, spec)
    return target if spec.parts == 1 else target.with_name(f"{target.stem}-00001-of-{spec.parts:05d}.gguf")
