"""
`${env.NAME}` and `{{ path.to.value }}` in the values of a document.

A value that is one template alone takes the type of what it names: `{{ server.port }}` is a number, and text from the
environment becomes what its place wants. Inside a longer text only simple values can stand. Text that comes out of the
environment is never looked through again for templates.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from corral.config.document import Document, EnvText
from corral.config.problems import Keys, Problems, dotted
from corral.domain.names import near_names

MAX_CHAIN: Final = 30  # templates that name templates that name templates ...
MAX_TEXT: Final = 1024**2  # of one value: chat templates are long, doublings of doublings are longer
MAX_TOTAL: Final = 16 * 1024**2

_PART = re.compile(
    r"\$\{env\.(?P<env>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-[^}]*)?\}"
    r"|(?P<dollar>\$\{[^}]*\}?)"
    r"|\{\{\s*(?P<path>[^{}]*?)\s*\}\}"
)


class _FailedError(Exception):
    """A template on the way could not be filled in; the problem is already reported."""


def expand(document: Document, env: Mapping[str, str], problems: Problems, *, fixed: frozenset[Keys]) -> dict[str, Any]:
    """The document's data with all templates filled in. Values at `fixed` keys are left as they are."""
    result: dict[str, Any] = _Expander(document, env, problems, fixed).value(document.data, ())
    return result


class _Expander:
    def __init__(self, document: Document, env: Mapping[str, str], problems: Problems, fixed: frozenset[Keys]) -> None:
        self._data = document.data
        self._fixed = fixed | document.literal
        self._env = env
        self._problems = problems
        self._done: dict[Keys, Any] = {}
        self._open: list[Keys] = []
        self._total = 0

    def value(self, value: Any, keys: Keys) -> Any:
        if isinstance(value, dict):
            for key in value:
                if "${env." in key or "{{" in key:
                    self._problems.add(f"the key {key!r} has a template; only values can", keys=(*keys, key))
            return {key: self.value(item, (*keys, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item, (*keys, index)) for index, item in enumerate(value)]
        if isinstance(value, str) and keys not in self._fixed and ("${" in value or "{{" in value):
            try:
                return self._text(value, keys)
            except _FailedError:
                self._problems.mute(keys)
        return value

    def _fail(self, message: str, hint: str = "") -> _FailedError:
        self._problems.add(message, keys=self._open[-1], hint=hint)
        return _FailedError()

    def _text(self, text: str, keys: Keys) -> Any:
        if keys in self._done:
            return self._done[keys]
        if keys in self._open:
            circle = " -> ".join(dotted(step) for step in (*self._open[self._open.index(keys) :], keys))
            raise self._fail(f"these templates go in a circle: {circle}")
        if len(self._open) >= MAX_CHAIN:
            raise self._fail(f"more than {MAX_CHAIN} templates name each other in a row")
        if self._problems.has(keys):
            raise _FailedError
        self._open.append(keys)
        try:
            self._done[keys] = result = self._fill(text, keys)
        finally:
            self._open.pop()
        return result

    def _fill(self, text: str, keys: Keys) -> Any:
        whole = _PART.fullmatch(text.strip())
        if whole:
            value = self._part(whole)
            if isinstance(value, list) and isinstance(keys[-1], int):
                raise self._fail("a list cannot stand inside a list")
            return value
        pieces, size, end = [], 0, 0
        for match in _PART.finditer(text):
            value = self._part(match)
            if value is None or isinstance(value, list):
                raise self._fail(f"{match[0]} is not a simple value, so it cannot stand inside a text")
            piece = str(value).lower() if isinstance(value, bool) else str(value)
            pieces += [text[end : match.start()], piece]
            size += len(piece)
            end = match.end()
            if size > MAX_TEXT or self._total + size > MAX_TOTAL:
                raise self._fail("the text is too long once its templates are filled in")
        self._total += size
        return "".join((*pieces, text[end:]))

    def _part(self, match: re.Match[str]) -> Any:
        if match["env"]:
            return self._variable(match["env"], match["default"])
        if match["dollar"]:
            raise self._fail(
                f"{match['dollar']} is not known; write ${{env.NAME}} for an environment variable.",
                "The tag !literal in front of a value keeps it as it is.",
            )
        return self._reference(match["path"])

    def _variable(self, name: str, default: str | None) -> EnvText:
        value = self._env.get(name)
        if value is None and default is not None:
            value = default[2:]
        if value is None:
            raise self._fail(
                f"the environment variable {name} is not set.", f"Set it, or write ${{env.{name}:-default}}."
            )
        return EnvText(value)

    def _reference(self, path: str) -> Any:
        keys: Keys = ()
        value: Any = self._data
        names = path.split(".") if path else []
        if not names:
            raise self._fail(
                "{{ }} must name a value, such as {{ server.port }}.", "The tag !literal keeps a value as it is."
            )
        while names:
            step, used = _step(value, names)
            if step is None:
                near = near_names(names[0], value) if isinstance(value, dict) else ()
                hint = f"Did you mean {near[0]}?" if near else "The tag !literal in front of a value keeps it as it is."
                raise self._fail(f"{{{{ {path} }}}} names nothing in this file.", hint)
            keys, names = (*keys, step), names[used:]
            value = value[step]
        if isinstance(value, str) and keys not in self._fixed and ("${" in value or "{{" in value):
            return self._text(value, keys)
        if isinstance(value, list):
            value = [self._simple(self.value(item, (*keys, index)), path) for index, item in enumerate(value)]
            self._total += len(value)
            return value
        return self._simple(value, path)

    def _simple(self, value: Any, path: str) -> Any:
        if isinstance(value, dict | list):
            raise self._fail(f"{{{{ {path} }}}} names a section; name one value or a list of simple values")
        return value


def _step(value: Any, names: list[str]) -> tuple[str | int | None, int]:
    """The next key and how many names it takes: keys may have dots (`qwen2.5`), the longest that is there wins."""
    if isinstance(value, dict):
        for used in range(len(names), 0, -1):
            key = ".".join(names[:used])
            if key in value:
                return key, used
    elif isinstance(value, list) and names[0].isdecimal() and int(names[0][:9]) < len(value):
        return int(names[0]), 1
    return None, 0


def variables_in(value: Any) -> frozenset[str]:
    """The names of all environment variables that a value, not yet filled in, asks for."""
    if isinstance(value, str):
        return frozenset(match["env"] for match in _PART.finditer(value) if match["env"])
    if isinstance(value, Mapping):
        return frozenset[str]().union(*(variables_in(each) for each in value.values()))
    if isinstance(value, list | tuple):
        return frozenset[str]().union(*(variables_in(each) for each in value))
    return frozenset()
