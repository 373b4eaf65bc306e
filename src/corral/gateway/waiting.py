"""
Signs of life: what the client of a stream hears while its Model loads, while it stands in line, and while an engine
that has its request says nothing yet.

Nothing is sent early without need: until the first sign an error has a status of its own. There are no timers here: the
sweeper of the gateway comes by when a sign may be due, and whoever is served at once has none of this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from corral.contracts.clock import Clock
from corral.contracts.dialect import Voice
from corral.contracts.leases import Leases, Ticket
from corral.dialects.anthropic.waiting import MessageVoice
from corral.dialects.ollama.waiting import LineVoice
from corral.dialects.openai.waiting import ChatVoice, Comments
from corral.domain.fleet import ModelSpec
from corral.domain.instance import InstanceState, InstanceView
from corral.domain.queue import WaitingView
from corral.gateway.routes.table import Route

NEVER: Final = float("inf")
WORDS_S: Final = 1.0
"""Where people read them, words come this early and at most this often."""

SOON_S: Final = 0.05
"""What is due and cannot be told now is looked at again after this."""

_PERCENT_STEP: Final = 5
_CHATS: Final = frozenset({"/v1/chat/completions", "/chat/completions"})
_TEXTS: Final = frozenset({"/v1/completions", "/completion", "/completions", "/infill", "/v1/responses", "/responses"})


def voice_of(route: Route, model: str, request_id: str, wall: Callable[[], float]) -> Voice | None:
    """How a stream of this route is spoken to; None for a route that has no streams."""
    label = route.label
    if label in _CHATS:
        return ChatVoice(model, f"chatcmpl-{request_id}", int(wall()))
    if label in _TEXTS:
        return Comments()
    if label == "/v1/messages":
        return MessageVoice(model, f"msg_{request_id}")
    if label in ("/api/chat", "/api/generate"):
        return LineVoice(model, wall, chat=label == "/api/chat")
    return None


def words(model: str, view: InstanceView | None, place: WaitingView | None) -> str:
    """
    What is told of a wait, in one line: the engine's own percentage, the place in line, the seconds expected; of files
    that are on their way how far they are.
    """
    if view is not None and view.fetching is not None:
        far = view.fetching.words()
        return f"{model} is being fetched: {far}." if far else f"{model} is being fetched."
    loading = view is not None and view.state is InstanceState.STARTING
    parts = []
    if loading and view is not None and view.progress is not None:
        parts.append(f"{view.progress * 100:.0f} %")
    if place is not None:
        if place.held_back:
            parts.append("held back: its key has as many requests as it may have")
        elif place.position > 1 or not loading:
            parts.append(f"position {place.position} in line")
        if place.expected_s is not None:
            parts.append(f"about {max(1, round(place.expected_s))} s more")
    head = f"{model} is being loaded" if loading else f"Waiting for {model}"
    return f"{head}: {', '.join(parts)}." if parts else f"{head}."


class Line:
    """Everyone's place, looked up once for all who are told of it at about the same time."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self._at = -NEVER
        self._places: dict[int, WaitingView] = {}

    def place(self, ticket: Ticket, now: float) -> WaitingView | None:
        """Its place as it was less than a second ago; None for who came later."""
        if now - self._at >= WORDS_S:
            self._at = now
            self._places = {view.request: view for view in self._leases.waiters()}
        return self._places.get(ticket.request)


def first_look_s(model: ModelSpec) -> float:
    """How soon a sign for a stream of this Model may be due."""
    return min(WORDS_S, model.timeouts.heartbeat_s)


class Around(Protocol):
    """What signs need of the gateway."""

    @property
    def leases(self) -> Leases:
        """Whose views it shows."""
        ...

    @property
    def line(self) -> Line:
        """Who stands where."""
        ...

    @property
    def clock(self) -> Clock:
        """For what is dated."""
        ...


class Signs:
    """
    The signs of life of one request, made when the first may be due. `name` is what the answer will call its Model,
    `begun` when the request arrived.
    """

    def __init__(
        self, around: Around, route: Route, model: ModelSpec, name: str, request_id: bytes, begun: float
    ) -> None:
        self.opened = False  # the head of the stream was sent for one
        self._around = around
        self._model = model
        self._voice = voice_of(route, name, request_id.decode("latin-1"), around.clock.wall)
        self._at = self._looked_at = begun  # when the client last heard something
        self._told: object = None  # what it was last told in words

    def in_line(self, ticket: Ticket | None, now: float) -> bytes:
        """What is due for a request that waits for a lease; nothing where nothing is."""
        if self._voice is None or now < self.next_in_line():
            return b""
        self.opened, self._looked_at = True, now
        if ticket is not None:
            view, place = ticket.view(), self._around.line.place(ticket, now)
        else:
            view, place = self._around.leases.view(self._model.name), None
        text = words(self._model.name, view, place)
        if self._model.loading_state == "comment":
            self._at = now
            return self._voice.alive(text)
        news = _news(view, place)
        if news == self._told and now - self._at < self._model.timeouts.heartbeat_s:
            return b""
        self._at, self._told = now, news
        return self._voice.thought(text + "\n") or self._voice.alive(text)

    def next_in_line(self) -> float:
        """When that may be."""
        heartbeat_s, manner = self._model.timeouts.heartbeat_s, self._model.loading_state
        if self._voice is None or manner == "off":
            return NEVER
        return self._looked_at + min(WORDS_S, heartbeat_s) if manner == "reasoning" else self._at + heartbeat_s

    def in_silence(self, since: float, now: float) -> bytes:
        """What is due when the engine has been silent since then."""
        if self._voice is None or now < self.next_in_silence(since):
            return b""
        self.opened, self._at = True, now
        return self._voice.alive("")

    def next_in_silence(self, since: float) -> float:
        """When that may be."""
        return NEVER if self._voice is None else max(self._at, since) + self._model.timeouts.heartbeat_s

    def over(self) -> bytes:
        """The answer begins."""
        return self._voice.over() if self._voice is not None else b""

    @property
    def mend(self) -> Callable[[bytes], bytes] | None:
        """Through what the answer has to pass, if it must."""
        return self._voice.mended if self._voice is not None and self._voice.mends else None


def load_part(view: InstanceView | None, now: float, waited_s: float) -> float:
    """Seconds of a wait that has just ended in which its Model was loaded."""
    if view is None or view.ready_at is None or view.load_s is None:
        return 0.0
    return max(0.0, min(now, view.ready_at) - max(now - waited_s, view.ready_at - view.load_s))


def _news(view: InstanceView | None, place: WaitingView | None) -> object:
    """What is worth another line."""
    fetching = view.fetching if view is not None else None
    share = fetching.share if fetching is not None else None if view is None else view.progress
    percent = None if share is None else int(share * 100) // _PERCENT_STEP
    state = None if view is None else "fetching" if fetching is not None else view.state
    return (state, percent, place.position if place is not None else None)
