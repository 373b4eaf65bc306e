"""
A request that has done with its Model, which then leaves as soon as it is idle. It is answered at once, as Ollama does.

It is no more than a `keep_alive` of 0: who uses the Model, or waits for it, is served first; a pin, and the least that
its operator wants it to be kept for, go before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from corral.contracts.dialect import Served
from corral.domain.events import RequestFinished
from corral.domain.fleet import ModelSpec
from corral.gateway.heads import JSON, own_fields
from corral.gateway.routes.table import Route
from corral.gateway.translate import AskedUnload

if TYPE_CHECKING:
    from corral.gateway.connection import ClientConnection


def unload(connection: ClientConnection, route: Route, model: ModelSpec, asked: AskedUnload) -> None:
    """Nothing is loaded for it."""
    gateway, caller = connection.gateway, connection.caller
    gateway.leases.keep(model.name, 0.0)
    request_id = gateway.request_id(connection.head)
    body = asked.answer(Served(frozenset()))
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
