"""
Names as Ollama's clients write them: `[registry/][namespace/]model[:tag]`, where what is usual may be left out.

`llama3`, `llama3:latest` and `registry.ollama.ai/library/llama3:latest` are one to them, and case does not count. A
Model here is called what its operator calls it; so a client's name is tried as it is first, then without what is usual.
"""

from __future__ import annotations

from typing import Final

LATEST: Final = ":latest"
_USUAL: Final = ("registry.ollama.ai/", "library/")


def shortest(name: str) -> str:
    """The name without the registry, the namespace and the tag that go without saying."""
    for prefix in _USUAL:
        if name.lower().startswith(prefix):
            name = name[len(prefix) :]
    return name[: -len(LATEST)] if name.lower().endswith(LATEST) else name


def spellings(name: str) -> tuple[str, ...]:
    """What the Model may be called that a client means with this, likeliest first: each once."""
    short = shortest(name)
    return tuple(dict.fromkeys((name, short, short + LATEST))) if short else (name,)
