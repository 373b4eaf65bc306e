"""
A Model on its way, shown while somebody waits for it: how far its files are, then that it is being loaded.

Who waits is blocked in a request of his own; beside him a thread asks the Corral how far it is, and draws. It takes no
more than the right to list Models. The fetch is shown by the same code as `corral models pull` shows it.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import quote

from corral.cli import connect, output
from corral.cli.models import progress
from corral.domain.errors import CorralError
from corral.domain.fetching import Progress
from corral.domain.units import format_duration

FIRST_S: Final = 0.5  # what is there sooner is not worth a look
AGAIN_S: Final = 0.25
T = TypeVar("T")
Card = Mapping[str, Any]


class Watch:
    """
    The thread. `over` ends it and takes away what it drew; a second call does nothing. `loads`: the load is shown too.
    """

    def __init__(self, corral: connect.Corral, model: str, *, loads: bool) -> None:
        self._corral, self._model, self._loads = corral, model, loads
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"watch {model}", daemon=True)
        self.phase = ""  # fetch, load or "": the last that was seen
        self._thread.start()

    def over(self) -> None:
        """Return when nothing more is drawn."""
        self._over.set()
        self._thread.join()

    def goes_on(self) -> str:
        """What becomes of it when nobody waits any more; "" where nothing was under way."""
        if not self.phase:
            return ""
        if self._corral.ends_with_us:
            return "What has come so far is kept: the same command goes on with it." if self.phase == "fetch" else ""
        return f"The {self.phase} of {self._model} goes on; `corral unload {self._model}` ends it."

    def _run(self) -> None:
        tell: Callable[[Card], None] | None = None
        wait_s = FIRST_S
        with contextlib.ExitStack() as screen:
            while not self._over.wait(wait_s):
                wait_s = AGAIN_S
                card = self._look()
                phase = "fetch" if card.get("fetching") else "load" if card.get("state") == "starting" else ""
                if phase != self.phase or tell is None:
                    screen.close()
                    self.phase = phase
                    draw = _PHASES[phase] if self._loads or phase != "load" else _nothing
                    tell = screen.enter_context(draw(self._model))
                tell(card)

    def _look(self) -> Card:
        """Who waits is told what is wrong; this only looks."""
        try:
            card = self._corral.ask("GET", f"/v1/models/{quote(self._model, safe='')}", timeout_s=connect.CONNECT_S)
        except CorralError:
            return {}
        return card if isinstance(card, dict) else {}


@contextlib.contextmanager
def watching(corral: connect.Corral, model: str, *, loads: bool = True) -> Iterator[Watch]:
    """Watch it inside the block. Ctrl-C says what becomes of what is under way."""
    watch = Watch(corral, model, loads=loads)
    try:
        yield watch
    except KeyboardInterrupt:
        watch.over()
        if words := watch.goes_on():
            output.note(f"corral: {words}")
        raise
    finally:
        watch.over()


def until_it_answers(corral: connect.Corral, model: str, pieces: Iterable[T]) -> Generator[T, None, None]:
    """
    The pieces of an answer; until the first one comes, the Model is watched. In a pipe a load is nothing to speak of:
    beside an answer that is wanted alone there is a fetch at most.
    """
    with watching(corral, model, loads=output.styled(sys.stderr)) as watch:
        for piece in pieces:
            watch.over()
            yield piece


@contextlib.contextmanager
def _fetch(model: str) -> Iterator[Callable[[Card], None]]:
    with progress.shown(model) as told:
        yield lambda card: told(Progress.of_row(card["fetching"]))


@contextlib.contextmanager
def _load(model: str) -> Iterator[Callable[[Card], None]]:
    """A turning wheel with the percentage, where the engine says one; elsewhere a line as often as of a fetch."""
    began = last = time.monotonic()
    if output.styled(sys.stderr):
        from rich.console import Console

        with Console(stderr=True).status(_loading(model, {}, began)) as status:
            yield lambda card: status.update(_loading(model, card, began))
        return

    def line(card: Card) -> None:
        nonlocal last
        if time.monotonic() - last >= progress.EVERY_S:
            last = time.monotonic()
            output.note(f"[{model}] {_loading('', card, began)}")

    yield line


@contextlib.contextmanager
def _nothing(model: str) -> Iterator[Callable[[Card], None]]:
    """It waits for others, or there is nothing to wait for."""
    yield lambda card: None


_PHASES: Final = {"fetch": _fetch, "load": _load, "": _nothing}


def _loading(model: str, card: Card, began: float) -> str:
    """`Loading coder: 40 %, 12s`."""
    share = card.get("progress")
    percent = f"{share * 100:.0f} %, " if isinstance(share, int | float) else ""
    return f"{f'Loading {model}'.strip()}: {percent}{format_duration(max(1, round(time.monotonic() - began)))}"
