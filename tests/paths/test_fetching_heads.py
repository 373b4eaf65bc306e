"""Heads that few servers send: read past, understood, or refused in words; and proxies that are in the way."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from corral.domain.errors import FetchFailed
from corral.store.fetch.denial import TooBusy
from corral.store.fetch.patience import Patience
from corral.store.fetch.rules import WebRules
from corral.store.fetch.web import Web
from corral.store.fetch.wire import Interrupted
from tests.file_server import CERTIFICATE, FileServer, Reply, of_file
from tests.paths.fetching_kit import Hurried
from tests.paths.test_fetching_web import pump

HI = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
CHUNKED = b"2\r\nhi\r\n0\r\n\r\n"


def web(**rules: object) -> Web:
    plain: dict[str, object] = {"insecure": True, "private": True, "timeout_s": 1.0, "retries": 1}
    return Web(WebRules(**{**plain, **rules}), patience=Hurried().patience())  # type: ignore[arg-type]


@pytest.mark.parametrize("first", [b"HTTP/1.1 102 Processing\r\n\r\n", HINTS, HINTS * 3, b"HTTP/1.1 100 Go\r\n\r\n"])
def test_interim_answers_are_read_past(first: bytes) -> None:
    with FileServer(lambda ask: Reply(raw=first + HI)) as server:
        assert web().read(server.origin) == b"hi"
        assert len(server.asked) == 1


def test_interim_answers_without_an_end_are_left() -> None:
    with FileServer(lambda ask: Reply(raw=HINTS * 1000 + HI)) as server:
        with pytest.raises(Interrupted, match="more than 20 interim answers"):
            web().read(server.origin)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNKED, "only compressed"),
        (b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKED, "only compressed"),
        (b"Content-Length: 2\r\nContent-Length: 5\r\n\r\nhi", "two lengths"),
        (b"Content-Length: 2, 5\r\n\r\nhi", "two lengths"),
    ],
)
def test_a_body_that_is_framed_in_two_ways_is_refused(head: bytes, words: str) -> None:
    with FileServer(lambda ask: Reply(raw=b"HTTP/1.1 200 OK\r\n" + head)) as server:
        with pytest.raises(FetchFailed, match=words):
            web().read(server.origin)


@pytest.mark.parametrize(
    "head",
    [
        b"Transfer-Encoding: Chunked\r\n\r\n" + CHUNKED,
        b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nhi",
        b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
    ],
)
def test_a_body_that_is_framed_in_one_way_is_read_however_that_is_said(head: bytes) -> None:
    with FileServer(lambda ask: Reply(raw=b"HTTP/1.1 200 OK\r\n" + head)) as server:
        assert web().read(server.origin) == b"hi"


@pytest.mark.parametrize(
    ("place", "path"),
    [("/modèle.gguf".encode(), "/mod%C3%A8le.gguf"), ("/modèle.gguf".encode("latin-1"), "/mod%C3%A8le.gguf"),
     ("/モデル?a=é".encode(), "/%E3%83%A2%E3%83%87%E3%83%AB?a=%C3%A9"), (b"/a%20b", "/a%20b")],
)  # fmt: skip
def test_a_redirect_that_is_not_spelled_in_ascii(place: bytes, path: str) -> None:
    redirect = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + place + b"\r\n\r\n"
    with FileServer(lambda ask: Reply(raw=redirect) if ask.path == "/x" else of_file(ask, b"hi")) as server:
        assert web().read(f"{server.origin}/x") == b"hi"
        assert server.asked[1].path == path


@pytest.mark.parametrize("tag", ['"mod\xe8le"', '"' + "e" * 60_000 + '"', '""', "plain", 'W/"weak"'])
def test_a_tag_that_cannot_be_sent_back_is_none(tag: str) -> None:
    with FileServer(lambda ask: of_file(ask, b"hi", etag=tag)) as server, web().open(server.origin) as answer:
        assert answer.etag == ""


def test_a_date_beyond_all_years_asks_for_nothing() -> None:
    for text in ("Wed, 21 Oct 99999999999999999999 07:28:00 GMT", "Wed, 21 Oct 2026 07:28:00 +999999999999"):
        with FileServer(lambda ask, text=text: Reply(503, {"Retry-After": text})) as server:  # type: ignore[misc]
            with pytest.raises(TooBusy):
                web().read(server.origin)


def test_a_small_body_that_drips_has_a_deadline_too() -> None:
    """It brings more than a connection must, and would still go on for hours."""
    clock = Patience(sleep=lambda seconds: None, now=lambda: 100 * time.monotonic())
    with FileServer(lambda ask: Reply(body=bytes(12_000_000), per_s=600_000)) as server:
        client = Web(WebRules(insecure=True, private=True, timeout_s=5000.0, retries=0), patience=clock)
        began = time.monotonic()
        with pytest.raises(Interrupted, match="silent"):
            client.read(server.origin)
        assert 1.0 < time.monotonic() - began < 15


def test_a_small_body_is_asked_for_no_more_often_than_a_large_one() -> None:
    with FileServer(lambda ask: Reply(reset=True)) as server:
        with pytest.raises(Interrupted):
            web(retries=2).read(server.origin)
        assert len(server.asked) == 3


def test_a_proxy_that_fails_for_a_while_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    left = iter([b"503 Service Unavailable", b"502 Bad Gateway"])
    with FileServer(lambda ask: of_file(ask, b"hi"), tls=True) as server, _tunnels(server.port, left) as port:
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        with pytest.raises(Interrupted, match=r"proxy 127\.0\.0\.1 does not lead to files\.example: '502 Bad") as no:
            web(retries=1).read("https://files.example/x")
        assert "Try again later" in no.value.hint
        assert web(retries=0).read("https://files.example/x") == b"hi"


def test_a_proxy_that_says_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(Interrupted, match=r"proxy 127\.0\.0\.1 .* no answer in time"):
            web(timeout_s=0.3).read("https://files.example/x")
    with FileServer(lambda ask: Reply(reset=True)) as rude:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{rude.port}")
        with pytest.raises(Interrupted, match=r"proxy 127\.0\.0\.1 "):
            web().read("https://files.example/x")


@pytest.mark.parametrize(
    ("scheme", "status", "hint"),
    [("http", 407, "http_proxy=http://USER:PASSWORD@HOST:PORT"), ("https", 403, "NO_PROXY"),
     ("https", 407, "https_proxy=http://USER:PASSWORD@HOST:PORT")],
)  # fmt: skip
def test_a_proxy_that_does_not_let_us_through_is_named(
    monkeypatch: pytest.MonkeyPatch, scheme: str, status: int, hint: str
) -> None:
    with FileServer(lambda ask: Reply(status)) as proxy:
        monkeypatch.setenv(f"{scheme}_proxy", f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(FetchFailed, match=rf"proxy 127\.0\.0\.1 does not lead to files\.example: '{status}") as no:
            web().read(f"{scheme}://files.example/x")
        assert hint in no.value.hint
        assert len(proxy.asked) == 1


@contextmanager
def _tunnels(port: int, left: Iterator[bytes]) -> Iterator[int]:
    """A proxy that says what is `left`, and then leads to `port` whatever is asked for."""

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                client.recv(65536)
                said = next(left, None)
                if said is not None:
                    client.sendall(b"HTTP/1.1 " + said + b"\r\nContent-Length: 0\r\n\r\n")
                    continue
                client.sendall(b"HTTP/1.1 200 Go\r\n\r\n")
                with socket.create_connection(("127.0.0.1", port)) as inner:
                    back = threading.Thread(target=pump, args=(inner, client))
                    back.start()
                    pump(client, inner)
                    back.join(5)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
