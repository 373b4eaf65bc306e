"""One connection to an engine: answers come out whole and exact, however the bytes are cut and whatever was before."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.domain.errors import CorralError
from corral.domain.launch import Endpoint
from corral.gateway.links import Link, LinkPool, LinkUser, Site
from corral.kit.tasks import Tasks
from tests.bench.hotpath import Wire

HOST = Endpoint(host="127.0.0.1", port=1)


class User:
    """Takes one answer."""

    def __init__(self) -> None:
        self.status = 0
        self.length: int | None = None
        self.lines = b""
        self.body = b""
        self.complete = False
        self.failed = False

    def linked(self, link: Link) -> None:
        raise AssertionError

    def unreachable(self, reason: str) -> None:
        raise AssertionError

    def answered(self, link: Link, data: bytes, complete: bool) -> None:
        assert not self.complete and link.head is not None
        if not self.status:
            self.status, self.length, self.lines = link.head.status, link.length, link.head.lines
        self.body += data
        self.complete = complete

    def link_failed(self, link: Link, error: CorralError | None) -> None:
        self.failed = True


class Still(Site):
    """A site that opens nothing by itself."""

    def __init__(self) -> None:
        super().__init__(LinkPool(Tasks("links"), 0.0), HOST)

    def open(self, user: LinkUser | None) -> None:
        assert user is None, "there is no free link"


def chunks(body: bytes) -> bytes:
    """In pieces of three."""
    parts = [body[at : at + 3] for at in range(0, len(body), 3)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def whole(kind: str, body: bytes, date: int) -> tuple[bytes, int, bytes]:
    """The bytes of an answer, its status, and the body that it has."""
    common = b"Server: x\r\nDate: %d\r\n" % date
    match kind:
        case "json":
            head = b"HTTP/1.1 200 OK\r\n%bContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            return head % (common, len(body)) + body, 200, body
        case "error":
            head = b"HTTP/1.1 404 Not Found\r\ncontent-length: %d\r\n%b\r\n"
            return head % (len(body), common) + body, 404, body
        case "stream":
            head = b"HTTP/1.1 200 OK\r\n%bContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            return head % common + chunks(body), 200, body
        case "interim":
            head = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
            return head % len(body) + body, 200, body
        case "not modified":
            return b"HTTP/1.1 304 Not Modified\r\n%bContent-Length: 77\r\n\r\n" % common, 304, b""
        case _:
            return b"HTTP/1.1 204 No Content\r\n%b\r\n" % common, 204, b""


KINDS = ("json", "error", "stream", "interim", "not modified", "nothing")
Answer = tuple[str, bytes, int]
answers = st.lists(st.tuples(st.sampled_from(KINDS), st.binary(max_size=30), st.integers(1, 2)), min_size=1, max_size=8)


def link_of(site: Site) -> Link:
    """An open one."""
    link = Link(site)
    link.connection_made(Wire())
    return link


@given(answers, st.lists(st.integers(0, 400), max_size=6))
def test_answers_on_one_connection_are_exact(wanted: list[Answer], cuts: list[int]) -> None:
    site = Still()
    link = link_of(site)
    for kind, body, date in wanted:
        wire, status, expected = whole(kind, body, date)
        user = User()
        link.send(user, b"GET / HTTP/1.1\r\n\r\n", b"")
        edges = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
        for start, end in pairwise(edges):
            if end > start:
                assert not user.complete
                link.data_received(wire[start:end])
        assert (user.status, user.body, user.complete, user.failed) == (status, expected, True, False)
        assert user.length == (None if kind == "stream" else len(expected))
        assert b"Server" not in user.lines and b"x-corral-source: engine\r\n" in user.lines
        assert site.take(user) is link  # it is free for the next one
    assert len(site.heads) <= 4


@pytest.mark.parametrize("extra", [b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_connection_with_more_than_its_answer_is_not_used_again(kind: str, extra: bytes) -> None:
    site = Still()
    for _ in range(2):  # the second time the head is known
        link, user = link_of(site), User()
        link.send(user, b"", b"")
        wire, _, expected = whole(kind, b"{}", 1)
        link.data_received(wire + extra)
        assert (user.body, user.complete) == (expected, True)
        assert not site.idle


def test_after_a_head_request_a_connection_is_not_used_again() -> None:
    site = Still()
    for _ in range(2):
        link, user = link_of(site), User()
        link.send(user, b"HEAD / HTTP/1.1\r\n\r\n", b"", bodiless=True)
        wire, _, body = whole("json", b"{}", 1)
        link.data_received(
            wire.removesuffix(body)
        )  # and the body may follow: the next request would take it for its own
        assert (user.body, user.length, user.complete) == (b"", 2, True)
        assert not site.idle


def test_heads_are_known_again_and_forgotten_in_turn() -> None:
    site = Still()
    for date in range(10):
        for body in (b"{}", b'{"a":1}'):
            link, user = link_of(site), User()
            link.send(user, b"", b"")
            link.data_received(whole("json", body, date)[0])
            assert (user.body, user.length) == (body, len(body))
        head = site.heads[0][1]
        assert [known for _, known in site.heads].count(head) == 1
    assert len(site.heads) == 4


def test_two_connections_that_share_a_known_head_have_their_own_lengths() -> None:
    site = Still()
    first, second, long, short = link_of(site), link_of(site), User(), User()
    first.send(long, b"", b"")
    second.send(short, b"", b"")
    wire = whole("json", b"x" * 20, 1)[0]
    first.data_received(wire[:-10])
    second.data_received(whole("json", b"yy", 1)[0])
    first.data_received(wire[-10:])
    assert (long.body, long.length, short.body, short.length) == (b"x" * 20, 20, b"yy", 2)


INTERIM = b"HTTP/1.1 100 Continue\r\nX: " + b"y" * 30_000 + b"\r\n\r\n"


def test_what_interim_answers_may_take_counts_for_each_answer_alone() -> None:
    link = link_of(Still())
    for date in range(4):
        user = User()
        link.send(user, b"", b"")
        link.data_received(INTERIM * 2 + whole("json", b"{}", date)[0])
        assert (user.complete, user.failed) == (True, False)
        link.site.idle.clear()


@pytest.mark.parametrize(
    ("wire", "heard"), [(b"", False), (INTERIM, True), (b"HTTP/1.", True), (b"HTTP/1.1 200 OK\r\n\r\n", True)]
)
def test_whether_anything_of_an_answer_came_is_known_when_the_connection_ends(wire: bytes, heard: bool) -> None:
    """It decides whether the request may be sent again; what came of the answer before it does not count."""
    link = link_of(Still())
    link.send(User(), b"", b"")
    link.data_received(whole("json", b"{}", 1)[0])
    link.site.idle.clear()
    user = User()
    link.send(user, b"", b"")
    if wire:
        link.data_received(wire)
    assert link.heard is heard
    link.connection_lost(OSError("reset"))
    assert user.failed and link.heard is heard


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: " + b"y" * 70_000,
        b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n" * 3000,
        b"HTTQ",
        b"\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
    ],
)
def test_what_cannot_become_a_head_is_refused_at_once(wire: bytes) -> None:
    link, user = link_of(Still()), User()
    link.send(user, b"", b"")
    link.data_received(wire)
    assert user.failed
