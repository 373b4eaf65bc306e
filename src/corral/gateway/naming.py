"""
What an engine calls things that clients call otherwise: its Model's name in the body, its `/v1` in the path.

Only that field and that prefix change; every other byte of the body stays as the client wrote it. Raw requests
(`/upstream/...`) are left alone.
"""

from __future__ import annotations

import msgspec

from corral.domain.launch import Endpoint
from corral.gateway.routes.table import FROM_BODY, FROM_FORM, FROM_PATH, Route
from corral.kit.http_heads import RequestHead
from corral.kit.multipart import with_field


class _Named(msgspec.Struct):
    model: str | None = None


_name = msgspec.json.Decoder(_Named).decode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def addressed(endpoint: Endpoint, route: Route, head: RequestHead, path: bytes, body: bytes) -> tuple[bytes, bytes]:
    """The path and the body as this engine wants them."""
    if route.model_from is FROM_PATH:
        return path, body
    if endpoint.v1 != "/v1" and path.startswith(b"/v1/"):
        path = endpoint.v1.encode() + path[3:]
    if endpoint.model_name and route.model_from is FROM_BODY and _name(body).model != endpoint.model_name:
        body = msgspec.json.encode({**_fields(body), "model": endpoint.model_name})
    elif endpoint.model_name and route.model_from is FROM_FORM:
        content_type = head.fields.get(b"content-type", b"").decode("latin-1")
        body = with_field(body, content_type, "model", endpoint.model_name)
    return path, body
