"""
One hardened HTTP client for all that is fetched: blocking, for threads, on the standard library alone.

It follows redirects by its rules (every hop is checked as the first one was, and a token goes only to the host that it
is for), asks again when waiting may help, and says what went wrong as a sentence with what to do next.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec

from corral.domain.errors import FetchFailed, WrongContent
from corral.store.fetch.answer import Answer, interrupted, usable
from corral.store.fetch.asking import Ask, next_hop, span_of
from corral.store.fetch.denial import Denied, TooBusy, denial, may_pass
from corral.store.fetch.dial import Dial, Resolve, resolve
from corral.store.fetch.line import Line
from corral.store.fetch.patience import Patience, Stop, never
from corral.store.fetch.proxy import Proxy
from corral.store.fetch.rules import Target, WebRules, check_target, shown, target_of
from corral.store.fetch.wire import HEAD_S, Interrupted, Wire

logger = logging.getLogger(__name__)

MOST_HOPS: Final = 10
WHOLE_S: Final = 120.0  # for a small body, however slowly it drips
MOST_JSON: Final = 16 * 1024 * 1024
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_HOPELESS_TRIES: Final = 2
_HASTY_ASKED_S: Final = 2.0
_FRESH_S: Final = 30.0  # a token that is refused so soon is refused for good; an older one may have expired in a queue


def _seen(answer: Answer) -> None:
    """Nobody looks at it."""


class Web:
    """
    Safe to be used by several threads. Everything raises FetchFailed and FetchStopped.

    `stop` ends whatever waits, unless a call brings its own. `admit` gets rules with a fresh token: where one that was
    good is good no more (401), it is asked for another, once each time.
    """

    def __init__(
        self,
        rules: WebRules,
        *,
        patience: Patience | None = None,
        resolve: Resolve = resolve,
        stop: Stop = never,
        admit: Callable[[], WebRules] | None = None,
    ) -> None:
        self.rules = rules
        self._admit, self._was_let_in, self._admitting = admit, False, threading.Lock()
        self.stop = stop
        self.patience = patience or Patience()
        self._admitted_at = self.patience.now()
        self._resolve, self._dial = resolve, Dial(rules, self.patience, resolve)

    def hasty(self, stop: Stop) -> Web:
        """For questions whose answer is only good to have: asked again once, and soon."""
        rules = replace(self.rules, retries=min(self.rules.retries, 1), longest_asked_s=_HASTY_ASKED_S)
        return Web(rules, patience=self.patience, resolve=self._resolve, stop=stop)

    def open(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        start: int | None = None,
        end: int | None = None,
        method: str = "GET",
        stop: Stop | None = None,
        line: Line | None = None,
        patient: bool = False,
    ) -> Answer:
        """
        An answer of 200 or 206, ready to be read, which the caller closes.

        From byte `start` up to, not including, `end`; a server may ignore that and answer 200 with all of it. It is
        asked again after failures up to the head of the answer. A `line` keeps connections for the next request.
        `patient`: the host was there a moment ago, so that it has no address or nobody listens may pass.
        Raises also Denied (401, 403, 404, 410), TooBusy (429, 5xx) and Unranged (416).
        """
        stop = stop or self.stop
        first = target_of(url)
        ask = Ask(method, headers or {}, span_of(start, end), first.origin, first.user)
        attempt = 0
        while True:
            attempt += 1
            rules = self.rules
            try:
                answer = self._follow(first, ask, stop, line)
                self._was_let_in |= rules is self.rules and first.authority in rules.tokens
                return answer
            except Denied as denied:
                if denied.answered != 401 or not self._admitted_again(rules):
                    raise
            except (Interrupted, TooBusy) as error:
                most = self.rules.retries
                if isinstance(error, Interrupted) and error.hopeless and not patient:
                    most = min(most, _HOPELESS_TRIES)
                if attempt > most or (error.retry_after_s or 0) > self.rules.longest_asked_s:
                    raise
                pause_s = max(self.patience.pause_s(attempt), error.retry_after_s or 0)
                logger.info("%s Again in %.1f s.", error.message, pause_s)
                self.patience.nap(pause_s, stop)

    def read(
        self,
        url: str,
        *,
        start: int | None = None,
        end: int | None = None,
        limit: int = MOST_JSON,
        headers: Mapping[str, str] | None = None,
        stop: Stop | None = None,
        line: Line | None = None,
        seen: Callable[[Answer], None] = _seen,
    ) -> bytes:
        """
        A whole small body, or these bytes of a file (fewer where it ends). Raises WrongContent beyond `limit`.

        Where a server ignores ranges, what comes before `start` is read and dropped, up to `limit` bytes of it.
        `seen` is shown every answer before its body is read, and may raise.
        """
        stop = stop or self.stop
        attempt = 0
        while True:
            attempt += 1
            answer = self.open(url, headers=headers, start=start, end=end, stop=stop, line=line)
            try:
                with answer:
                    seen(answer)
                    answer.watch(stop, self.patience.now() + WHOLE_S)
                    return _body(answer, start or 0, end, limit)
            except Interrupted:
                if attempt > self.rules.retries:
                    raise
                self.patience.nap(self.patience.pause_s(attempt), stop)

    def json(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        limit: int = MOST_JSON,
        stop: Stop | None = None,
    ) -> Any:
        """What a JSON document says. Raises WrongContent for anything else."""
        body = self.read(url, headers={"Accept": "application/json", **(headers or {})}, limit=limit, stop=stop)
        try:
            return msgspec.json.decode(body)
        except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
            page = " but with a page for people" if body.lstrip()[:1] == b"<" else ""
            raise WrongContent(
                f"{shown(url)} did not answer with JSON{page}.",
                hint="Check the address, and whether this network asks for a login first.",
            ) from None

    @contextlib.contextmanager
    def line(self) -> Iterator[Line]:
        """For several requests of one thread to one origin."""
        line = Line()
        try:
            yield line
        finally:
            line.close()

    def _follow(self, target: Target, ask: Ask, stop: Stop, line: Line | None) -> Answer:
        for _ in range(MOST_HOPS + 1):
            check_target(self.rules, target)
            token = self._token(target)
            answer = self._ask(target, ask, ask.head(target, token), stop, line)
            if answer.status in (200, 206):
                return usable(answer)
            with answer:
                if answer.status not in _REDIRECTS:
                    raise self._refusal(answer, bool(token))
                target = next_hop(answer)
        raise FetchFailed(
            f"{target.shown}: redirected more than {MOST_HOPS} times.", hint="Check the address in a browser."
        )

    def _admitted_again(self, rules: WebRules) -> bool:
        """Whether there is another token by now than that of `rules`, which was refused. Raises FetchFailed."""
        if self._admit is None:
            return False
        with self._admitting:
            if self.rules is rules:  # no other thread has been there
                if not self._was_let_in and self.patience.now() - self._admitted_at < _FRESH_S:
                    return False
                self.rules, self._was_let_in = self._admit(), False
                self._admitted_at = self.patience.now()
            return True

    def _token(self, target: Target) -> str:
        """A token never goes over http, unless the operator named that origin."""
        if target.scheme == "https" or target.origin in self.rules.trusted:
            return self.rules.tokens.get(target.authority, "")
        return ""

    def _ask(self, target: Target, ask: Ask, head: Mapping[str, str], stop: Stop, line: Line | None) -> Answer:
        kept = line.take(target.origin) if line else None
        if kept is not None:
            try:
                return self._exchange(target, ask, head, stop, line, *kept)
            except Interrupted:  # it was closed while it was kept: that says nothing of the server
                pass
        connection, proxy = self._dial.connect(target, stop)
        return self._exchange(target, ask, head, stop, line, connection, proxy)

    def _exchange(
        self,
        target: Target,
        ask: Ask,
        head: Mapping[str, str],
        stop: Stop,
        line: Line | None,
        connection: http.client.HTTPConnection,
        proxy: Proxy | None,
    ) -> Answer:
        wire = connection.sock
        assert isinstance(wire, Wire)
        wire.stop, wire.deadline = stop, self.patience.now() + HEAD_S
        try:
            path = target.url if proxy else target.path
            connection.putrequest(ask.method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in head.items():
                connection.putheader(name, value)
            if proxy and proxy.head:
                connection.putheader("Proxy-Authorization", proxy.head)
            connection.endheaders()
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise interrupted(target, error) from error
        except BaseException:
            connection.close()
            raise
        wire.deadline = None
        answer = Answer(target, connection, response, wire, proxy=proxy, head=ask.method == "HEAD")
        if line is not None:
            answer.then = lambda: line.keep(target.origin, connection, proxy)
        return answer

    def _refusal(self, answer: Answer, with_token: bool) -> FetchFailed:
        if answer.status < 400:
            return FetchFailed(f"{answer.target.shown}: the server says {answer.status}, which fits no question.")
        if answer.proxy and answer.status == 407:
            return answer.proxy.closed(answer.target, f"407 {http.client.responses[407]}")
        error = denial(answer.target, answer.status, answer.headers, with_token=with_token)
        if may_pass(answer.status):
            asked_s = self.patience.asked_s(answer.headers.get("retry-after", ""))
            error.retry_after_s = asked_s
            if asked_s is not None and asked_s > self.rules.longest_asked_s:
                error.hint = f"It asks to come back in {asked_s:.0f} s; what has come so far is kept."
        return error


def _body(answer: Answer, start: int, end: int | None, limit: int) -> bytes:
    drop = start - answer.first_byte
    if drop < 0 or drop > limit:
        raise FetchFailed(f"{answer.target.shown}: the server does not give parts of files.")
    piece = memoryview(bytearray(64 * 1024))
    while drop:
        count = answer.readinto(piece[:drop])
        if not count:
            return b""
        drop -= count
    if end is None:
        return answer.read(limit)
    body = bytearray()
    want = end - start
    if want > limit:
        raise WrongContent(f"{answer.target.shown}: {want:,} bytes are more than the {limit:,} allowed.")
    while want and (count := answer.readinto(piece[:want])):
        body += piece[:count]
        want -= count
    return bytes(body)
