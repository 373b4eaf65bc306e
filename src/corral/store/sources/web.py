"""A file by its address: how large it is, and the other parts of a split one by their names."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from corral.contracts.fetching import Plan, RemoteFile, Role
from corral.domain.errors import NotThere, WrongContent
from corral.domain.references import WebReference
from corral.store.fetch.denial import Denied, Unranged
from corral.store.fetch.rules import shown
from corral.store.fetch.web import Web
from corral.store.sources.choosing import role_of
from corral.store.sources.listing import part_of, sibling
from corral.store.sources.places import web_place

_MOST_PARTS: Final = 1000
_LONGEST_NAME: Final = 255  # bytes: as long as disks take them


def plan(web: Web, reference: WebReference, *, sha256: str = "", name: str = "") -> Plan:
    """The file, and all parts of a split one; nothing but their sizes and tags is known. Raises FetchFailed."""
    urls = part_urls(reference.url)
    if len(urls) > 1 and name:
        raise NotThere("The parts of a split model keep their names.", hint="Leave --name out.")
    files = []
    for number, url in enumerate(urls, 1):
        try:
            size, etag = _said(web, url)
        except Denied as denied:
            if len(urls) == 1 or denied.answered != 404:
                raise
            raise NotThere(f"Part {number} of {len(urls)} is not there: {shown(url)}.", hint=denied.hint) from None
        place = web_place(url, name)
        role = role_of(place)
        files.append(RemoteFile(url, place, Role.MODEL if role is Role.OTHER else role, size, sha256, etag))
    return Plan(reference, tuple(files))


def _said(web: Web, url: str) -> tuple[int | None, str]:
    """What the server says of its size, and its ETag. By a range and not by HEAD, which signed addresses refuse."""
    try:
        answer = web.open(url, start=0, end=1)
    except Unranged:  # an empty file has no first byte
        return 0, ""
    with answer:
        if answer.is_page:
            raise WrongContent(
                f"{answer.target.shown} is a page for people and no file.",
                hint="Take the address behind its download button.",
            )
        return answer.whole_bytes, answer.etag


def part_urls(url: str) -> list[str]:
    """Addresses of all parts by their numbered names, in order; the address alone where it has no number."""
    pieces = urlsplit(url)
    part = part_of(pieces.path)
    if part is None:
        return [url]
    if part.count > _MOST_PARTS:
        raise NotThere(f"{shown(url)} would have {part.count} parts: that is no model.")
    paths = [sibling(pieces.path, number) for number in range(1, part.count + 1)]
    return [urlunsplit(pieces._replace(path=path)) for path in paths]


def file_name(text: str) -> str:
    """A file name that somebody gave, as it can be. Raises NotThere."""
    name = text if text.lower().endswith(".gguf") else f"{text}.gguf"
    hint = ""
    if name.startswith("."):
        hint = "Let it begin with something else than a dot: such files are Corral's own."
    elif re.search(r"[/\\:\x00-\x1f\x7f]", name):
        hint = "Leave out slashes, colons and control characters."
    elif (length := len(name.encode("utf-8", "surrogateescape"))) > _LONGEST_NAME:
        hint = f"With .gguf it has {length} bytes; {_LONGEST_NAME} may be."
    if hint:
        raise NotThere(f"{_cut(text)!r} cannot be the name of a file in the store.", hint=hint)
    return name


def _cut(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:60]}..."
