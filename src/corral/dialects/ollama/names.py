"""
Names as Ollama's clients write them: `[registry/][namespace/]model[:tag]`, where what is usual may be left out.

`llama3`, `llama3:latest` and `registry.ollama.ai/library/llama3:latest` are one to them, and case does not count. A
Model here is called what its operator calls it; so a client's name is tried as it is first, then without what is usual.

To be pulled, a name is where a model is: in Ollama's registry, in another of its kind, or on the hub, whose tags are
quantisations or files.
"""

from __future__ import annotations

import re
from typing import Final

from corral.domain.errors import BadRequest
from corral.domain.references import HUB_HOSTS, OLLAMA_HOSTS, BadReference, Reference, parse

LATEST: Final = ":latest"
_USUAL: Final = (*(f"{host}/" for host in OLLAMA_HOSTS), "library/")
_HUB: Final = "hf.co/"
_LONG_HUBS: Final = tuple(f"{host}/" for host in HUB_HOSTS if f"{host}/" != _HUB)
_SCHEME: Final = re.compile(r"(?i)(https?)://")
_GGUF: Final = ".gguf"
_SHOWN: Final = 100
_NAMES: Final = "Names are [HOST/][NAMESPACE/]MODEL[:TAG], or hf.co/ORG/REPO[:QUANT]."


def shortest(name: str) -> str:
    """The name without the registry, the namespace and the tag that go without saying."""
    scheme = _SCHEME.match(name)
    if scheme:
        name = name[scheme.end() :]
    for prefix in _USUAL:
        if name.lower().startswith(prefix):
            name = name[len(prefix) :]
    for prefix in _LONG_HUBS:
        if name.lower().startswith(prefix):
            name = _HUB + name[len(prefix) :]
    return name[: -len(LATEST)] if name.lower().endswith(LATEST) else name


def spellings(name: str) -> tuple[str, ...]:
    """What the Model may be called that a client means with this, likeliest first: each once."""
    short = shortest(name)
    return tuple(dict.fromkeys((name, short, short + LATEST))) if short else (name,)


def reference_of(name: str) -> Reference:
    """Where a model of this name is to be had. Raises BadRequest."""
    short = shortest(name)
    try:
        if not name.isprintable() or name != name.strip() or short.startswith("/") or short.endswith(":"):
            raise BadReference(_NAMES)
        if not short.lower().startswith(_HUB):
            return parse(f"ollama:{short}")
        repo, _, tag = short[len(_HUB) :].partition(":")
        if repo.count("/") != 1 or "@" in repo:
            raise BadReference(_NAMES)
        return parse(f"{_HUB}{repo}/{tag}" if tag.lower().endswith(_GGUF) else short)
    except BadReference:
        shown = name if len(name) <= _SHOWN else name[: _SHOWN - 3] + "..."
        raise BadRequest(f"invalid model name {shown!r}.", hint=_NAMES) from None


def plain_http(name: str) -> bool:
    """Whether a name says that its registry speaks http without TLS."""
    return name.lower().startswith("http://")
