"""What kind of value a key takes, in words: for `config explain` and the reference."""

from __future__ import annotations

import types
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from corral.config.problems import Keys
from corral.config.sentences import section_at

_BY_VALIDATOR: Final = {
    "_count": "whole number",
    "_size": "size",
    "_budget": "size, `auto` or `unlimited`",
    "_switch": "`true` or `false`",
    "texts": "list of texts",
    "_duration": "duration or `never`",
    "_finite": "duration",
    "_timeout": "duration, more than 0",
    "_path": "path",
    "_endpoint": "address",
    "_by_task": "name, or a mapping of them by task",
}
_PLAIN: Final = {str: "text", int: "whole number", float: "number", bool: "`true` or `false`"}


def kind_of(keys: Keys) -> str:
    """`duration or never`, `one of text, json`; "" for keys that the schema does not know one by one."""
    section = section_at(keys[:-1]) if keys else None
    field = section.model_fields.get(str(keys[-1])) if section is not None else None
    return _kind(field.annotation, tuple(field.metadata)) if field is not None else ""


def _kind(annotation: Any, metadata: tuple[Any, ...]) -> str:
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return _kind(inner, (*more, *metadata))
    if get_origin(annotation) in (Union, types.UnionType):
        choices = [each for each in get_args(annotation) if each is not type(None)]
        plain = [each for each in choices if get_origin(each) is not dict]
        if not _validator(metadata) and len(plain) == 1:
            return _kind(plain[0], metadata) + (", or a mapping of them by device" if len(plain) < len(choices) else "")
    validator = _validator(metadata)
    if validator:
        return _BY_VALIDATOR[validator] + _bounds(metadata)
    if get_origin(annotation) is Literal:
        return f"one of {', '.join(f'`{each}`' for each in get_args(annotation))}"
    if get_origin(annotation) is tuple:
        return f"list: {_kind(get_args(annotation)[0], ())}"
    if get_origin(annotation) is dict:
        return "mapping"
    return _PLAIN.get(annotation, "")


def _validator(metadata: tuple[Any, ...]) -> str:
    names = (getattr(getattr(each, "func", None), "__name__", "") for each in metadata)
    return next((name for name in names if name in _BY_VALIDATOR), "")


def _bounds(metadata: tuple[Any, ...]) -> str:
    low = next((each.ge for each in metadata if hasattr(each, "ge")), None)
    high = next((each.le for each in metadata if hasattr(each, "le")), None)
    if low is not None and high is not None:
        return f" from {low} to {high}"
    return f", {low} or more" if low is not None else ""
