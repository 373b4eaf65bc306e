"""
What an operator's rules make of a request (`domain.requests`): top-level fields of a JSON body, the name in a form.

The values of all other fields stay byte for byte as the client wrote them; a Model without rules is never here.
"""

from __future__ import annotations

from typing import Any

import msgspec

from corral.domain.errors import BadRequest
from corral.domain.requests import RequestRules
from corral.gateway.routes.table import FROM_BODY, FROM_FORM, Route
from corral.kit.http_heads import RequestHead
from corral.kit.multipart import with_field

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_NULL = b"null"


def filtered(rules: RequestRules, route: Route, head: RequestHead, body: bytes) -> bytes:
    """The body of an untranslated request as the engine gets it."""
    if route.model_from is FROM_BODY:
        return filtered_json(rules, body)
    if route.model_from is FROM_FORM and rules.model:
        content_type = head.fields.get(b"content-type", b"").decode("latin-1")
        return with_field(body, content_type, "model", rules.model)
    return body


def filtered_json(rules: RequestRules, body: bytes) -> bytes:
    """The same of a JSON object."""
    try:
        fields: dict[str, Any] = dict(_fields(body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"The request body is not valid JSON: {error}.") from None
    for name, value in rules.defaults.items():
        if name not in fields or bytes(fields[name]) == _NULL:
            fields[name] = value
    for name in rules.strip:
        fields.pop(name, None)
    fields.update(rules.set)
    if rules.model:
        fields["model"] = rules.model
    return msgspec.json.encode(fields)
