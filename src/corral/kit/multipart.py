"""One text field out of a multipart form, without taking the form apart."""

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
    if not content_type.lower().startswith("multipart/form-data"):
        raise ValueError("the body must be multipart/form-data")
    match = _BOUNDARY.search(content_type)
    if match is None:
        raise ValueError("the multipart boundary is missing or malformed")
    mark = b"--" + (match[1] or match[2]).encode("latin-1")
    if not body.startswith(mark):
        raise ValueError("the form does not begin with its boundary")
    found: str | None = None
    at = len(mark)
    for _ in range(_PARTS_LIMIT):
        if body.startswith(b"--", at):
            return found
        head_end = body.find(b"\r\n\r\n", at, at + _HEAD_LIMIT)
        end = body.find(b"\r\n" + mark, max(at, head_end))
        if head_end < 0 or end < 0:
            raise ValueError("a part of the form is malformed")
        part = _NAME.search(body[at : head_end + 2])
        if part is not None and part[1] == name.encode():
            if found is not None:
                raise ValueError(f"the field {name!r} is there twice")
            found = _text(body[head_end + 4 : end], name, limit)
        at = end + 2 + len(mark)
    raise ValueError(f"the form has more than {_PARTS_LIMIT} parts")


def _text(value: bytes, name: str, limit: int) -> str:
    if len(value) > limit:
        raise ValueError(f"the field {name!r} is too long")
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ValueError(f"the field {name!r} is not UTF-8") from None
