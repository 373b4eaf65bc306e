"""Reading the two fields that routing needs out of a request; the body itself goes on untouched."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs

import msgspec

from corral.contracts.requests import Wanted
from corral.domain.bodies import UNREADABLE, unreadable
from corral.domain.errors import BadRequest, UnknownModel
from corral.domain.fleet import ModelSpec
from corral.gateway.directory import ModelDirectory
from corral.gateway.routes.table import FROM_BODY, FROM_QUERY, Route
from corral.kit.http_heads import RequestHead
from corral.kit.multipart import form_field


class _Wanted(msgspec.Struct):
    """What is looked at in a JSON body."""

    model: str | None = None
    stream: bool | None = None


plain_read = msgspec.json.Decoder(_Wanted).decode


def wanted(
    route: Route,
    head: RequestHead,
    body: bytes,
    directory: ModelDirectory,
    read: Callable[[bytes], Wanted] = plain_read,
) -> tuple[ModelSpec, bool, bool]:
    """
    Which Model, whether the answer shall be a stream, and whether `read` has stumbled: see contracts.requests.

    Raises BadRequest for what cannot be read, UnknownModel for a name that is not known.
    """
    stream = odd = False
    if route.model_from is FROM_BODY:
        try:
            try:
                fields = read(body)
            except msgspec.ValidationError:
                fields, odd = plain_read(body), True
        except UNREADABLE as error:
            raise unreadable(error) from None
        name, stream = fields.model, bool(fields.stream)
    elif route.model_from is FROM_QUERY:
        name = _from_query(head.query)
    else:
        name = _from_form(head, body)
        stream = False
    return named(name, route, directory), stream, odd


def named(name: str | None, route: Route, directory: ModelDirectory) -> ModelSpec:
    """
    The Model that is meant, or stands in. Raises UnknownModel, and BadRequest where none is named and none is default.
    """
    if name is None or name == "":
        found = directory.unnamed(route.task)
        if found is None:
            raise BadRequest(f"Which Model? It is named by {route.model_from.value}.", hint=UnknownModel.listed)
        return found
    found = directory.find(name)
    return found if found is not None else directory.standing_in(name, route.task)


def _from_query(query: bytes) -> str | None:
    try:
        values = parse_qs(query.decode("ascii"), max_num_fields=50).get("model", [])
    except ValueError:
        raise BadRequest("The query has too many fields.") from None
    if len(values) > 1:
        raise BadRequest("The query names more than one Model.")
    return values[0] if values else None


def _from_form(head: RequestHead, body: bytes) -> str | None:
    try:
        return form_field(body, head.fields.get(b"content-type", b"").decode("latin-1"), "model")
    except ValueError as error:
        raise BadRequest(f"The request body is wrong: {error}.") from None
