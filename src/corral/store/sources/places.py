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


def hub_place(reference: HubReference, file: str) -> str:
    """`hf/ORG/REPO/FILE`; a revision other than main has a folder of its own."""
    revision = "" if reference.revision == "main" else f"@{reference.revision.replace('/', '--')}"
    return _inside(f"hf/{reference.repo}{revision}/{file}")


def ollama_place(reference: OllamaReference, file: str) -> str:
    """`ollama/HOST/NAMESPACE/NAME/TAG/FILE`."""
    host = reference.host.lower().replace(":", "_")
    return _inside(f"ollama/{host}/{reference.namespace}/{reference.name}/{reference.tag}/{file}")


def web_place(url: str, name: str = "") -> str:
    """
    `web/HOST/PATH`, with another `name` of the file where one is given. It is a GGUF file, and named so.

    What is asked for behind a `?` may be another file, so a mark of it is part of the name.
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2].lower().replace(":", "_").strip("[]").replace("]", "")
    *folders, last = [_UNUSUAL.sub("_", unquote(each)) for each in parts.path.split("/") if each]
    name = name or _marked(last if last.lower().endswith(".gguf") else f"{last}.gguf", parts.query)
    return _inside("/".join(["web", host, *folders, name]))


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
