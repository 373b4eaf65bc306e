"""
`/upstream/{model}/{path}`: the engine's own routes, raw.

The Model's name may hold slashes: the longest name that fits wins. What follows it goes out as it came,
percent-encoding and query kept. Routes that would change the engine for everybody, or make it act for the caller
elsewhere, are refused to all, administrators too: they have no place behind a gateway that shares the engine.

With `server.root: engine` the page of an engine and its files are at `/` as well: those of the Model that answers chats
which name none. What the page then calls are Corral's own routes.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import unquote

from corral.domain.errors import BadRequest, UnknownModel, UnknownRoute
from corral.domain.fleet import ModelSpec
from corral.domain.names import near_names
from corral.gateway.directory import ModelDirectory
from corral.gateway.routes.table import FROM_PATH, HOT, UPSTREAM, UPSTREAM_LABEL, Route
from corral.kit.http_heads import RequestHead

_SEGMENTS_LIMIT: Final = 12
_ASSETS: Final = (
    ".css", ".js", ".mjs", ".map", ".png", ".jpg", ".jpeg", ".gif", ".webp", ".ico", ".svg",
    ".woff", ".woff2", ".ttf", ".otf", ".webmanifest",
)  # fmt: skip
_ASSET_BYTES: Final = tuple(each.encode() for each in _ASSETS)
_OURS: Final = (b"/v1/", b"/api/", b"/admin/", UPSTREAM)
_NEVER: Final = frozenset({"/tools", "/cors-proxy", "/models/load", "/models/unload", "/models/sse"})
_NEVER_CHANGED: Final = frozenset({"/lora-adapters", "/props", "/models", "/v1/models"})


class RawTarget(NamedTuple):
    """What a raw request is about. `path` "" asks for a redirect to the same with a slash at the end."""

    model: ModelSpec
    path: bytes
    route: Route


def raw_target(method: bytes, path: bytes, directory: ModelDirectory) -> RawTarget:
    """Take `/upstream/...` apart. Raises UnknownModel, UnknownRoute, BadRequest."""
    segments = path[len(UPSTREAM) :].split(b"/")
    for count in range(min(len(segments), _SEGMENTS_LIMIT), 0, -1):
        name = unquote(b"/".join(segments[:count]).decode("ascii"))
        model = directory.find(name)
        if model is not None:
            rest = b"/".join(segments[count:])
            inner = b"/" + rest if len(segments) > count else b""
            return RawTarget(model, inner, _route(method, inner))
    first = unquote(segments[0].decode("ascii"))
    raise UnknownModel(first, near_names(first, [name for name, _ in directory.listed()]))


def is_page(head: RequestHead) -> bool:
    """The request is for an engine's web page or a file of it, and not for a route of Corral's."""
    path = head.path
    if head.method not in (b"GET", b"HEAD") or path.startswith(_OURS):
        return False
    return path in (b"/", b"/index.html") or path.startswith(b"/_app/") or path.lower().endswith(_ASSET_BYTES)


def page_target(method: bytes, path: bytes, directory: ModelDirectory) -> RawTarget:
    """The Model whose page it is. Raises UnknownRoute where there is none, BadRequest."""
    model = directory.unnamed("chat")
    if model is None:
        raise UnknownRoute(
            "There is no default Model whose page this could be.",
            hint="Set server.default_model, or server.root: corral.",
        )
    return RawTarget(model, path, _route(method, path))


def _route(method: bytes, path: bytes) -> Route:
    plain = unquote(path.decode("ascii"))
    parts = plain.replace("\\", "/").split("/")
    if ".." in parts or "." in parts or "\0" in plain:
        raise BadRequest("The path must not hold dot segments.")
    plain = "/" + "/".join(part for part in parts if part)
    reads = method in (b"GET", b"HEAD", b"OPTIONS")
    if plain in _NEVER or (not reads and (plain in _NEVER_CHANGED or plain.startswith("/slots/"))):
        raise UnknownRoute(f"{plain} of an engine is not reachable through Corral.")
    known = HOT.get(plain.encode())
    weight = known.weight if known is not None else 0 if reads else 1
    asset = reads and plain.lower().endswith(_ASSETS)
    return Route(UPSTREAM_LABEL, method, FROM_PATH, weight=weight, loads=not asset)
