"""
TOML -> Document, with the line of every key.

`tomllib` says what the text means and whether it is TOML at all, but not where anything stands. So a second walk over a
text that is known to be right finds the places: it needs to know quotes, brackets and comments, and nothing of values.

What YAML has and TOML has not: null (write "${null}"), and a mark for text in which templates mean nothing: there it
is the text in three single quotes.
"""

from __future__ import annotations

import datetime
import re
import sys
import tomllib
from typing import Any, Final

from corral.config.document import MAX_DEPTH, MAX_VALUES, Document
from corral.config.problems import ConfigErrors, Keys, Problems, dotted
from corral.domain.errors import ConfigError

_WHERE = re.compile(r" \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)\Z")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_STRING = re.compile(
    r"(?P<long>'''.*?'''(?:'{1,2}(?!'))?)|'''.*?'''|'[^'\n]*'"
    r'|"""(?:[^\\]|\\.)*?"""(?:"{1,2}(?!"))?|"(?:[^"\\\n]|\\.)*"',
    re.DOTALL,
)
_BRACKETS = re.compile(rf"{_STRING.pattern}|#[^\n]*|[\[\]{{}}]", re.DOTALL)
_DIGITS = re.compile(r"[0-9_]{4000,}")
_TOO_DEEP: Final = f"values are nested more than {MAX_DEPTH} deep"
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BARE_VALUE = re.compile(r"[^,\]}#\n]+")
_MAX_INT: Final = 10**31  # as in YAML, where a longer row of digits is a text
_LONG_KEY = re.compile(
    r"""(?<![A-Za-z0-9_-])(?:(?:[A-Za-z0-9_-]++|"[^"\n]{0,99}+"|'[^'\n]{0,99}+')[ \t]*+\.[ \t]*+){60}"""
)


def parse(text: str, *, file: str = "") -> Document:
    """The document in a text. Raises ConfigErrors with the one syntax error, or with every value that cannot be."""
    document = Document(file=file, parts=(file,) if file else ())
    text = text.replace("\r\n", "\n")
    try:
        long = _LONG_KEY.search(text)  # tomllib takes quadratic time for a key
        if long:
            raise ConfigErrors([_at(text, long.start(), _TOO_DEEP, file)])
        document.data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigErrors([_syntax_error(error, text, file)]) from None
    except RecursionError:
        raise ConfigErrors([_at(text, _deep_at(text), _TOO_DEEP, file)]) from None
    except ValueError:  # Python's own bound on digits
        found = _DIGITS.search(text)
        raise ConfigErrors([_at(text, found.start() if found else 0, "a number of too many digits", file)]) from None
    _Places(text, document).walk()
    problems = Problems(file, document.lines)
    _Checks(problems).value(document.data, (), 0)
    problems.raise_any()
    return document


def _at(text: str, place: int, message: str, file: str) -> ConfigError:
    line_start = text.rfind("\n", 0, place) + 1
    return ConfigError(message, file=file, line=text.count("\n", 0, place) + 1, column=place - line_start + 1)


def _deep_at(text: str) -> int:
    """Where the brackets of a text, which need not be right otherwise, are too deep."""
    depth = 0
    for match in _BRACKETS.finditer(text):
        depth += (match[0] in "[{") - (match[0] in "]}")
        if depth > MAX_DEPTH:
            return match.start()
    return 0


def _syntax_error(error: tomllib.TOMLDecodeError, text: str, file: str) -> ConfigError:
    found = _WHERE.search(str(error))
    message = _WHERE.sub("", str(error))
    line, column = (int(found["line"]), int(found["column"])) if found and found["line"] else (None, None)
    if line is None:
        line = text.rstrip().count("\n") + 1
    written = text.split("\n")[line - 1] if line <= text.count("\n") + 1 else ""
    if "Cannot overwrite a value" in message or "Cannot declare" in message or "Duplicate inline" in message:
        return ConfigError(_twice(message, written, text, line), file=file, line=line, column=column)
    hint = ""
    if re.match(r"\s*[\w.-]+\s*:(\s|$)", written):
        hint = "TOML writes `key = value`; a file in YAML must be named .yaml."
    elif re.search(r"=\s*(?:on|off|yes|no|null|True|False|[A-Za-z_/~.$][^\s\"']*)\s*(#.*)?$", written):
        hint = 'A text needs quotes; there are only true and false, and `"${null}"` for nothing.'
    message = message[:1].lower() + message[1:]
    return ConfigError(f"this is not valid TOML: {message}.", file=file, line=line, column=column, hint=hint)


def _twice(message: str, written: str, text: str, line: int) -> str:
    """tomllib says where a repetition ends, not what is repeated."""
    table = re.match(r"\s*\[\[?\s*(?P<name>[^\]]+?)\s*\]", written)
    key = table or re.match(r"\s*(?P<name>[^=\[{]+?)\s*=", written)
    if not key:
        return f"this is not valid TOML: {message[:1].lower()}{message[1:]}, so something is here twice"
    name = key["name"].strip("\"'")
    return f"the {'table' if table else 'key'} {name!r} is here twice"


class _Places:
    """Finds the line of every key and item in a text that tomllib has read. Iterative: it cannot run out of stack."""

    def __init__(self, text: str, document: Document) -> None:
        self._text, self._document = text, document
        self._at = 0
        self._line, self._counted = 1, 0  # lines are counted from where they were counted last
        self._tables: dict[Keys, int] = {}  # arrays of tables -> how many there are

    def walk(self) -> None:
        text = self._text
        table: Keys = ()
        while self._skip() < len(text):
            start = self._at
            if text[start] == "[":
                many = text.startswith("[[", start)
                self._at += 2 if many else 1
                table = self._header(self._key(), many=many)
                self._at += 2 if many else 1
            else:
                self._entry(table)

    def _skip(self) -> int:
        match = _BLANK.match(self._text, self._at)
        assert match is not None
        self._at = match.end()
        return self._at

    def _here(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def _mark(self, keys: Keys) -> None:
        line = self._here()
        for length in range(1, len(keys) + 1):
            self._document.lines.setdefault(keys[:length], line)

    def _header(self, names: list[str], *, many: bool) -> Keys:
        """The full keys of a table: each array of tables on the way stands for its last item."""
        keys: Keys = ()
        for index, name in enumerate(names):
            keys = (*keys, name)
            if many and index == len(names) - 1:
                self._tables[keys] = self._tables.get(keys, -1) + 1
            if keys in self._tables:
                keys = (*keys, self._tables[keys])
        self._mark(keys)
        return keys

    def _entry(self, table: Keys) -> None:
        keys = (*table, *self._key())
        self._mark(keys)
        self._at += 1  # the sign between key and value
        self._value(keys)

    def _key(self) -> list[str]:
        """The parts of a dotted key; leaves the cursor at what follows."""
        text, names = self._text, []
        while True:
            self._blank()
            quoted = _STRING.match(text, self._at)
            bare = quoted or _BARE_KEY.match(text, self._at)
            assert bare is not None
            names.append(_unquoted(bare[0]) if quoted else bare[0])
            self._at = bare.end()
            self._blank()
            if text[self._at] != ".":
                return names
            self._at += 1

    def _blank(self) -> None:
        match = _SPACE.match(self._text, self._at)
        assert match is not None
        self._at = match.end()

    def _value(self, keys: Keys) -> None:
        """Walk over one value and mark what is in it."""
        text = self._text
        open_places: list[tuple[str, Keys, int]] = []  # kind, keys, next index
        while True:
            self._skip()
            char = text[self._at]
            if char in "]}":
                self._at += 1
                open_places.pop()
            elif char == ",":
                self._at += 1
                continue
            else:
                here = keys
                if open_places:
                    kind, keys_of, index = open_places[-1]
                    if kind == "{":
                        here = (*keys_of, *self._key())
                        self._mark(here)
                        self._at += 1
                        self._skip()
                        char = text[self._at]
                    else:
                        here = (*keys_of, index)
                        self._mark(here)
                        open_places[-1] = (kind, keys_of, index + 1)
                if char in "[{":
                    self._at += 1
                    open_places.append((char, here, 0))
                else:
                    self._scalar(here)
            if not open_places:
                return

    def _scalar(self, keys: Keys) -> None:
        string = _STRING.match(self._text, self._at)
        if string is not None and string["long"]:
            self._document.literal.add(keys)
        match = string or _BARE_VALUE.match(self._text, self._at)
        assert match is not None
        self._at = match.end()


def _unquoted(text: str) -> str:
    if text[0] == "'":
        return text[1:-1]
    found: dict[str, Any] = tomllib.loads(f"{text} = 1") if "\\" in text else {text[1:-1]: 1}
    return next(iter(found))


class _Checks:
    """Refuses what TOML has and a config has not."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._count = 0

    def value(self, value: Any, keys: Keys, depth: int) -> None:
        self._count += 1
        if depth > MAX_DEPTH:
            self._problems.add(_TOO_DEEP, keys=keys[:1])
        elif self._count == MAX_VALUES + 1:
            self._problems.add(f"the file has more than {MAX_VALUES} values", keys=keys)
        elif self._count > MAX_VALUES:
            return
        elif isinstance(value, dict):
            for name, item in value.items():
                if not name:
                    self._problems.add("a key is empty", keys=(*keys, name))
                self.value(item, (*keys, name), depth + 1)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                self.value(item, (*keys, index), depth + 1)
        elif isinstance(value, datetime.date | datetime.time):
            self._problems.add(
                f"{dotted(keys)} is a date or a time, which no key takes.",
                keys=keys,
                hint="Put it in quotes if a text is meant.",
            )
        elif isinstance(value, float) and not abs(value) <= sys.float_info.max:
            self._problems.add(f"{dotted(keys)} is no number that can be used", keys=keys)
        elif isinstance(value, int) and abs(value) >= _MAX_INT:
            self._problems.add(f"{dotted(keys)} is a number of too many digits", keys=keys)
