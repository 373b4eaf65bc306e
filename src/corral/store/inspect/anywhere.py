"""Inspecting whatever a reference names: it is decided what its files are, then their headers are read."""

from __future__ import annotations

from pathlib import Path

from corral.domain.references import FileReference, OllamaReference, Reference
from corral.store.fetch.web import Web
from corral.store.gguf.header import TensorInfo
from corral.store.inspect.inspection import Inspection
from corral.store.inspect.places import FolderFiles, inspect_files
from corral.store.inspect.remote import PlannedFiles
from corral.store.sources.access import Access
from corral.store.sources.ollama import admitted
from corral.store.sources.planning import Sources


def inspect_reference(
    reference: Reference, access: Access, *, quant: str = "", file: str = ""
) -> tuple[Inspection, tuple[TensorInfo, ...]]:
    """
    What the model is, and its tensors. `quant` and `file` choose among those of a repository.

    Blocks on the network. Raises BadRequest and StoreFailed.
    """
    if isinstance(reference, FileReference):
        return inspect_files(FolderFiles(Path(reference.path).expanduser()))
    plan = Sources(access).plan(reference, quant=quant, file=file)
    rules = admitted(access.rules, reference) if isinstance(reference, OllamaReference) else access.rules
    web = Web(rules)
    with web.line() as line:
        return inspect_files(PlannedFiles(plan, web, line))
