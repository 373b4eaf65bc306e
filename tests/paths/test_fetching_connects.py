"""Hosts that let nobody in: a fetch that waits for one ends as soon as it is stopped, wherever it waits."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from corral.domain.errors import FetchStopped
from corral.store.fetch.rules import WebRules
from corral.store.fetch.web import Web
from corral.store.fetch.wire import Interrupted
from tests.file_server import deaf
from tests.paths.shell_kit import WAIT_S, Shell, shell

__all__ = ["shell"]

SOON_S = 1.0
"""From a stop to the end of what waited."""


def anywhere(**more: object) -> Web:
    return Web(WebRules(insecure=True, private=True), **more)  # type: ignore[arg-type]


def check_stops_soon(client: Web, url: str) -> None:
    """What asks for `url` and hears nothing ends when it is stopped."""
    end = time.monotonic() + 0.3
    with pytest.raises(FetchStopped):
        client.open(url, stop=lambda: time.monotonic() > end)
    assert 0 <= time.monotonic() - end < SOON_S


def test_a_host_that_accepts_no_connection() -> None:
    with deaf() as port:
        check_stops_soon(anywhere(), f"http://127.0.0.1:{port}/")


def test_a_host_that_accepts_no_connection_is_left_after_a_while() -> None:
    with deaf() as port:
        client = Web(WebRules(insecure=True, private=True, timeout_s=0.3, retries=0))
        with pytest.raises(Interrupted, match=f"127.0.0.1 port {port} cannot be reached: no answer in time"):
            client.open(f"http://127.0.0.1:{port}/")


def test_a_second_address_is_tried_where_the_first_is_deaf() -> None:
    with deaf() as port, socket.create_server(("127.0.0.2", port)) as listener:
        client = Web(
            WebRules(insecure=True, private=True, timeout_s=0.3, retries=0),
            resolve=lambda host, asked: ["127.0.0.1", "127.0.0.2"],
        )
        thread = threading.Thread(target=_answer, args=(listener,))
        thread.start()
        with client.open(f"http://two.example:{port}/") as answer:
            assert answer.read(10) == b"here"
        thread.join(5)


def test_a_host_that_shakes_no_hands() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        check_stops_soon(anywhere(), f"https://127.0.0.1:{silent.getsockname()[1]}/")


def test_a_handshake_that_never_ends_is_left_after_a_while() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = Web(WebRules(private=True, timeout_s=0.3, retries=0))
        with pytest.raises(Interrupted, match=r"No secure connection to 127.0.0.1: no answer in time"):
            client.open(f"https://127.0.0.1:{silent.getsockname()[1]}/")


def test_a_proxy_that_accepts_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    with deaf() as port:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        check_stops_soon(anywhere(), "https://files.example/")


def test_a_name_server_that_says_nothing() -> None:
    ended = threading.Event()

    def silent(host: str, port: int) -> list[str]:
        ended.wait(10)
        return ["127.0.0.1"]

    check_stops_soon(anywhere(resolve=silent), "http://files.example/")
    ended.set()


@pytest.mark.parametrize("asked_by", ["a pinned Model", "a client"])
def test_the_end_of_the_program_waits_for_no_host_that_lets_nobody_in(shell: Shell, asked_by: str) -> None:
    pinned = "models: {ada: {source: hf.co/org/ada-GGUF, pin: true}}" if asked_by == "a pinned Model" else ""
    with deaf() as port:
        shell.env |= {"HF_ENDPOINT": f"http://127.0.0.1:{port}"}
        (shell.home / "corral.yaml").write_text(f"store: {{serve: true}}\n{pinned}\n")
        with shell.serving() as server:
            with contextlib.nullcontext() if pinned else _pulling(shell):
                time.sleep(0.5)  # it is connecting by now, and nothing tells
                began = time.monotonic()
                server.terminate()
                server.communicate(timeout=WAIT_S)
            took_s = time.monotonic() - began
            assert (server.returncode, took_s < 2) == (0, True), f"a shutdown waited {took_s:.1f} s for a host"


@contextlib.contextmanager
def _pulling(shell: Shell) -> Iterator[None]:
    """A client has asked for a model, and waits."""
    address = json.loads(shell.run("status", "--json").stdout)["address"]
    with httpx.Client(base_url=address, timeout=WAIT_S) as client:
        with client.stream("POST", "/api/pull", json={"model": "hf.co/org/ada-GGUF"}) as answer:
            assert "pulling manifest" in next(answer.iter_lines())
            yield


def _answer(listener: socket.socket) -> None:
    sock, _ = listener.accept()
    with sock:
        sock.recv(65536)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere")
