"""
YAML -> Document, with the line of every key.

The events of libyaml's parser are put together here, not by its composer: the composer recurses in C and a file of
opening brackets ends the process, aliases must be counted before they are expanded, and lines must survive.

Scalars follow YAML 1.2's core schema: `on`, `yes` and `12:30` are text (fields that want a boolean take on, off, yes
and no as well), and so is a number with leading zeros. `!!str` makes text of anything; `!literal` makes text in which
`${...}` and `{{...}}` mean nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml

from corral.config.document import MAX_DEPTH, MAX_VALUES, Document, plain_value
from corral.config.problems import Keys, Problems

_MAX_NODES: Final = 2 * MAX_VALUES  # a key and a value each


@dataclass(slots=True)
class _Node:
    line: int
    column: int
    value: Any  # str for a scalar, list of nodes, list of (key node, value node)
    kind: str  # plain, text, literal, list, map


def parse(text: str, *, file: str = "") -> Document:
    """The document in a text. Raises ConfigErrors with every duplicate key, or with the one syntax error."""
    document = Document(file=file, parts=(file,) if file else ())
    problems = Problems(file, document.lines)
    try:
        root = _Builder(text).build()
    except yaml.YAMLError as error:
        message, line, column = _syntax_error(error, text)
        lines = text.count("\n") + 1
        if line is not None and line > lines:  # the parser's end of a text without a last newline
            line, column = lines, None
        problems.add(message, line=line, column=column)
        root = None
    if root is not None and not (root.kind == "plain" and root.value == ""):
        if root.kind != "map":
            problems.add("the file must be a mapping such as `models:`", line=root.line)
        else:
            document.data = _Flattener(document, problems).value(root, (), 0)
    problems.raise_any()
    return document


class _Bad(yaml.YAMLError):
    """Something that YAML allows and a config does not."""

    def __init__(self, message: str, mark: Any) -> None:
        super().__init__(message)
        self.line, self.column = mark.line + 1, mark.column + 1


def _syntax_error(error: yaml.YAMLError, text: str) -> tuple[str, int | None, int | None]:
    if isinstance(error, _Bad):
        return str(error), error.line, error.column
    if not isinstance(error, yaml.MarkedYAMLError):  # a character that YAML does not allow anywhere
        bad = next((i for i, char in enumerate(text) if ord(char) < 32 and char not in "\t\n\r"), None)
        line = text.count("\n", 0, bad) + 1 if bad is not None else None
        return f"this is not valid YAML: {str(error).splitlines()[0]}", line, None
    mark, start = error.problem_mark, error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (None, None)
    problem = error.problem or "syntax error"
    if mark is not None and ("tab" in problem or text[mark.index : mark.index + 1] == "\t"):
        return "a tab cannot indent YAML; use spaces", line, column
    if "mapping values are not allowed" in problem:
        problem += " (a text with `: ` in it needs quotes, and `key:value` needs a space)"
    elif "cannot start any token" in problem:
        problem += " (a text that begins with this character needs quotes)"
    elif mark is not None and re.search(r"\$\{|\{\{", _line_text(text, mark.line)):
        problem += " (a template inside brackets or braces needs quotes)"
    elif start is not None and mark is not None and start.line != mark.line and error.context:
        problem += f", {error.context} that begins in line {start.line + 1}"
    return f"this is not valid YAML: {problem}", line, column


def _line_text(text: str, number: int) -> str:
    lines = text.split("\n")
    return lines[number] if number < len(lines) else ""


class _Builder:
    """Events -> nodes, without recursion. An alias is the same node again."""

    def __init__(self, text: str) -> None:
        self._loader = yaml.CSafeLoader(text)
        self._anchors: dict[str, _Node | None] = {}  # None while the anchored value is still open

    def _events(self) -> Iterator[Any]:
        while self._loader.check_event():
            yield self._loader.get_event()

    def build(self) -> _Node | None:
        root: _Node | None = None
        open_nodes: list[tuple[_Node, str | None]] = []
        documents = count = 0
        for event in self._events():
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _Bad("a config is one YAML document; a second one begins here", event.start_mark)
            elif isinstance(event, yaml.CollectionEndEvent):
                node, anchor = open_nodes.pop()
                if anchor:
                    self._anchors[anchor] = node
                if node.kind == "map":
                    node.value = list(zip(node.value[::2], node.value[1::2], strict=True))
            elif isinstance(event, yaml.NodeEvent):
                node = self._node(event)
                count += 1
                if count > _MAX_NODES:  # there may be millions more: time is bounded by not reading them
                    raise _Bad(f"the file has more than {MAX_VALUES} values", event.start_mark)
                if open_nodes:
                    open_nodes[-1][0].value.append(node)
                else:
                    root = node
                if isinstance(event, yaml.CollectionStartEvent):
                    open_nodes.append((node, event.anchor))
                    if len(open_nodes) > MAX_DEPTH:
                        raise _Bad(f"values are nested more than {MAX_DEPTH} deep", event.start_mark)
        return root

    def _node(self, event: Any) -> _Node:
        mark = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            anchor = str(event.anchor)
            found = self._anchors.get(anchor)
            if found is None:
                known = anchor in self._anchors
                why = "refers to a value that contains it" if known else "has no anchor above it"
                raise _Bad(f"the alias *{anchor} {why}", mark)
            return found
        tag = event.tag
        if isinstance(event, yaml.ScalarEvent):
            if tag in ("!literal", "tag:yaml.org,2002:str"):
                kind = "literal" if tag == "!literal" else "text"
            elif tag in (None, "!"):
                kind = "plain" if event.implicit[0] else "text"
            else:
                raise _Bad(f"the tag {tag} means nothing here; only !!str and !literal do", mark)
            node = _Node(mark.line + 1, mark.column + 1, event.value, kind)
        else:
            if tag is not None:
                raise _Bad(f"the tag {tag} means nothing here; only !!str and !literal do", mark)
            kind = "map" if isinstance(event, yaml.MappingStartEvent) else "list"
            node = _Node(mark.line + 1, mark.column + 1, [], kind)
        if event.anchor:
            self._anchors[event.anchor] = node if isinstance(event, yaml.ScalarEvent) else None
        return node


class _Flattener:
    """Nodes -> plain data, lines by key, merges (`<<`) applied; counts what aliases make."""

    def __init__(self, document: Document, problems: Problems) -> None:
        self._document = document
        self._problems = problems
        self._count = 0
        self._full = False

    def value(self, node: _Node, keys: Keys, depth: int) -> Any:
        self._count += 1
        if self._count > MAX_VALUES or depth > MAX_DEPTH:
            if not self._full:
                self._full = True
                what = f"more than {MAX_VALUES} values" if depth <= MAX_DEPTH else f"nested more than {MAX_DEPTH} deep"
                self._problems.add(f"the file is {what} once its aliases are expanded", line=node.line)
            return None
        match node.kind:
            case "plain":
                return plain_value(node.value)
            case "text":
                return node.value
            case "literal":
                self._document.literal.add(keys)
                return node.value
            case "list":
                return [self._item(item, (*keys, index), depth) for index, item in enumerate(node.value)]
            case _:
                return self._mapping(node, keys, depth)

    def _item(self, node: _Node, keys: Keys, depth: int) -> Any:
        self._document.lines[keys] = node.line
        return self.value(node, keys, depth + 1)

    def _mapping(self, node: _Node, keys: Keys, depth: int) -> dict[str, Any]:
        entries: dict[str, tuple[int, _Node]] = {}
        self._collect(node, entries, keys, depth)
        result: dict[str, Any] = {}
        for name, (line, value) in entries.items():
            here = (*keys, name)
            self._document.lines[here] = line
            result[name] = self.value(value, here, depth + 1)
        return result

    def _collect(self, node: _Node, into: dict[str, tuple[int, _Node]], keys: Keys, depth: int) -> None:
        """The entries of a mapping: merged ones first, its own over them."""
        seen: dict[str, int] = {}
        own: dict[str, tuple[int, _Node]] = {}
        for key, value in node.value:
            if key.kind in ("list", "map"):
                self._problems.add(
                    "a key must be a simple text (and a value that is a {{ template }} needs quotes)", line=key.line
                )
            elif key.value in seen:
                self._problems.add(
                    f"the key {key.value!r} is here twice; the first is in line {seen[key.value]}",
                    line=key.line,
                    column=key.column,
                )
            elif key.value == "<<" and key.kind == "plain":
                seen[key.value] = key.line
                self._merge(value, into, keys, depth + 1)
            elif not key.value:
                self._problems.add("a key is empty", line=key.line)
            else:
                seen[key.value] = key.line
                own[key.value] = (key.line, value)
        into.update(own)

    def _merge(self, value: _Node, into: dict[str, tuple[int, _Node]], keys: Keys, depth: int) -> None:
        sources = value.value if value.kind == "list" else [value]
        for source in reversed(sources):  # the first of a list wins
            self._count += 1
            if source.kind != "map":
                self._problems.add("`<<` must name a mapping, or a list of mappings", line=value.line)
            elif depth <= MAX_DEPTH and self._count <= MAX_VALUES:
                self._collect(source, into, keys, depth)
