"""
The gateway: listeners, the way of a request to whoever answers it, and one clock for all connections.

Our own protocol takes every connection, so that limits, framing and order live in one place; inference goes to the
relay, everything else to an ASGI app. There are no timers per request: one sweeper looks at all deadlines.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Final

from corral.contracts.changes import Changes
from corral.contracts.clock import Clock
from corral.contracts.control import Control
from corral.contracts.details import Details
from corral.contracts.events import Publisher
from corral.contracts.fitting import Fits
from corral.contracts.keys import Keys
from corral.contracts.leases import Leases
from corral.contracts.pulling import Pulls
from corral.contracts.requests import OwnFields, Wanted
from corral.dialects.openai.mends import for_llama
from corral.domain.errors import (
    Conflict,
    CorralError,
    Forbidden,
    PlaceFailed,
    ShuttingDown,
    Unauthorized,
    UnknownRoute,
    WrongMethod,
)
from corral.domain.events import Notice, RequestFinished, StateChanged
from corral.domain.fleet import ModelSpec
from corral.domain.instance import InstanceState
from corral.domain.serving import Caller, Scope, ServerSpec
from corral.gateway import cors
from corral.gateway.app import CorralRoutes, no_metrics
from corral.gateway.auth import OWNER, Door, bind_problem
from corral.gateway.body import BodyBudget, check_plain
from corral.gateway.connection import ClientConnection
from corral.gateway.directory import ModelDirectory
from corral.gateway.filters import filtered
from corral.gateway.heads import SENT_TO_ENGINES
from corral.gateway.lifetime import Lifetime
from corral.gateway.links import LinkPool
from corral.gateway.listeners import Listeners
from corral.gateway.ollama_app import BLOBS, no_blobs
from corral.gateway.relay import Exchange
from corral.gateway.routes.openai import plain_read, wanted
from corral.gateway.routes.reading import read
from corral.gateway.routes.table import FROM_BODY, HOT, UPSTREAM, UPSTREAM_LABEL, Route
from corral.gateway.routes.upstream import is_page, page_target, raw_target
from corral.gateway.translate import AskedUnload
from corral.gateway.translated import TranslatedExchange
from corral.gateway.tunnel import Tunnel, check_upgrade
from corral.gateway.unloading import unload
from corral.gateway.waiting import Line
from corral.gateway.wishing import Wishes, Wishing, no_wishes
from corral.kit import websockets
from corral.kit.asgi_bridge import AsgiApp, AsgiCall, http_scope
from corral.kit.http_heads import RequestHead
from corral.kit.tasks import Tasks

logger = logging.getLogger(__name__)

TICK_S: Final = 0.05
APP_BODY_LIMIT: Final = 1024 * 1024
_ABORT_S: Final = 1.0
_REQUEST_ID: Final = re.compile(rb"\A[A-Za-z0-9._:+/=-]{1,128}\Z")


class Gateway:
    """
    One gateway over any number of listeners.

    What is not a Model's route is answered by `asgi_app`, by default Corral's own over `control`. `request_headers`
    are the names (lower case) of the request headers that engines get to see; `own_fields` are those of an engine that
    does not check them itself.
    """

    def __init__(
        self,
        spec: ServerSpec,
        leases: Leases,
        directory: ModelDirectory,
        keys: Keys,
        publisher: Publisher,
        clock: Clock,
        *,
        control: Control | None = None,
        metrics: Callable[[], Awaitable[bytes]] = no_metrics,
        details: Details | None = None,
        changes: Changes | None = None,
        fits: Fits | None = None,
        pulls: Pulls | None = None,
        asgi_app: AsgiApp | None = None,
        request_headers: frozenset[bytes] = SENT_TO_ENGINES,
        own_fields: OwnFields | None = None,
        wished: Wishes = no_wishes,
    ) -> None:
        self.spec = spec
        self.leases = leases
        self.directory = directory
        self.line = Line(leases)
        self.publisher = publisher
        self.clock = clock
        self.request_headers = request_headers
        self._own_fields = own_fields
        self.wishing = Wishing(wished)
        self._read: Callable[[bytes], Wanted] = plain_read if own_fields is None else own_fields.read
        self.bodies = BodyBudget(spec.body_total_bytes)
        self.tasks = Tasks("gateway")
        self.links = LinkPool(self.tasks, clock.now())
        self.now = self.links.now  # as of the last tick: good enough for deadlines
        self.date_line = b""
        self.draining = False
        self.paused: set[Lifetime] = set()
        self.tunnels: set[Tunnel] = set()
        self.listeners = Listeners(spec.host, spec.port, spec.ollama_port)
        self._app = asgi_app
        self._control = control
        if asgi_app is None and control is not None:
            self._app = CorralRoutes(
                leases,
                directory,
                clock,
                control,
                metrics,
                self.tasks,
                lambda: self.draining,
                details=details,
                changes=changes,
                fits=fits,
                pulls=pulls,
            ).app()
        self._door = Door(spec, keys)
        self._connections: set[ClientConnection] = set()
        self._ticker: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._ids = 0
        self._id_prefix = f"req-{secrets.token_hex(6)}-".encode()
        self._dated_at = 0.0

    # --- listeners ---

    @property
    def host(self) -> str:
        """Where it listens."""
        return self.listeners.host

    @property
    def port(self) -> int:
        """The port there, once it is bound."""
        return self.listeners.port

    @property
    def ollama_port(self) -> int | None:
        """The second one, once it is bound."""
        return self.listeners.ollama_port

    async def bind(self) -> tuple[str, int]:
        """Listen on the spec's host and ports (0: any free one); the address that it became. Raises PlaceFailed."""
        problem = bind_problem(self.spec)
        if problem is not None:
            raise PlaceFailed(problem)
        await self.listeners.bind()
        return self.host, self.port

    async def start(self) -> tuple[str, int]:
        """Serve who has connected since `bind` (called here if it was not), and who comes."""
        if not self.listeners.bound:
            await self.bind()
        await self.listeners.serve(lambda ollama: ClientConnection(self, local=False, ollama=ollama))
        return self.host, self.port

    async def serve_unix(self, path: str) -> None:
        """Listen on a control socket that only this user can open: whoever does is the owner. Raises PlaceFailed."""
        await self.listeners.serve_unix(path, lambda: ClientConnection(self, local=True))

    def drain(self) -> None:
        """
        Begin no new answers and let running ones end; `close` waits for them.

        The listeners stay until then: who asks is told 503 `shutting_down`, and the owner can still look.
        """
        self.draining = True
        for connection in list(self._connections):
            connection.retire()
        for tunnel in self.tunnels:
            tunnel.hurry()

    async def close(self, drain_s: float = 0.0) -> None:
        """Give running answers `drain_s` seconds, then end everything."""
        self.drain()
        self.listeners.close()
        if not await self._emptied(drain_s):
            logger.info("%d client connections are cut off", len(self._connections))
        for connection in list(self._connections):
            connection.abort()
        self.links.close()
        await self.tasks.aclose()
        await self._emptied(_ABORT_S)
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        self.listeners.remove()

    async def _emptied(self, timeout_s: float) -> bool:
        if self._connections:
            self._empty.clear()
            try:
                await asyncio.wait_for(self._empty.wait(), timeout_s)
            except TimeoutError:
                return False
        return True

    # --- connections ---

    @property
    def connections(self) -> int:
        """Open client connections."""
        return len(self._connections)

    def opened(self, connection: ClientConnection) -> bool:
        """A client has connected; False when it is one too many."""
        self._connections.add(connection)
        if self._ticker is None:
            self._tick()
        return len(self._connections) <= self.spec.max_connections

    def closed(self, connection: ClientConnection) -> None:
        """A client's connection is gone."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    def _tick(self) -> None:
        self.sweep()
        if self._connections or len(self.links):
            self._ticker = asyncio.get_running_loop().call_later(TICK_S, self._tick)
        else:
            self._ticker = None

    def sweep(self) -> None:
        """Look at every deadline."""
        now = self.now = self.links.now = self.clock.now()
        if now - self._dated_at >= 1 or not self.date_line:
            self._dated_at = now
            self.date_line = f"date: {formatdate(self.clock.wall(), usegmt=True)}\r\n".encode()
            self.links.sweep()
        for connection in [each for each in self._connections if each.deadline <= now]:
            connection.overdue(now)
        for held in list(self.paused):
            held.check_departure()

    # --- requests ---

    def admit(self, connection: ClientConnection, head: RequestHead) -> int:
        """Whether the request may go on, before its body is read; how long that may be. Raises CorralError."""
        connection.caller = None
        connection.extra = b""
        route = connection.route = HOT.get(head.path)
        page = self.spec.engine_root and is_page(head)
        raw = page or (route is None and head.path.startswith(UPSTREAM))
        if raw:
            route = connection.route = _RAW
        if connection.local:
            connection.credential = OWNER
        else:
            fields = head.fields
            if b"origin" in fields:
                self._allow_origin(connection, fields)
            connection.credential = self._door.credential(head, connection.peer)
        caller = connection.caller = self._door.caller(connection.credential)
        if b"upgrade" in head.fields and head.fields[b"upgrade"].lower() != b"h2c":
            # h2c is only an offer (Java's client makes it with every first request) and may be passed over.
            check_upgrade(raw, head)
        if route is None and caller is not None and head.method == b"POST" and head.path.startswith(BLOBS):
            raise no_blobs()  # before gigabytes of them come
        if route is None or head.method == b"OPTIONS":
            return APP_BODY_LIMIT
        if self.draining:
            raise ShuttingDown()
        if not raw and head.method != route.method and not (head.method == b"HEAD" and route.method == b"GET"):
            raise WrongMethod(allow=route.method.decode())
        _check_caller(caller, for_page=page)
        if b"content-encoding" in head.fields:
            check_plain(head.fields[b"content-encoding"])
        return self.spec.body_limit_bytes

    def admit_again(self, connection: ClientConnection) -> None:
        """
        The same for a head that is the same, byte for byte, as the last one on this connection, which was admitted to
        a Model's route: only what can have changed since is asked again. Raises CorralError.
        """
        if self.draining:
            raise ShuttingDown()
        caller = self._door.caller(connection.credential)
        if caller is not connection.caller:
            _check_caller(caller)
            connection.caller = caller  # not before: the next request with this head is to be refused as well

    def _allow_origin(self, connection: ClientConnection, fields: dict[bytes, bytes]) -> None:
        origin = self._door.cors_origin(fields)
        if origin is not None:
            connection.extra = cors.answer_lines(origin)

    def serve(self, connection: ClientConnection, head: RequestHead, body: bytes) -> None:
        """Give a complete request to whoever answers it."""
        route = connection.route
        try:
            if route is None or route.reads or head.method == b"OPTIONS":
                self._serve_other(connection, route, head, body)
                return
            model, stream, odd = wanted(route, head, body, self.directory, self._read)
            if not route.loads:
                self._must_run(model)
            if model.request is not None:
                body, odd = filtered(model.request, route, head, body), route.model_from is FROM_BODY
            path = head.target if route.method == b"GET" else head.path
            exchange = Exchange(connection, route, model, path, body, stream=stream)
            if odd:
                self.check(model, body)
                if route.chat:
                    exchange.for_llama = for_llama(body)
            connection.serve_with(exchange, exchange)
            exchange.ask()
        except CorralError as error:
            self.refuse(connection, error)

    def _serve_other(self, connection: ClientConnection, route: Route | None, head: RequestHead, body: bytes) -> None:
        if head.method == b"OPTIONS" and (route is not None or b"access-control-request-method" in head.fields):
            self._options(connection, head)
        elif route is _RAW:
            self._serve_raw(connection, head, body)
        elif route is not None:
            self._serve_read(connection, route, head, body)
        else:
            self._serve_app(connection, head, body)

    def _serve_read(self, connection: ClientConnection, route: Route, head: RequestHead, body: bytes) -> None:
        model, asked = read(route, head, body, self.directory, request_id=self.request_id(head), wall=self.clock.wall)
        if isinstance(asked, AskedUnload):
            return unload(connection, route, model, asked)
        exchange = TranslatedExchange(connection, route, model, asked)
        connection.serve_with(exchange, exchange)
        exchange.ask()
        return None

    def _serve_raw(self, connection: ClientConnection, head: RequestHead, body: bytes) -> None:
        found = raw_target if head.path.startswith(UPSTREAM) else page_target
        model, path, route = found(head.method, head.path, self.directory)
        query = b"?" + head.query if head.query else b""
        if not path:
            location = b"location: %b/%b\r\nx-corral-source: corral\r\n" % (head.path, query)
            connection.transport.write(connection.head_bytes(308, location, 0))
            connection.finish()
            return
        if body.lstrip(_BEFORE_JSON)[:1] == b"{":
            self.check(model, body)
        if not route.loads:
            self._must_run(model)
        exchange: Exchange | Tunnel
        if websockets.is_offer(head):
            exchange = Tunnel(connection, route, model, path + query)
        else:
            exchange = Exchange(connection, route, model, path + query, body, stream=False)
        connection.serve_with(exchange, exchange)
        exchange.ask()

    def check(self, model: ModelSpec, body: bytes) -> None:
        """See that a JSON body has nothing that the Model's engine cannot bear. Raises BadRequest."""
        own = self._own_fields
        if own is not None and own.concerns(model):
            own.check(body, model.slots)

    def _must_run(self, model: ModelSpec) -> None:
        view = self.leases.view(model.name)
        if view is None or view.state not in (InstanceState.READY, InstanceState.DRAINING):
            raise Conflict(f"The Model {model.name!r} is not running.", hint="A request for an answer starts it.")

    def _serve_app(self, connection: ClientConnection, head: RequestHead, body: bytes) -> None:
        if self._app is None or head.target == b"*":
            raise UnknownRoute("There is nothing here.")
        request_id = self.request_id(head)
        connection.extra += b"x-request-id: %b\r\n%b" % (request_id, connection.dialect().id_line(request_id))
        client = (connection.peer, 0) if connection.peer else None
        scope = http_scope(head, client, (self.spec.host, self.spec.port)) | {
            "state": {
                "caller": connection.caller,
                "request_id": request_id.decode("latin-1"),
                "ollama": connection.ollama,
            }
        }
        call = AsgiCall(self._app, scope, body, connection)
        connection.serve_with(call)
        call.begin(self.tasks, f"{head.method.decode()} {head.path.decode()[:100]}")

    def _options(self, connection: ClientConnection, head: RequestHead) -> None:
        """A preflight, or the plain question; Origin was judged at the door."""
        route = connection.route
        methods = route.method if route is not None and route is not _RAW else b"GET, POST, DELETE"
        fields = b"allow: %b, OPTIONS\r\n" % methods
        if connection.extra:
            fields += cors.preflight_lines(head.fields.get(b"access-control-request-headers", b""))
        connection.transport.write(connection.head_bytes(204, fields, None))
        connection.finish()

    def request_id(self, head: RequestHead) -> bytes:
        """The client's own id where it is a decent one, else a new one."""
        given = head.fields.get(b"x-request-id")
        if given is not None and _REQUEST_ID.match(given):
            return given
        self._ids += 1
        return b"%b%d" % (self._id_prefix, self._ids)

    def refuse(self, connection: ClientConnection, error: CorralError) -> None:
        """Answer a request that does not reach the relay; on a Model's route that is on record too."""
        request_id = self.request_id(connection.head)
        if connection.route is not None:
            status = connection.dialect().error_status(error)
            self._record(connection, "refused", status, request_id.decode("latin-1"))
        connection.answer_error(error, request_id=request_id)

    def left(self, connection: Lifetime, *, timeout: bool = False) -> None:
        """A client has left, or fallen silent, before its request was complete."""
        if connection.route is not None:
            self._record(connection, "timeout" if timeout else "client_gone", 408 if timeout else 499, "")

    def _record(self, connection: Lifetime, outcome: str, status: int, request_id: str) -> None:
        route, caller = connection.route, connection.caller
        self.publisher.publish(
            RequestFinished(
                model="",
                route=route.label if route is not None else "",
                status=status,
                caller=caller.name if caller is not None else "",
                stream=False,
                outcome=outcome,
                duration_s=self.clock.now() - connection.arrived,
                queue_s=0.0,
                request_id=request_id,
            )
        )

    # --- notices ---

    def notice(self, notice: Notice) -> None:
        """Subscriber: an engine that is being stopped must not wait for connections of ours."""
        if isinstance(notice, StateChanged) and notice.new in _ENDING:
            self.links.stop(notice.instance)
            for tunnel in [each for each in self.tunnels if each.instance == notice.instance]:
                tunnel.stop()


def _check_caller(caller: Caller | None, *, for_page: bool = False) -> None:
    if caller is None:
        error = Unauthorized()
        error.for_page = for_page
        raise error
    if not caller.may(Scope.INFERENCE):
        raise Forbidden("This key may not use Models.")


_BEFORE_JSON: Final = b"\xef\xbb\xbf \t\r\n"  # what parsers pass over, a byte order mark among it
_RAW: Final = Route(UPSTREAM_LABEL, b"", reads="raw")
_ENDING: Final = frozenset({InstanceState.STOPPING, InstanceState.STOPPED, InstanceState.FAILED})
