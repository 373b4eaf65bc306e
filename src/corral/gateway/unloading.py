"""A request that sends its Model away. It is answered at once, as Ollama does: running answers end first."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from corral.contracts.control import Control
from corral.contracts.dialect import Served
from corral.domain.errors import Conflict, CorralError
from corral.domain.events import RequestFinished
from corral.domain.fleet import ModelSpec
from corral.gateway.heads import JSON, own_fields
from corral.gateway.routes.table import Route
from corral.gateway.translate import AskedUnload

if TYPE_CHECKING:
    from corral.gateway.connection import ClientConnection

_PATIENCE_S: Final = 600.0  # how long it is looked at; the Model leaves when it can, however long that takes


def unload(
    control: Control | None, connection: ClientConnection, route: Route, model: ModelSpec, asked: AskedUnload
) -> None:
    """Raises Conflict for a Model that is not the clients' to send away."""
    gateway, caller = connection.gateway, connection.caller
    if model.pin:
        raise Conflict(f"{model.name!r} is pinned: it stays loaded.")
    request_id = gateway.request_id(connection.head)
    body = asked.answer(Served(frozenset()))
    if control is not None and not model.keep_min_s:  # else its operator wants it to stay
        gateway.tasks.start(_leave(control, model.name), name=f"unload {model.name}")
    fields = own_fields(JSON, request_id, source=b"corral")
    connection.transport.write(connection.head_bytes(200, fields, len(body)) + connection.framed(body, last=True))
    gateway.publisher.publish(
        RequestFinished(
            model=model.name,
            route=route.label,
            status=200,
            caller=caller.name if caller is not None else "",
            stream=False,
            outcome="ok",
            duration_s=gateway.clock.now() - connection.arrived,
            queue_s=0.0,
            request_id=request_id.decode("latin-1"),
            bytes_out=len(body),
        )
    )
    connection.finish()


async def _leave(control: Control, model: str) -> None:
    with contextlib.suppress(CorralError):  # nobody waits here: the state and the log tell it
        await control.unload(model, force=False, timeout_s=_PATIENCE_S)
