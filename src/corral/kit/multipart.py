"""One text field of a multipart form, read or replaced without taking the form apart."""

from __future__ import annotations

import re
from typing import Final

_BOUNDARY = re.compile(r"""boundary=(?:"([^"\r\n]{1,70})"|([0-9A-Za-z'()+_,./:=?-]{1,70}))""")
_NAME = re.compile(rb"""(?i)^content-disposition:\s*form-data\s*;[^\r\n]*?\bname="([^"\r\n]{0,200})\"""", re.MULTILINE)
_PARTS_LIMIT: Final = 100
_HEAD_LIMIT: Final = 4096


def form_field(body: bytes, content_type: str, name: str, *, limit: int = 1024) -> str | None:
    """
    The value of the field, None when the form has none.

    Raises ValueError for a form that cannot be read: no boundary, a part without an end, too many parts, a value
    over `limit` bytes, the field twice.
    """
    found, _ = _find(body, content_type, name)
    return None if found is None else _text(body[found], name, limit)


def with_field(body: bytes, content_type: str, name: str, value: str) -> bytes:
    """The form with this value of the field, as its first part where it had none. Raises ValueError as `form_field`."""
    found, mark = _find(body, content_type, name)
    if found is not None:
        return body[: found.start] + value.encode() + body[found.stop :]
    part = b'%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
    return part % (mark, name.encode(), value.encode()) + body


def _find(body: bytes, content_type: str, name: str) -> tuple[slice | None, bytes]:
    """Where the field's value stands, and the form's boundary line."""
    if not content_type.lower().startswith("multipart/form-data"):
        raise ValueError("the body must be multipart/form-data")
    match = _BOUNDARY.search(content_type)
    if match is None:
        raise ValueError("the multipart boundary is missing or malformed")
    mark = b"--" + (match[1] or match[2]).encode("latin-1")
    if not body.startswith(mark):
        raise ValueError("the form does not begin with its boundary")
    found: slice | None = None
    at = len(mark)
    for _ in range(_PARTS_LIMIT):
        if body.startswith(b"--", at):
            return found, mark
        head_end = body.find(b"\r\n\r\n", at, at + _HEAD_LIMIT)
        end = body.find(b"\r\n" + mark, max(at, head_end))
        if head_end < 0 or end < 0:
            raise ValueError("a part of the form is malformed")
        part = _NAME.search(body[at : head_end + 2])
        if part is not None and part[1] == name.encode():
            if found is not None:
                raise ValueError(f"the field {name!r} is there twice")
            found = slice(head_end + 4, end)
        at = end + 2 + len(mark)
    raise ValueError(f"the form has more than {_PARTS_LIMIT} parts")


def _text(value: bytes, name: str, limit: int) -> str:
    if len(value) > limit:
        raise ValueError(f"the field {name!r} is too long")
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ValueError(f"the field {name!r} is not UTF-8") from None
