"""The client for all that is fetched, against real servers that do what servers on bad days do."""

from __future__ import annotations

import email.utils
import socket
import threading
import time
from collections.abc import Callable, Mapping

import pytest

from corral.domain.errors import FetchFailed, FetchRefused, FetchStopped, NotThere, WrongContent
from corral.store.fetch.denial import Denied, TooBusy, Unranged
from corral.store.fetch.patience import Patience
from corral.store.fetch.rules import WebRules
from corral.store.fetch.web import MOST_HOPS, Web
from corral.store.fetch.wire import Interrupted, Wire
from tests.file_server import CERTIFICATE, Ask, FileServer, Reply, of_file

DATA = bytes(range(256)) * 1000


class Clock:
    """Back-off takes no time, and is known."""

    def __init__(self) -> None:
        self.slept_s = 0.0

    def patience(self) -> Patience:
        return Patience(sleep=self._sleep, now=lambda: time.monotonic() + self.slept_s, chance=lambda: 1.0)

    def _sleep(self, seconds: float) -> None:
        self.slept_s += seconds


def web(**rules: object) -> Web:
    plain: dict[str, object] = {"insecure": True, "private": True, "timeout_s": 5.0}
    return Web(WebRules(**{**plain, **rules}), patience=Clock().patience())  # type: ignore[arg-type]


def good(ask: Ask) -> Reply:
    return of_file(ask, DATA)


def after(count: int, bad: Reply, then: Callable[[Ask], Reply] = good) -> Callable[[Ask], Reply]:
    """The first `count` requests go wrong."""
    left = iter(range(count))
    return lambda ask: bad if next(left, None) is not None else then(ask)


def to(url: str, status: int = 302, headers: Mapping[str, str] | None = None) -> Callable[[Ask], Reply]:
    return lambda ask: Reply(status, {"Location": url, **(headers or {})})


def test_a_file_and_parts_of_it() -> None:
    with FileServer(good) as server:
        url = f"{server.origin}/a%20file"
        with web().open(url) as answer:
            assert (answer.status, answer.length, answer.whole_bytes, answer.etag) == (
                200,
                len(DATA),
                len(DATA),
                '"one"',
            )
            assert answer.read(len(DATA)) == DATA
        with web().open(url, start=100, end=1100) as answer:
            assert (answer.status, answer.length, answer.first_byte) == (206, 1000, 100)
            assert answer.whole_bytes == len(DATA) and answer.read(1000) == DATA[100:1100]
        assert web().read(url, start=255_990, end=300_000, limit=100_000) == DATA[255_990:]
        with web().open(url, method="HEAD") as answer:
            assert answer.length == len(DATA) and answer.read(10) == b""
        with pytest.raises(WrongContent, match="more than 1,000 bytes"):
            web().read(url, limit=1000)
        with pytest.raises(Unranged):
            web().open(url, start=len(DATA))
        assert server.asked[0].headers["accept-encoding"] == "identity"
        assert "authorization" not in server.asked[0].headers


def test_a_server_that_ignores_ranges_gives_the_same_bytes() -> None:
    with FileServer(lambda ask: of_file(ask, DATA, ranges=False)) as server:
        assert web().read(server.origin, start=1000, end=2000, limit=5000) == DATA[1000:2000]
        with pytest.raises(FetchFailed, match="does not give parts"):
            web().read(server.origin, start=10_000, end=11_000, limit=5000)


def test_one_connection_serves_a_line_of_requests_and_is_renewed_when_it_was_closed() -> None:
    peers: set[object] = set()
    close = Reply(200, {"Connection": "close", "Content-Length": "2"}, b"ab")
    with FileServer(lambda ask: close if ask.path == "/close" else good(ask)) as server, web().line() as line:
        client = web()
        for _ in range(3):
            assert client.read(f"{server.origin}/x", start=0, end=10, line=line) == DATA[:10]
            wire: object = line.connection.sock if line.connection else None
            assert isinstance(wire, Wire)
            peers.add(wire.sock.getsockname())
        assert len(peers) == 1
        assert client.read(f"{server.origin}/close", line=line) == b"ab"
        assert client.read(f"{server.origin}/x", start=0, end=10, line=line) == DATA[:10]
        with client.open(f"{server.origin}/x", line=line) as answer:  # not read to its end: that connection is no use
            answer.readinto(memoryview(bytearray(10)))
        assert client.read(f"{server.origin}/x", start=5, end=10, line=line) == DATA[5:10]


def test_http_and_private_addresses_need_leave_at_the_first_hop() -> None:
    with FileServer(good) as server:
        with pytest.raises(FetchRefused, match="http lets anybody"):
            web(insecure=False).open(server.origin)
        with pytest.raises(FetchRefused, match="not a public address"):
            web(private=False).open(server.origin)
        trusted = frozenset({server.origin})
        assert web(insecure=False, private=False, trusted=trusted).read(server.origin) == DATA
        assert len(server.asked) == 1


def test_a_redirect_to_a_private_address_is_refused() -> None:
    with FileServer(good) as inner, FileServer(to(f"{inner.origin}/secret")) as outer:
        rules = web(private=False, trusted=frozenset({outer.origin}))
        with pytest.raises(FetchRefused, match=r"127\.0\.0\.1 is not a public address"):
            rules.open(f"{outer.origin}/x")
        assert inner.asked == []


def test_a_name_is_looked_up_once_and_that_address_is_connected_to() -> None:
    with FileServer(good) as server:
        asked: list[str] = []

        def rebinding(host: str, port: int) -> list[str]:
            asked.append(host)
            return ["93.184.215.14"] if len(asked) > 1 else ["127.0.0.1"]

        client = Web(WebRules(insecure=True, retries=0, timeout_s=1), resolve=rebinding)
        with pytest.raises(FetchRefused, match=r"files\.example \(127\.0\.0\.1\) is not a public address"):
            client.open(f"http://files.example:{server.port}/x")

        def once(host: str, port: int) -> list[str]:
            asked.append(host)
            return ["127.0.0.1"]

        client = Web(WebRules(insecure=True, private=True), resolve=once)
        assert client.read(f"http://files.example:{server.port}/x") == DATA
        assert asked == ["files.example", "files.example"]
        assert server.asked[0].headers["host"] == f"files.example:{server.port}"


def test_tokens_go_to_their_host_alone_and_survive_a_redirect_on_it() -> None:
    with FileServer(good) as other:
        hops = {"/a": "/b", "/b": f"{other.origin}/c"}
        with FileServer(lambda ask: Reply(307, {"Location": hops[ask.path]})) as hub:
            trusted = frozenset({hub.origin, other.origin})  # that one could be given a token, if it had one
            client = web(tokens={f"127.0.0.1:{hub.port}": "hf_secret"}, trusted=trusted)
            headers = {"X-Mine": "secret", "Cookie": "secret", "Accept": "text/plain"}
            assert client.read(f"{hub.origin}/a", headers=headers) == DATA
            assert [ask.headers.get("authorization") for ask in hub.asked] == ["Bearer hf_secret"] * 2
            assert other.asked[0].headers["accept"] == "text/plain"
            assert "secret" not in str(other.asked[0])


def test_a_token_is_not_sent_over_http_unless_the_operator_named_that_origin() -> None:
    with FileServer(good) as server:
        assert web(tokens={f"127.0.0.1:{server.port}": "hf_secret"}).read(server.origin) == DATA
        assert "authorization" not in server.asked[0].headers


def test_a_user_in_the_address_goes_to_its_origin_alone() -> None:
    with FileServer(good) as other, FileServer(to(f"{other.origin}/c")) as first:
        client = web()
        assert client.read(f"http://me:pass@127.0.0.1:{first.port}/a") == DATA
        assert first.asked[0].headers["authorization"] == "Basic bWU6cGFzcw=="
        assert "authorization" not in other.asked[0].headers


def test_redirects_are_followed_up_to_a_bound() -> None:
    def handle(ask: Ask) -> Reply:
        left = int(ask.path.strip("/"))
        return Reply(308, {"Location": f"/{left - 1}"}) if left else good(ask)

    with FileServer(handle) as server:
        assert web().read(f"{server.origin}/{MOST_HOPS}") == DATA
        with pytest.raises(FetchFailed, match="redirected more than 10 times"):
            web().open(f"{server.origin}/{MOST_HOPS + 1}")
    nowhere = ("file:///etc/passwd", "http://[::1", "http://x:99999999/")
    for bad in (Reply(302), Reply(304), *(Reply(302, {"Location": each}) for each in nowhere)):
        with FileServer(lambda ask, bad=bad: bad) as server, pytest.raises(FetchFailed):  # type: ignore[misc]
            web().open(server.origin)


def test_https_and_never_from_there_to_http(monkeypatch: pytest.MonkeyPatch) -> None:
    with FileServer(good) as plain, FileServer(to(plain.origin), tls=True) as secure:
        with pytest.raises(FetchFailed, match="cannot prove that it is itself") as unproven:
            web().open(secure.origin)
        assert "SSL_CERT_FILE" in unproven.value.hint
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        with pytest.raises(FetchRefused, match="from https to http"):
            web().open(secure.origin)
        assert plain.asked == []
    with FileServer(good, tls=True) as server:
        assert web(insecure=False, tokens={f"127.0.0.1:{server.port}": "t"}).read(server.origin) == DATA
        assert server.asked[0].headers["authorization"] == "Bearer t"


@pytest.mark.parametrize(
    ("reply", "token", "hint"),
    [
        (Reply(404), "", "Check the address"),
        (Reply(401, {"X-Error-Code": "RepoNotFound"}), "", "set HF_TOKEN"),
        (Reply(401, {"X-Error-Code": "RepoNotFound"}), "t", "The token that was sent may not read it"),
        (Reply(403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Ask first"}), "t", "accept them at"),
        (Reply(401, {"X-Error-Code": "GatedRepo"}), "", "set HF_TOKEN"),
        (Reply(401, {"WWW-Authenticate": 'Bearer realm="x"'}), "", "It needs a login"),
        (Reply(410), "", "Check the address"),
    ],
)
def test_what_is_not_there_or_not_for_us_says_what_to_do(reply: Reply, token: str, hint: str) -> None:
    with FileServer(lambda ask: reply) as server:
        tokens = {f"127.0.0.1:{server.port}": token} if token else {}
        with pytest.raises(NotThere, match=str(reply.status)) as denied:
            web(tokens=tokens, trusted=frozenset({server.origin})).open(f"{server.origin}/org/repo/f.gguf?sig=secret")
        assert hint in denied.value.hint and "secret" not in denied.value.sentence()
        assert isinstance(denied.value, Denied) and denied.value.answered == reply.status
        assert ("Ask first" in denied.value.message) == ("X-Error-Message" in reply.headers)
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    "bad",
    [
        *(Reply(status) for status in (408, 429, 500, 502, 503, 504, 507, 520, 524)),
        Reply(200, reset=True),
        Reply(raw=b"nonsense\r\n\r\n"),
    ],
)
def test_what_may_go_well_another_time_is_tried_again(bad: Reply) -> None:
    with FileServer(after(3, bad)) as server:
        clock = Clock()
        client = Web(WebRules(insecure=True, private=True), patience=clock.patience())
        assert client.read(server.origin) == DATA
        assert clock.slept_s == pytest.approx(0.5 + 1 + 2, abs=0.05)


def test_a_bad_day_that_does_not_end_is_told_after_a_bounded_time() -> None:
    with FileServer(lambda ask: Reply(503)) as server:
        clock = Clock()
        client = Web(WebRules(insecure=True, private=True, retries=4), patience=clock.patience())
        with pytest.raises(TooBusy, match="503") as failed:
            client.open(server.origin)
        assert len(server.asked) == 5 and clock.slept_s < 10
        assert "Try again later" in failed.value.hint


def test_a_server_says_when_to_come_back() -> None:
    for text, least, most in (("7", 7, 7), (email.utils.formatdate(time.time() + 60, usegmt=True), 50, 61)):
        with FileServer(after(1, Reply(429, {"Retry-After": text}))) as server:
            clock = Clock()
            client = Web(WebRules(insecure=True, private=True), patience=clock.patience())
            assert client.read(server.origin) == DATA
            assert least - 0.05 <= clock.slept_s <= most
    with FileServer(lambda ask: Reply(429, {"Retry-After": "3600"})) as server:
        with pytest.raises(TooBusy) as failed:
            web().open(server.origin)
        assert failed.value.retry_after_s == 3600 and "3600 s" in failed.value.hint and len(server.asked) == 1


def test_a_body_that_breaks_off_is_never_taken_for_a_short_one() -> None:
    with FileServer(lambda ask: Reply(200, body=DATA, cut=1000)) as server, web().open(server.origin) as answer:
        with pytest.raises(Interrupted, match="early"):
            answer.read(len(DATA))
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with FileServer(lambda ask: Reply(raw=chunked + b"5\r\nabcde\r\n5\r\nab")) as server:
        with web().open(server.origin) as answer, pytest.raises(Interrupted):
            answer.read(1000)
    with FileServer(lambda ask: Reply(raw=chunked + b"5\r\nabcde\r\n0\r\n\r\n")) as server:
        assert web().read(server.origin) == b"abcde"
    with FileServer(after(2, Reply(200, body=DATA, cut=1000))) as server:
        assert web().read(server.origin) == DATA


def test_silence_has_a_deadline() -> None:
    for silent in (Reply(200, body=DATA, cut=1000, hang=True), Reply(200, {"Content-Length": "5"}, cut=0, hang=True)):
        with FileServer(lambda ask, silent=silent: silent) as server:  # type: ignore[misc]
            began = time.monotonic()
            client = Web(WebRules(insecure=True, private=True, timeout_s=0.5, retries=0))
            with pytest.raises(Interrupted, match="silent"):
                client.read(server.origin)
            assert time.monotonic() - began < 3


def test_a_silent_connection_is_left_as_soon_as_it_is_stopped() -> None:
    stopped = threading.Event()
    timer = threading.Timer(0.2, stopped.set)
    with FileServer(lambda ask: Reply(200, body=DATA, cut=1000, hang=True)) as server:
        timer.start()
        began = time.monotonic()
        with pytest.raises(FetchStopped):
            web().read(server.origin, stop=stopped.is_set)
        assert time.monotonic() - began < 1.5
        timer.join()


def test_who_cannot_be_reached_is_told_with_what_to_check() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(Interrupted, match=f"127.0.0.1 port {port} cannot be reached"):
        web().open(f"http://127.0.0.1:{port}/")

    def nobody(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    client = Web(WebRules(insecure=True), patience=Clock().patience(), resolve=nobody)
    with pytest.raises(FetchFailed, match="no address for nowhere"):
        client.open("http://nowhere.example/")


def test_json_and_what_is_none() -> None:
    with FileServer(lambda ask: Reply(200, body=b'{"a": [1, null]}')) as server:
        assert web().json(server.origin) == {"a": [1, None]}
        assert server.asked[0].headers["accept"] == "application/json"
    for body in (b"<html>Log in</html>", b"", b"[" * 100_000):
        with FileServer(lambda ask, body=body: Reply(200, body=body)) as server:  # type: ignore[misc]
            with pytest.raises(WrongContent, match="did not answer with JSON"):
                web().json(server.origin)


def test_what_comes_compressed_is_refused() -> None:
    with FileServer(lambda ask: Reply(200, {"Content-Encoding": "gzip"}, DATA)) as server:
        with pytest.raises(FetchFailed, match="only compressed"):
            web().open(server.origin)


def test_nothing_can_be_smuggled_into_a_request() -> None:
    with FileServer(good) as server:
        with web().open(f"{server.origin}/a\r\nX-Evil: 1\r\n") as answer:
            assert answer.status == 200
        assert "x-evil" not in server.asked[0].headers
        with pytest.raises(FetchRefused, match="cannot be sent"):
            web().open(server.origin, headers={"X-A": "1\r\nX-Evil: 1"})


def test_a_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with FileServer(good) as proxy:
        monkeypatch.setenv("http_proxy", f"http://me:pass@127.0.0.1:{proxy.port}")
        assert web().read("http://files.example/x?y=1") == DATA
        assert proxy.asked[0].path == "http://files.example/x?y=1"
        assert proxy.asked[0].headers["proxy-authorization"] == "Basic bWU6cGFzcw=="
        with pytest.raises(FetchRefused):  # an address is checked all the same
            web(private=False).open("http://10.0.0.1/x")
        with FileServer(good) as direct:
            assert web().read(direct.origin) == DATA  # never by way of a proxy to this machine itself
            assert len(direct.asked) == 1
        monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
        with pytest.raises(FetchRefused, match="proxy"):
            web().open("http://files.example/x")


@pytest.mark.parametrize(
    "text",
    ["http://me:hunter2@proxy:80a", "http://me:hunter2@[::1", "http://a..b:3128", "http://proxy:99999",
     "http://me:hun/hunter2@proxy:1", "http://me:hunter2\udcff@proxy:1"],
)  # fmt: skip
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_variable_that_names_no_proxy_is_told_by_its_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(FetchRefused) as refused:
        web().open("https://files.example/x")
    said = refused.value.sentence() + refused.value.hint
    assert f"Correct {variable}" in said and "hunter2" not in said


def test_https_goes_through_a_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    seen: list[bytes] = []
    with FileServer(good, tls=True) as server, socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_tunnel, args=(listener, server.port, seen))
        thread.start()
        monkeypatch.setenv("https_proxy", f"http://me:pass@127.0.0.1:{listener.getsockname()[1]}")
        assert web().read("https://files.example/x", limit=len(DATA)) == DATA
        thread.join(5)
    assert seen[0].startswith(b"CONNECT files.example:443 HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic bWU6cGFzcw==" in seen[0]
    assert "proxy-authorization" not in server.asked[0].headers
    with FileServer(lambda ask: Reply(407)) as stern:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{stern.port}")
        with pytest.raises(FetchFailed, match="407") as refused:
            web().open("https://files.example/x")
        assert "USER:PASSWORD" in refused.value.hint


def _tunnel(listener: socket.socket, port: int, seen: list[bytes]) -> None:
    """A proxy for one connection."""
    client, _ = listener.accept()
    with client, socket.create_connection(("127.0.0.1", port)) as inner:
        seen.append(client.recv(65536))
        client.sendall(b"HTTP/1.1 200 Go\r\nX: y\r\n\r\n")
        back = threading.Thread(target=pump, args=(inner, client))
        back.start()
        pump(client, inner)
        back.join(5)


def pump(source: socket.socket, sink: socket.socket) -> None:
    """All of one direction of a tunnel."""
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass
