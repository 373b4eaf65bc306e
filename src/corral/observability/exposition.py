"""
Prometheus text of several engines, made one: read leniently, labelled with the Model, written strictly. Pure.

Prometheus throws a whole scrape away for one bad line, a family that appears twice or a sample that does. So nothing of
an engine passes unread: lines that cannot be understood are dropped, families are gathered, and what one engine says
wrong costs that family of that engine and no other. Text format 0.0.4, and OpenMetrics as far as the two agree.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

MOST_SAMPLES: Final = 20_000
"""Of one engine: vLLM has some hundreds for each model."""
_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL: Final = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(,?)')
_TYPES: Final = frozenset({"counter", "gauge", "histogram", "summary", "untyped"})
_SUFFIXES: Final = {
    "histogram": ("_bucket", "_sum", "_count"),
    "summary": ("_sum", "_count"),
    "counter": ("_total",),
    "info": ("_info",),
    "gaugehistogram": ("_bucket", "_gsum", "_gcount"),
}
_OUR_PREFIX: Final = "corral_"

Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Family:
    """One metric: its samples by (name, labels). Values stay as the engine wrote them. `type` "" is unsaid."""

    name: str
    type: str = ""
    help: str = ""
    samples: dict[tuple[str, Labels], str] = field(default_factory=dict)


def read(text: str) -> dict[str, Family]:
    """Families by name, in the order of the text. What is not understood is left out; of doubles the first counts."""
    families: dict[str, Family] = {}
    samples = 0
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("#"):
            _comment(line, families)
        elif line and samples < MOST_SAMPLES:
            sample = _sample(line)
            if sample is not None:
                name, labels, value = sample
                family = _family_of(name, families)
                family.samples.setdefault((name, labels), value)
                samples += 1
    return {name: family for name, family in families.items() if family.samples}


def merge(engines: Iterable[tuple[str, str]]) -> str:
    """
    One text from (Model, its engine's text), every sample with the label `model`.

    A label `model` of the engine's own becomes `exported_model`, as Prometheus does it. Families that call themselves
    Corral's are dropped; so are those whose type is another than an earlier engine said.
    """
    merged: dict[str, Family] = {}
    for model, text in engines:
        for family in read(text).values():
            name = _exposed(family)
            if name.startswith(_OUR_PREFIX):
                continue
            whole = merged.setdefault(name, Family(name, family.type, family.help))
            if _plain_type(whole) != _plain_type(family):
                continue
            for (sample, labels), value in family.samples.items():
                whole.samples.setdefault((sample, _labelled(labels, model)), value)
    return "".join(line for family in merged.values() for line in _written(family))


def _comment(line: str, families: dict[str, Family]) -> None:
    words = line[1:].split(None, 2)
    if len(words) < 2 or words[0] not in ("HELP", "TYPE") or not _NAME.fullmatch(words[1]):
        return
    family = families.setdefault(words[1], Family(words[1]))
    rest = words[2] if len(words) == 3 else ""
    if words[0] == "HELP" and not family.help:
        family.help = rest
    elif words[0] == "TYPE" and not family.type and not family.samples:
        family.type = rest.strip()


def _sample(line: str) -> tuple[str, Labels, str] | None:
    match = _NAME.match(line)
    if match is None:
        return None
    rest = line[match.end() :].lstrip()
    labels: Labels = ()
    if rest.startswith("{"):
        read_labels = _labels(rest)
        if read_labels is None:
            return None
        labels, rest = read_labels
    # What follows the value, a time or an exemplar, is of the engine's scrape and not of ours.
    words = rest.split()
    return (match[0], labels, words[0]) if words and _is_number(words[0]) else None


def _labels(text: str) -> tuple[Labels, str] | None:
    found: dict[str, str] = {}
    position = 1
    while not text.startswith("}", position):
        match = _LABEL.match(text, position)
        if match is None or match[1] in found:
            tail = text[position:].lstrip()
            return (tuple(found.items()), tail[1:]) if tail.startswith("}") else None
        found[match[1]] = match[2]  # still escaped, as it will be written
        position = match.end()
    return tuple(found.items()), text[position + 1 :]


def _is_number(word: str) -> bool:
    if "_" in word:  # Python would take it
        return False
    try:
        float(word)
    except ValueError:
        return False
    return True


def _family_of(name: str, families: dict[str, Family]) -> Family:
    if name in families:
        return families[name]
    for kind, suffixes in _SUFFIXES.items():
        for suffix in suffixes:
            family = families.get(name.removesuffix(suffix)) if name.endswith(suffix) else None
            if family is not None and family.type == kind:
                return family
    return families.setdefault(name, Family(name))


def _plain_type(family: Family) -> str:
    return family.type if family.type in _TYPES else "untyped"


def _labelled(labels: Labels, model: str) -> Labels:
    renamed = tuple(("exported_model" if name == "model" else name, value) for name, value in labels)
    return (("model", _escaped(model)), *renamed)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _exposed(family: Family) -> str:
    """Its name in text 0.0.4, which has the `_total` and `_info` that OpenMetrics leaves off."""
    suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
    bare = bool(suffix) and all(name == family.name + suffix for name, _ in family.samples)
    return family.name + suffix if bare else family.name


def _written(family: Family) -> Iterator[str]:
    if family.help:
        yield f"# HELP {family.name} {family.help}\n"
    yield f"# TYPE {family.name} {_plain_type(family)}\n"
    for (sample, labels), value in family.samples.items():
        inside = ",".join(f'{label}="{text}"' for label, text in labels)
        yield f"{sample}{{{inside}}} {value}\n"
