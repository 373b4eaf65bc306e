"""
`${env.NAME}`, `${macro}`, `{{ path.to.value }}` and `{model}` in the values of a document.

A value that is one template alone takes the type of what it names: `{{ server.port }}` is a number, a macro or a
section is a whole mapping, and text from the environment becomes what its place wants. Inside a longer text only simple
values can stand. Text that comes out of the environment is never looked through again for templates.

Macros stand under `macros:` and under a Model's own `macros:`, which go before. They are filled in where they are used:
a macro of the top that names another one finds the Model's, if the Model has one of that name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from corral.config import macros
from corral.config.document import MAX_DEPTH, MAX_VALUES, Document, EnvText
from corral.config.problems import Keys, Problems, dotted
from corral.domain.names import near_names

MAX_CHAIN: Final = 30  # templates that name templates that name templates ...
MAX_TEXT: Final = 1024**2  # of one value: chat templates are long, doublings of doublings are longer
MAX_TOTAL: Final = 16 * 1024**2
NOTHING: Final = "null"
"""`${null}` is nothing: TOML has no word for it."""

MODEL_NAME: Final = re.compile(r"(?<!\{)\{model\}(?!\})")
"""In a Model, and in what all Models of an engine have: the Model's name."""

_PART = re.compile(
    r"\$\{env\.(?P<env>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-[^}]*)?\}"
    r"|\$\{(?P<macro>[A-Za-z_][A-Za-z0-9_-]*)\}"
    r"|(?P<dollar>\$\{[^}]*\}?)"
    r"|\{\{\s*(?P<path>[^{}]*?)\s*\}\}"
    rf"|(?P<model>{MODEL_NAME.pattern})"
)


class _FailedError(Exception):
    """A template on the way could not be filled in; the problem is already reported."""


@dataclass(slots=True)
class _Filled:
    """What a value has become: how many values are in it, and which environment variables."""

    value: Any
    count: int = 1
    variables: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Expanded:
    """`data` with all templates filled in. `server_env` are the variables that went into `server` and `store`."""

    data: dict[str, Any]
    server_env: frozenset[str]


def expand(document: Document, env: Mapping[str, str], problems: Problems, *, fixed: frozenset[Keys]) -> Expanded:
    """
    The document's data with all templates filled in; what is wrong is added to `problems`.

    Values at `fixed` keys are left as they are, and so are the sections `macros`: they are filled in where they are
    used.
    """
    macros.check(document.data, problems, literal=document.literal)
    expander = _Expander(document, env, problems, fixed)
    found = expander.whole()
    named = variables_in(document.data.get("server")) | variables_in(document.data.get("store"))
    return Expanded(found, expander.server_env | named)


class _Expander:
    def __init__(self, document: Document, env: Mapping[str, str], problems: Problems, fixed: frozenset[Keys]) -> None:
        self._data = document.data
        self._fixed = fixed | document.literal
        self._env = env
        self._problems = problems
        self._done: dict[tuple[Keys, str], _Filled] = {}
        self._open: list[Keys] = []
        self._chars = 0  # of all texts that were put together
        self._values = 0  # that templates have put in
        self._depth = 0  # of the containers that are put in now
        self._used: set[str] = set()  # variables of the value that is filled in now
        self.server_env: frozenset[str] = frozenset()

    def whole(self) -> dict[str, Any]:
        """All of the data."""
        result: dict[str, Any] = {}
        for key, value in self._data.items():
            self._check_keys({key: value}, ())
            self._used = set()
            result[key] = value if key == macros.SECTION else self._value(value, (key,), "")
            if key in ("server", "store"):
                self.server_env |= self._used
        return result

    def _value(self, value: Any, keys: Keys, scope: str) -> Any:
        """A value of the file with its templates filled in; a part that fails stays as it is and is muted."""
        if isinstance(value, dict):
            self._check_keys(value, keys)
            if keys == ("models",):
                return {name: self._value(item, (*keys, name), name) for name, item in value.items()}
            own_macros = macros.SECTION if len(keys) == 2 and keys[0] == "models" else None
            return {
                key: item if key == own_macros else self._value(item, (*keys, key), scope)
                for key, item in value.items()
            }
        if isinstance(value, list):
            return [self._value(item, (*keys, index), scope) for index, item in enumerate(value)]
        if self._is_template(value, keys, scope):
            try:
                return self._text(value, keys, scope).value
            except _FailedError:
                self._problems.mute(keys)
        return value

    def _check_keys(self, mapping: Mapping[str, Any], keys: Keys) -> bool:
        wrong = [key for key in mapping if "${" in key or "{{" in key]
        for key in wrong:
            self._problems.add(f"the key {key!r} has a template; only values can", keys=(*keys, key))
        return not wrong

    def _is_template(self, value: Any, keys: Keys, scope: str) -> bool:
        if not isinstance(value, str) or ("{" not in value) or keys in self._fixed:
            return False
        return "${" in value or "{{" in value or (bool(scope) and "{model}" in value)

    def _fail(self, message: str, hint: str = "") -> _FailedError:
        self._problems.add(message, keys=self._open[-1], hint=hint)
        return _FailedError()

    def _text(self, text: str, keys: Keys, scope: str) -> _Filled:
        known = self._done.get((keys, scope))
        if known is not None:
            self._used |= known.variables
            return known
        if keys in self._open:
            circle = " -> ".join(dotted(step) for step in (*self._open[self._open.index(keys) :], keys))
            raise self._fail(f"these templates go in a circle: {circle}")
        if len(self._open) >= MAX_CHAIN:
            raise self._fail(f"more than {MAX_CHAIN} templates name each other in a row")
        if self._problems.has(keys):
            raise _FailedError
        outer, self._used = self._used, set()
        self._open.append(keys)
        try:
            filled = self._fill(text, keys, scope)
        finally:
            self._open.pop()
            outer |= self._used
            variables, self._used = frozenset(self._used), outer
        filled.variables = variables
        self._done[keys, scope] = filled
        return filled

    def _fill(self, text: str, keys: Keys, scope: str) -> _Filled:
        whole = _PART.fullmatch(text.strip())
        if whole and not (whole["model"] and not scope):
            found = self._part(whole, scope)
            if isinstance(found.value, list) and isinstance(keys[-1], int):
                raise self._fail("a list cannot stand inside a list")
            self._count(found.count)
            return _Filled(found.value, found.count)
        pieces, size, end = [], 0, 0
        for match in _PART.finditer(text):
            if match["model"] and not scope:
                continue
            value = self._part(match, scope).value
            if value is None or isinstance(value, list | dict):
                raise self._fail(f"{match[0]} is not a simple value, so it cannot stand inside a text")
            piece = str(value).lower() if isinstance(value, bool) else str(value)
            pieces += [text[end : match.start()], piece]
            size += len(piece)
            end = match.end()
            if size > MAX_TEXT or self._chars + size > MAX_TOTAL:
                raise self._fail("the text is too long once its templates are filled in")
        self._chars += size
        return _Filled("".join((*pieces, text[end:])))

    def _count(self, values: int) -> None:
        self._values += values
        if self._values > MAX_VALUES:
            raise self._fail(f"the file has more than {MAX_VALUES} values once its templates are filled in")

    def _part(self, match: re.Match[str], scope: str) -> _Filled:
        if match["env"]:
            return _Filled(self._variable(match["env"], match["default"]))
        if match["macro"]:
            return self._macro(match["macro"], scope)
        if match["model"]:
            return _Filled(scope)
        if match["dollar"]:
            raise self._fail(
                f"{match['dollar']} is not known; write ${{env.NAME}} for an environment variable, ${{NAME}} for a "
                "macro.",
                "The tag !literal in front of a value keeps it as it is.",
            )
        return self._reference(match["path"], scope)

    def _variable(self, name: str, default: str | None) -> EnvText:
        self._used.add(name)
        value = self._env.get(name)
        if value is None and default is not None:
            value = default[2:]
        if value is None:
            raise self._fail(
                f"the environment variable {name} is not set.", f"Set it, or write ${{env.{name}:-default}}."
            )
        return EnvText(value)

    def _macro(self, name: str, scope: str) -> _Filled:
        if name == NOTHING:
            return _Filled(None)
        keys, value = macros.find(self._data, name, scope)
        if not keys:
            raise self._fail(*macros.unknown(self._data, name, scope))
        if self._problems.has(keys):
            raise _FailedError
        return self._used_value(value, keys, scope)

    def _used_value(self, value: Any, keys: Keys, scope: str) -> _Filled:
        """A value that a template puts in: it fails as a whole, and it is counted."""
        if isinstance(value, dict | list):
            known = self._done.get((keys, scope))
            if known is not None:
                self._used |= known.variables
                return known
            items: Iterable[tuple[str | int, Any]] = value.items() if isinstance(value, dict) else enumerate(value)
            if isinstance(value, dict) and not self._check_keys(value, keys):
                raise _FailedError
            if self._depth >= MAX_DEPTH:
                raise self._fail(f"values are nested more than {MAX_DEPTH} deep once their templates are filled in")
            self._depth += 1
            try:
                filled = [(key, self._used_value(item, (*keys, key), scope)) for key, item in items]
            finally:
                self._depth -= 1
            count = 1 + sum(item.count for _, item in filled)
            result: Any = {key: item.value for key, item in filled}
            if isinstance(value, list):
                result = [item.value for _, item in filled]
            variables = frozenset[str]().union(*(item.variables for _, item in filled))
            found = self._done[keys, scope] = _Filled(result, count, variables)
            return found
        if self._is_template(value, keys, scope):
            return self._text(value, keys, scope)
        return _Filled(value)

    def _reference(self, path: str, scope: str) -> _Filled:
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
        if keys[0] != macros.SECTION:
            scope = str(keys[1]) if keys[0] == "models" else ""
        return self._used_value(value, keys, scope)


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
