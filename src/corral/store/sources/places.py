"""Where a model's files go below the store's folder."""

from __future__ import annotations

import hashlib
import re
from typing import Final
from urllib.parse import quote, unquote, unquote_to_bytes, urlsplit

from corral.domain.errors import WrongContent
from corral.domain.references import BadReference, HubReference, OllamaReference, check_inside
from corral.store.sources.listing import part_of, sibling

_NEVER: Final = "/\\:\ufffd"  # the last stands for bytes that are no text
_LONGEST: Final = 200  # bytes of a name, less than a disk takes: a mark and an ending may come
_UNUSUAL: Final = re.compile(r"[^A-Za-z0-9._+@=,()\[\]-]+")
_END: Final = re.compile(r"(-\d{5}-of-\d{5})?\.gguf$", re.IGNORECASE)
_NOTHING_SAID: Final = ("", "download", "download=true", "download=1")


def hub_folder(reference: HubReference) -> str:
    """`hf/ORG/REPO`; a revision other than main has a folder of its own, `REPO@REVISION`."""
    marked = reference.revision.replace("--", "-%2D").replace("/", "%2F")
    return _inside(f"hf/{reference.repo}{'' if marked == 'main' else f'@{marked}'}")


def hub_place(reference: HubReference, file: str) -> str:
    """Of a file of the repository."""
    return _inside(f"{hub_folder(reference)}/{file}")


def revision_of(folder: str) -> str:
    """Which revision a folder `REPO[@REVISION]` is of. Once a `/` was written `--`, which no name has any more."""
    marked = folder.partition("@")[2]
    return (marked.replace("--", "/") if is_old(folder) else unquote(marked)) or "main"


def is_old(folder: str) -> bool:
    """Whether a folder `REPO@REVISION` is named as once, so that it may be of `a/b` or of `a--b`."""
    return "--" in folder.partition("@")[2]


def ollama_place(reference: OllamaReference, file: str) -> str:
    """`ollama/HOST/NAMESPACE/NAME/TAG/FILE`."""
    host = reference.host.lower().replace(":", "_")
    return _inside(f"ollama/{host}/{reference.namespace}/{reference.name}/{reference.tag}/{file}")


def web_place(url: str, name: str = "") -> str:
    """
    `web/HOST/PATH`, with another `name` of the file where one is given. It is a GGUF file, and named so.

    Where that does not say all of the address (what is behind a `?`, a `//`, a character that no name here has), it
    may be another file, so a mark of it is part of the name. What came by http may be anything, so it has a folder of
    its own: `web/HOST@http/PATH`.
    """
    return web_places(url, name)[0]


def web_places(url: str, name: str = "") -> tuple[str, ...]:
    """
    The same, and then where it was put once, for all addresses in the same order and number.

    Names had `_` for what is unusual in them, whatever it was; http and https had one folder.
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2].lower().replace(":", "_").strip("[]").replace("]", "")
    hosts = (f"{host}@http" if parts.scheme.lower() == "http" else host, host)
    ways = (_path(parts.path, parts.query, name), _old_path(parts.path, parts.query, name))
    place, *old = ("/".join(["web", host, *way]) for host in hosts for way in ways)
    return (_inside(place), *(each if _can_be(each) else place for each in old))


def _path(path: str, query: str, name: str) -> list[str]:
    said = [unquote(each) for each in path.removeprefix("/").split("/")]
    *folders, last = [_named(each) for each in said if each]
    query = "" if query in _NOTHING_SAID else f"?{query}"
    if [*folders, last] != said:
        query = _first_part(path) + query
    return [*folders, name or _marked(_as_gguf(last), query.removeprefix("?"))]


def _old_path(path: str, query: str, name: str) -> list[str]:
    *folders, last = [_UNUSUAL.sub("_", unquote(each)) for each in path.split("/") if each]
    return [*folders, name or _marked(_as_gguf(last), "" if query in _NOTHING_SAID else query)]


def _named(part: str) -> str:
    """A part of an address as a name here: what can be in one stays, and its end where it is too long."""
    part = "".join(char if char.isprintable() and char not in _NEVER else "_" for char in part)
    if len(part.encode()) <= _LONGEST:
        return part
    end = found[0] if (found := _END.search(part)) else ""
    return part.encode()[: _LONGEST - len(end)].decode(errors="ignore") + end


def _first_part(path: str) -> str:
    """The path, spelled in the one way; for all parts of a split model that of the first, so that they stay parts."""
    one = "/".join(quote(unquote_to_bytes(each), safe="") for each in path.split("/"))
    return sibling(one, 1) if part_of(one) else one


def _as_gguf(name: str) -> str:
    return name if name.lower().endswith(".gguf") else f"{name}.gguf"


def _marked(name: str, unsaid: str) -> str:
    """Eight digits of the hash of what the name does not say, before the number of a part."""
    if not unsaid:
        return name
    mark = hashlib.sha256(unsaid.encode()).hexdigest()[:8]
    return _END.sub(lambda end: f"-{mark}{end[0]}", name)


def _can_be(path: str) -> bool:
    try:
        return bool(_inside(path))
    except WrongContent:
        return False


def _inside(path: str) -> str:
    if any(part.startswith(".") for part in path.split("/")):
        raise WrongContent(f"{path[:200]!r} cannot be a path in the store: a part of it begins with a dot.")
    try:
        check_inside(path)
    except BadReference as error:
        raise WrongContent(str(error)) from None
    return path
