"""Where a model's files go below the store's folder."""

from __future__ import annotations

import hashlib
import re
from typing import Final
from urllib.parse import unquote, urlsplit

from corral.domain.errors import WrongContent
from corral.domain.references import BadReference, HubReference, OllamaReference, check_inside

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

    What is asked for behind a `?` may be another file, so a mark of it is part of the name. What came by http may be
    anything, so it has a folder of its own: `web/HOST@http/PATH`.
    """
    host, *rest = _web_parts(url, name)
    return _inside("/".join(["web", f"{host}@http" if urlsplit(url).scheme.lower() == "http" else host, *rest]))


def old_web_place(url: str, name: str = "") -> str:
    """Where it was once: http and https had one folder."""
    return _inside("/".join(["web", *_web_parts(url, name)]))


def _web_parts(url: str, name: str) -> list[str]:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2].lower().replace(":", "_").strip("[]").replace("]", "")
    *folders, last = [_UNUSUAL.sub("_", unquote(each)) for each in parts.path.split("/") if each]
    return [host, *folders, name or _marked(last if last.lower().endswith(".gguf") else f"{last}.gguf", parts.query)]


def _marked(name: str, query: str) -> str:
    """Eight digits of its hash, before the number of a part."""
    if query in _NOTHING_SAID:
        return name
    mark = hashlib.sha256(query.encode()).hexdigest()[:8]
    return _END.sub(lambda end: f"-{mark}{end[0]}", name)


def _inside(path: str) -> str:
    if any(part.startswith(".") for part in path.split("/")):
        raise WrongContent(f"{path[:200]!r} cannot be a path in the store: a part of it begins with a dot.")
    try:
        check_inside(path)
    except BadReference as error:
        raise WrongContent(str(error)) from None
    return path
