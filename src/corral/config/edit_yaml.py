"""
One value of a YAML text changed, and nothing else: no comment moves, no line is laid out anew.

Where things stand is known from libyaml's marks, so the new value is put into the text at its place. To write the
whole document again would move comments from one section to the next: those that follow a value belong to nobody.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from corral.config import yaml_text
from corral.config.document import MAX_DEPTH
from corral.config.problems import Keys, dotted
from corral.domain.errors import ConfigError

_STEP: Final = 2
"""Columns by which new mappings are indented."""
_COMMA: Final = re.compile(r"[ \t]*,")
_BEHIND: Final = re.compile(r"[ \t]+#[^\r\n]*")
_TO_DASH: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*|[&!]\S*)*")
_COMMENT_BEHIND: Final = re.compile(r"[ \t]+#.*")


@dataclass(slots=True)
class _Node:
    """`start` to `end` is what the node itself takes, without what follows it. An alias is a scalar here."""

    kind: str  # scalar, alias, map, list
    start: int
    end: int
    column: int
    flow: bool = False
    block: bool = False  # a `|` or `>` text: its end is the start of a line
    text: str = ""  # of a scalar, as it is meant
    items: list[_Node] = field(default_factory=list)  # of a map: key, value, key, value ...

    def pairs(self) -> list[tuple[_Node, _Node]]:
        """The entries of a map."""
        return list(zip(self.items[::2], self.items[1::2], strict=True))


def set_value(text: str, keys: Keys, value: Any) -> str:
    """The text with this value at these keys. An index one beyond the end of a list appends. Raises ConfigError."""
    return _Editor(text).set(keys, value)


def unset(text: str, keys: Keys) -> str:
    """The text without this key or item. Raises ConfigError where it is not there."""
    return _Editor(text).unset(keys)


def _tree(text: str) -> _Node | None:
    """The text must have been read before: syntax errors are not expected here."""
    root: _Node | None = None
    open_nodes: list[_Node] = []
    for event in _events(text):
        mark, end = event.start_mark, event.end_mark
        if isinstance(event, yaml.CollectionEndEvent):
            node = open_nodes.pop()
            if node.flow:
                node.end = end.index
            elif node.items:
                node.end = node.items[-1].end
                node.block = node.items[-1].block
            continue
        if not isinstance(event, yaml.NodeEvent):
            continue
        kind = "scalar"
        if isinstance(event, yaml.AliasEvent):
            kind = "alias"
        elif isinstance(event, yaml.CollectionStartEvent):
            kind = "map" if isinstance(event, yaml.MappingStartEvent) else "list"
        node = _Node(kind, mark.index, end.index, mark.column)
        if isinstance(event, yaml.CollectionStartEvent):
            node.flow = bool(event.flow_style)
        elif isinstance(event, yaml.ScalarEvent):
            node.block, node.text = event.style in ("|", ">"), event.value
        if open_nodes:
            open_nodes[-1].items.append(node)
        else:
            root = node
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append(node)
    return root


def _events(text: str) -> Iterator[Any]:
    yield from yaml.parse(text, Loader=yaml.CSafeLoader)


class _Editor:
    def __init__(self, text: str) -> None:
        self._text = text
        self._root = _tree(text)
        self._newline = "\r\n" if "\r\n" in text else "\n"

    # --- finding ---

    def _child(self, node: _Node, key: str | int, keys: Keys) -> _Node | None:
        if node.kind == "alias":
            raise ConfigError(f"{dotted(keys)} is an alias.", hint="Change what it names, or write it out.")
        if node.kind == "map" and isinstance(key, str):
            return next((value for name, value in node.pairs() if name.text == key), None)
        if node.kind == "list" and isinstance(key, int):
            return node.items[key] if key < len(node.items) else None
        return None

    def _find(self, keys: Keys) -> tuple[list[_Node], int]:
        """The nodes on the way to these keys, as far as they are there, and how many keys that is."""
        if self._root is None:
            return [], 0
        path = [self._root]
        for depth, key in enumerate(keys):
            found = self._child(path[-1], key, keys[:depth])
            if found is None:
                return path, depth
            path.append(found)
        return path, len(keys)

    # --- setting ---

    def set(self, keys: Keys, value: Any) -> str:
        path, depth = self._find(keys)
        if not path or (len(path) == 1 and self._is_empty(path[0])):
            return self._append_lines(_block(keys, value))
        node, rest = path[-1], keys[depth:]
        if not rest:
            return self._replace(node, value, parent=path[-2])
        if self._is_empty(node):
            return self._fill(node, rest, value, parent=path[-2])
        if node.kind == "map" and isinstance(rest[0], str):
            return self._add_entry(node, rest, value)
        if node.kind == "list" and rest[0] == len(node.items):
            return self._add_item(node, _nested(rest[1:], value))
        what = {"map": "a mapping", "list": "a list"}.get(node.kind, "one value")
        raise ConfigError(f"{dotted(keys[:depth]) or 'the file'} is {what}, so {dotted(keys)} cannot be set.")

    def _is_empty(self, node: _Node) -> bool:
        return node.kind == "scalar" and yaml_text.parse(f"v: {self._text[node.start : node.end]}").data["v"] is None

    def _replace(self, node: _Node, value: Any, *, parent: _Node) -> str:
        end = node.end
        if node.block:  # the line's end after it stays
            end = len(self._text[: node.end].rstrip("\r\n "))
        if node.kind in ("map", "list") and not node.flow and parent.kind == "map":
            key = next(name for name, each in parent.pairs() if each is node)
            start = self._text.index(":", key.end) + 1
            comments = self._text[start : node.start].rstrip()  # behind the key, and above the first entry
            return f"{self._text[:start]} {_flow(value)}{comments}{self._text[end:]}"
        if node.kind == "scalar" and node.block:  # `|  # like this`
            comment = _COMMENT_BEHIND.search(self._text[node.start : self._line_end(node.start)].rstrip("\r\n"))
            behind = comment[0] if comment else ""
            return f"{self._text[: node.start]}{_flow(value)}{behind}{self._text[end:]}"
        space = " " if node.start == node.end and self._text[node.start - 1 : node.start] == ":" else ""
        return f"{self._text[: node.start]}{space}{_flow(value)}{self._text[end:]}"

    def _fill(self, node: _Node, rest: Keys, value: Any, *, parent: _Node) -> str:
        """A key without a value becomes a section."""
        if parent.kind != "map" or parent.flow or node.start != node.end:
            return self._replace(node, _nested(rest, value), parent=parent)
        key = next(name for name, each in parent.pairs() if each is node)
        return self._insert_lines(self._line_end(node.end), _block(rest, value), key.column + _STEP)

    def _add_entry(self, node: _Node, rest: Keys, value: Any) -> str:
        name, inner = str(rest[0]), _nested(rest[1:], value)
        if node.flow:
            return self._into_flow(node, f"{_flow(name)}: {_flow(inner)}")
        return self._insert_lines(self._after(node), _block(rest, value), node.items[0].column)

    def _add_item(self, node: _Node, value: Any) -> str:
        if node.flow:
            return self._into_flow(node, _flow(value))
        return self._insert_lines(self._after(node), [(0, f"- {_flow(value)}")], self._column(self._dash(node, 0)))

    def _into_flow(self, node: _Node, entry: str) -> str:
        last = node.items[-1].end if node.items else self._opening(node) + 1
        if node.items and "\n" in self._text[last : node.end]:
            start = node.items[-2 if node.kind == "map" else -1].start
            line = self._line_start(start)
            indent = self._text[line:start]
            if not indent.strip():  # a line for each
                comma = _COMMA.match(self._text, last)
                before = self._text[: comma.end()] if comma else f"{self._text[:last]},"
                following = self._line_end(last)
                rest = self._text[comma.end() if comma else last : following]
                own = f"{indent}{entry}{',' if comma else ''}{self._newline}"
                return before + rest + own + self._text[following:]
        return f"{self._text[:last]}{', ' if node.items else ''}{entry}{self._text[last:]}"

    def _opening(self, node: _Node) -> int:
        """Where the bracket of an empty flow collection stands; a tag or anchor may be before it."""
        return self._text.rindex("{" if node.kind == "map" else "[", node.start, node.end)

    # --- taking away ---

    def unset(self, keys: Keys) -> str:
        path, depth = self._find(keys)
        if depth < len(keys) or len(path) < 2:
            raise ConfigError(f"{dotted(keys)} is not set in this file.")
        node, parent = path[-1], path[-2]
        starts = parent.items[::2] if parent.kind == "map" else parent.items
        ends = parent.items[1::2] if parent.kind == "map" else parent.items
        index = next(number for number, each in enumerate(ends) if each is node)
        if parent.flow:
            return self._out_of_flow(parent, starts, ends, index)
        if parent.kind == "list" and len(starts) == 1:
            return self._replace(parent, [], parent=path[-3])
        return self._out_of_block(parent, starts, ends, index)

    def _out_of_flow(self, parent: _Node, starts: list[_Node], ends: list[_Node], index: int) -> str:
        """Comments behind it go with it, those above and below stay."""
        begin, end = starts[index].start, ends[index].end
        comma = _COMMA.match(self._text, end)
        if index + 1 < len(starts):
            gap = self._text[end : starts[index + 1].start]
            _, newline, below = gap.partition("\n")
            kept = below.lstrip() if newline and "#" in below else ""
            return f"{self._text[:begin]}{kept}{self._text[starts[index + 1].start :]}"
        if not index:  # no comma may be left in front of the bracket
            return self._text[:begin] + self._text[comma.end() if comma else end :]
        gap = self._text[ends[index - 1].end : begin]
        if "#" not in gap:
            return self._text[: ends[index - 1].end] + self._text[end:]
        behind = _BEHIND.match(self._text, comma.end() if comma else end, parent.end)
        rest = self._text[behind.end() if behind else end :]
        before = self._text[: ends[index - 1].end] + _COMMA.sub("", gap, count=1)
        if rest.startswith(("\n", "\r\n")):  # it had its line for itself
            return before.rstrip(" \t") + rest.split("\n", 1)[1]
        return before + rest

    def _out_of_block(self, parent: _Node, starts: list[_Node], ends: list[_Node], index: int) -> str:
        begin = self._dash(parent, index) if parent.kind == "list" else starts[index].start
        line = self._line_start(begin)
        end = self._after(ends[index], start=starts[index])
        if not self._text[line:begin].strip():  # it has its lines for itself
            return self._text[:line] + self._text[end:]
        if index + 1 < len(starts):  # `- name: x` with more below: the next entry moves up
            following = self._dash(parent, index + 1) if parent.kind == "list" else starts[index + 1].start
            indent = " " * (len(self._text[line:begin]) - len(self._text[line:begin].lstrip()))
            comments = [each.strip() for each in self._text[end:following].splitlines()]
            above = "".join(f"{indent}{each}{self._newline}" for each in comments if each.startswith("#"))
            return f"{self._text[:line]}{above}{self._text[line:begin]}{self._text[following:]}"
        return f"{self._text[:begin]}{{}}{self._newline}{self._text[end:]}"

    def _dash(self, node: _Node, index: int) -> int:
        """Where the dash of an item of a list stands: behind what was before, and comments."""
        match = _TO_DASH.match(self._text, node.items[index - 1].end if index else node.start)
        return self._text.index("-", match.end() if match else node.start)

    # --- text ---

    def _line_start(self, at: int) -> int:
        return self._text.rfind("\n", 0, at) + 1

    def _line_end(self, at: int) -> int:
        """The start of the next line."""
        found = self._text.find("\n", at)
        return len(self._text) if found < 0 else found + 1

    def _column(self, at: int) -> int:
        return at - self._line_start(at)

    def _after(self, node: _Node, *, start: _Node | None = None) -> int:
        """The start of the line after a node; a comment behind it is part of its last line."""
        end = max(node.end, start.end if start else 0)
        if not node.block:
            return self._line_end(end)
        return self._line_end(len(self._text[: node.end].rstrip("\r\n ")))

    def _insert_lines(self, at: int, lines: list[tuple[int, str]], column: int) -> str:
        before = self._text[:at]
        if before and not before.endswith("\n"):
            before += self._newline
        new = "".join(f"{' ' * (column + depth)}{line}{self._newline}" for depth, line in lines)
        return before + new + self._text[at:]

    def _append_lines(self, lines: list[tuple[int, str]]) -> str:
        """To a text that says nothing yet; an explicit end or null would stand in the way."""
        return self._insert_lines(len(self._text), lines, 0)


def _nested(keys: Keys, value: Any) -> Any:
    """The value under the keys that are not there yet."""
    for key in reversed(keys[:MAX_DEPTH]):
        value = [value] if isinstance(key, int) else {key: value}
    return value


def _block(keys: Keys, value: Any) -> list[tuple[int, str]]:
    """The lines of new sections, each with its indent."""
    names = [key for key in keys if isinstance(key, str)]
    if len(names) < len(keys):  # a list begins: the rest stands in one line
        first = next(index for index, key in enumerate(keys) if isinstance(key, int))
        return _block(keys[:first], _nested(keys[first:], value))
    lines = [(depth * _STEP, f"{_flow(name)}:") for depth, name in enumerate(names)]
    return [*lines[:-1], (lines[-1][0], f"{lines[-1][1]} {_flow(value)}")]


def _flow(value: Any) -> str:
    """The value in one line, as it may stand anywhere, also inside brackets."""
    dumped = yaml.dump(
        [value], Dumper=yaml.CSafeDumper, default_flow_style=True, width=2**30, allow_unicode=True, sort_keys=False
    )
    text: str = dumped.strip()[1:-1]
    same = repr(yaml_text.parse(f"v: [{text}]").data["v"]) == repr([value])
    return text if same else json.dumps(value, ensure_ascii=False)  # `1e5` is a text for YAML 1.1 and a number here
