"""What Ollama's clients call models of the store: the names by which they could have pulled them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from corral.domain.names import MODEL_NAME
from corral.domain.references import BadReference, HubReference, OllamaReference, Reference, parse
from corral.store.shelf.items import Item
from corral.store.sources.quants import quant_of, rank

_DYNAMIC: Final = "UD-"


def pulled_names(items: Iterable[Item]) -> Mapping[str, tuple[str, ...]]:
    """
    By the key of each model: first what lists call it, and no name twice, in upper or lower case.

    On the hub a tag is a quantisation or a file, in whatever spelling has brought the model here; without one that
    model of a repository is meant which was asked for so, else the usual one among those that are here. `Q4_K_XL` is
    Unsloth's `UD-Q4_K_XL` where there is no other.
    """
    names: dict[str, list[str]] = {}
    taken: set[str] = set()
    loose: list[tuple[str, str]] = []
    repos: dict[str, list[tuple[tuple[bool, int], str, str]]] = {}  # however they are spelled
    for item in items:
        own = names[item.key] = []
        reference = _reference(item)
        if isinstance(reference, OllamaReference):
            _take(own, taken, str(reference).removeprefix("ollama:"))
        elif isinstance(reference, HubReference) and reference.revision == "main":
            repo = f"hf.co/{reference.repo}"
            quant = quant_of(item.path.name) or reference.quant
            if quant:
                _take(own, taken, f"{repo}:{quant}")
            if quant.startswith(_DYNAMIC):
                loose.append((item.key, f"{repo}:{quant.removeprefix(_DYNAMIC)}"))
            loose += [(item.key, f"{repo}:{tag}") for tag in _tags(item, reference)]
            order = bool(reference.quant or reference.file), rank(quant)
            repos.setdefault(repo.lower(), []).append((order, item.key, repo))
    for found in repos.values():
        best = min(order for order, _, _ in found)
        meant = [(names[key], repo) for order, key, repo in found if order == best]
        if len(meant) == 1:
            _take(meant[0][0], taken, meant[0][1])
    for key, name in loose:
        _take(names[key], taken, name)
    return {key: tuple(own) for key, own in names.items() if own}


def _take(own: list[str], taken: set[str], name: str) -> None:
    """Clients mean the same by a name in upper and lower case."""
    if name.lower() not in taken and MODEL_NAME.fullmatch(name):
        taken.add(name.lower())
        own.append(name)


def _tags(item: Item, own: HubReference) -> list[str]:
    """What somebody has written for this model."""
    said = item.origins[0].asked if item.origins and item.origins[0] is not None else ()
    asked = (own, *map(_parsed, said))
    found = (each for each in asked if isinstance(each, HubReference) and each.repo.lower() == own.repo.lower())
    return [tag for each in found if (tag := each.file or each.quant) and "/" not in tag]


def _reference(item: Item) -> Reference | None:
    return _parsed(item.reference) if item.reference else None


def _parsed(text: str) -> Reference | None:
    try:
        return parse(text)
    except BadReference:
        return None
