"""
The tools of a response's request, as functions that every engine can be offered.

A namespace is a group of functions; in that way Codex has the tools of an MCP server. No engine knows such a thing, so
each of its functions is offered by both names in one (`crm__list_orders`), and a call of it is told by both again.
Tools that a server would have to run itself are not offered; a request that insists on one is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from corral.domain.chat import Choice, Tool, ToolChoice
from corral.domain.errors import BadRequest


class GivenTool(msgspec.Struct):
    """One tool, of any kind; `tools` are those of a namespace."""

    type: str
    name: str | None = None
    description: str | None = None
    parameters: msgspec.Raw = msgspec.Raw()
    strict: bool | None = None
    tools: list[GivenTool] | None = None


class Chosen(msgspec.Struct):
    """A `tool_choice` that is no word."""

    type: str
    name: str = ""
    mode: str = "auto"
    tools: list[GivenTool] | None = None


class Offered(NamedTuple):
    """
    What the model is offered. `namespaces`: its name there -> namespace and name, of functions that have one; `echo`:
    what the response says of it.
    """

    tools: tuple[Tool, ...]
    choice: ToolChoice | None
    namespaces: Mapping[str, tuple[str, str]]
    echo: list[dict[str, Any]]


def within(namespace: str | None, name: str) -> str:
    """The name that a model knows a function by: chats have no namespaces. Some clients have it in the name already."""
    if not namespace or name.startswith((f"{namespace}.", f"{namespace.rstrip('_')}__")):
        return name
    return f"{namespace.rstrip('_')}__{name}"


def offered(given: list[GivenTool], chosen: str | Chosen | None) -> Offered:
    """Raises BadRequest."""
    tools: dict[str, Tool] = {}
    namespaces: dict[str, tuple[str, str]] = {}
    for tool, namespace, where in _functions(given):
        if not tool.name:
            raise BadRequest(f"{where} is a function and wants a `name`.")
        name = within(namespace, tool.name)
        if name in tools and (namespace is not None or name in namespaces):
            raise BadRequest(f"{where} would be offered as {name[:100]!r}, as another tool is already.")
        if namespace is not None:
            namespaces[name] = (namespace, tool.name)
        parameters = an_object(tool.parameters, f"{where}.parameters")
        tools[name] = Tool(name, tool.description, parameters, tool.strict)
    echo = _echo(given, tools, namespaces)
    kept, choice = _choice(chosen, tools, namespaces)
    return Offered(tuple(kept), choice, namespaces, echo)


def an_object(given: msgspec.Raw, where: str) -> msgspec.Raw | None:
    """A JSON schema; None where there is none. Raises BadRequest."""
    text = bytes(given).strip()
    if text in (b"", b"null"):
        return None
    if not text.startswith(b"{"):
        raise BadRequest(f"{where} is a JSON schema, an object.")
    return msgspec.Raw(text)


def in_one_line(given: msgspec.Raw | None) -> msgspec.Raw | None:
    """As it was written but for the space around its values: a line's end would be the end of an event."""
    return msgspec.Raw(msgspec.json.format(bytes(given), indent=-1)) if given is not None and bytes(given) else None


def _functions(given: list[GivenTool]) -> Iterator[tuple[GivenTool, str | None, str]]:
    """Each function, the namespace it is in, and its place."""
    for number, tool in enumerate(given):
        where = f"tools[{number}]"
        if tool.type == "function":
            yield tool, None, where
        elif tool.type == "namespace":
            if not tool.name:
                raise BadRequest(f"{where} is a namespace and wants a `name`.")
            for place, inner in enumerate(tool.tools or ()):
                if inner.type == "function":
                    yield inner, tool.name, f"{where}.tools[{place}]"


def _choice(
    chosen: str | Chosen | None, tools: Mapping[str, Tool], namespaces: Mapping[str, tuple[str, str]]
) -> tuple[list[Tool], ToolChoice | None]:
    kept = list(tools.values())
    if chosen is None or chosen == "":
        return kept, None
    if isinstance(chosen, Chosen):
        names = _meant(chosen, tools, namespaces)
        if chosen.type == "function" and len(names) == 1:
            return kept, ToolChoice(Choice.NAMED, names.pop())
        if chosen.type != "allowed_tools":
            words = f"`{chosen.name[:100] or chosen.type[:50]}`"
            raise BadRequest(f"`tool_choice` wants {words}, which is none of the functions in `tools`.")
        allowed = {name for each in chosen.tools or () for name in _meant(each, tools, namespaces)}
        kept, chosen = [tool for tool in kept if tool.name in allowed], chosen.mode
    if chosen not in (Choice.AUTO, Choice.NONE, Choice.REQUIRED):
        raise BadRequest(f"`tool_choice` is auto, none, required, or names a function, not {chosen[:50]!r}.")
    if chosen == Choice.REQUIRED and not kept:
        raise BadRequest("`tool_choice` wants a call, and `tools` has no function that could be called.")
    return kept, ToolChoice(Choice(chosen))


def _meant(said: GivenTool | Chosen, tools: Mapping[str, Tool], namespaces: Mapping[str, tuple[str, str]]) -> set[str]:
    """The offered names of what a choice names: a namespace, or a function, within a namespace or not."""
    name = said.name or ""
    if said.type == "namespace":
        return {each for each, (namespace, _) in namespaces.items() if namespace == name}
    if name in tools:
        return {name}
    return {each for each, (_, inner) in namespaces.items() if inner == name}


def _echo(
    given: list[GivenTool], tools: Mapping[str, Tool], namespaces: Mapping[str, tuple[str, str]]
) -> list[dict[str, Any]]:
    """As they were given, without those that are not offered."""
    told: list[dict[str, Any]] = []
    for each in given:
        if each.type == "function":
            told.append(_function(each, tools[each.name or ""]))
        elif each.type == "namespace":
            inner = [
                _function(tool, tools[within(each.name, tool.name or "")])
                for tool in each.tools or ()
                if tool.type == "function"
            ]
            told.append({"type": "namespace", "name": each.name, "description": each.description or "", "tools": inner})
    return told


def _function(given: GivenTool, tool: Tool) -> dict[str, Any]:
    return {
        "type": "function",
        "name": given.name,
        "description": tool.description,
        "parameters": in_one_line(tool.parameters),
        "strict": tool.strict,
    }
