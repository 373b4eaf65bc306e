"""
The `template` of /api/generate: the part of Go's templates that prompts are usually made of.

    {{ if .System }}<|system|>{{ .System }}<|end|>{{ end }}<|user|>{{ .Prompt }}<|end|><|assistant|>{{ .Response }}

Known are .System, .Prompt, .Response and .Suffix, `if`, `else if`, `else` and `end`, comments, and dashes that trim.
The prompt ends where the response begins. Anything else is refused: half a template is worse than none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from corral.domain.errors import BadRequest

_ACTION: Final = re.compile(r"\{\{((?:(?!\{\{|\}\}).)*)\}\}", re.DOTALL)
_SPACE: Final = " \t\r\n"
_FIELD: Final = re.compile(r"\.(\w+)")
_RESPONSE: Final = "Response"


@dataclass(slots=True)
class _Branch:
    """An open `if`: whether what surrounds it is shown, one of its branches was taken, and this one is shown."""

    around: bool
    taken: bool
    shown: bool
    ended: bool = False  # by `else`: no more branches follow


def render(template: str, *, system: str, prompt: str, suffix: str = "") -> str:
    """The prompt, up to where the response begins. Raises BadRequest."""
    values = {"System": system, "Prompt": prompt, "Suffix": suffix, _RESPONSE: ""}
    branches: list[_Branch] = []
    out: list[str] = []
    for text, action in _pieces(template):
        shown = branches[-1].shown if branches else True
        if shown:
            out.append(text)
        word, _, rest = action.partition(" ")
        if not action or action.startswith("/*"):
            continue
        if word == "if":
            true = _true(rest, values)
            branches.append(_Branch(shown, true, shown and true))
        elif word in ("else", "end"):
            _turn(branches, action, values)
        else:
            value = _value(action, values)
            if shown and action == f".{_RESPONSE}":
                return "".join(out)
            if shown:
                out.append(value)
    if branches:
        raise BadRequest("`template`: an `if` has no `end`.")
    return "".join(out)


def _pieces(template: str) -> Iterator[tuple[str, str]]:
    """Text and the action after it, "" after the last."""
    at, trim = 0, False
    for found in _ACTION.finditer(template):
        text, action = template[at : found.start()], found[1]
        if trim:
            text = text.lstrip(_SPACE)
        if action[:1] == "-" and action[1:2].isspace():
            text, action = text.rstrip(_SPACE), action[1:]
        trim = action.endswith("-") and action[-2:-1].isspace()
        yield text, " ".join((action[:-1] if trim else action).split())
        at = found.end()
    rest = template[at:]
    if "{{" in rest:
        raise BadRequest("`template`: a `{{` has no `}}`.")
    yield (rest.lstrip(_SPACE) if trim else rest), ""


def _turn(branches: list[_Branch], action: str, values: Mapping[str, str]) -> None:
    """`else`, `else if` and `end`."""
    if not branches:
        raise BadRequest(f"`template`: `{action}` without an `if`.")
    branch = branches[-1]
    if action == "end":
        branches.pop()
        return
    if branch.ended or (action != "else" and not action.startswith("else if ")):
        raise BadRequest(f"`template`: {{{{ {action[:50]} }}}} is not known here.")
    true = action == "else" or _true(action.removeprefix("else if "), values)
    branch.ended = action == "else"
    branch.shown = branch.around and not branch.taken and true
    branch.taken = branch.taken or true


def _true(condition: str, values: Mapping[str, str]) -> bool:
    words = condition.split()
    if words[:1] == ["not"] and len(words) == 2:
        return not _value(words[1], values)
    if words[:1] in (["and"], ["or"]) and len(words) > 2:
        found = [bool(_value(word, values)) for word in words[1:]]
        return all(found) if words[0] == "and" else any(found)
    return bool(_value(condition, values))


def _value(action: str, values: Mapping[str, str]) -> str:
    found = _FIELD.fullmatch(action)
    if found is None or found[1] not in values:
        raise BadRequest(
            f"`template`: {{{{ {action[:50]} }}}} is not known here.",
            hint="Known are .System, .Prompt, .Suffix, .Response, if, else and end; the Model has its own template.",
        )
    return values[found[1]]
