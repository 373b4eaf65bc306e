"""Five thousand clients wait for one Model and leave in the same moment, half of them without a farewell."""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
import yaml

from corral.kit.file_limit import raise_file_limit
from tests.paths.shell_kit import WAIT_S, Shell, shell

__all__ = ["shell"]  # a fixture

WAITERS = 5000
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() sends a RST instead of a FIN


def config(home: str) -> str:
    program = [sys.executable, "-m", "corral.fakes.engine_program", "--port", "{port}", "--name", "{model}"]
    models = {
        "quick": {"engine": "command", "options": {"command": program}},
        "slow": {"engine": "command", "options": {"command": [*program, "--load-s", "600"]}, "ttl": 0},
    }
    limits = {"queue_per_model": 2 * WAITERS, "queue_total": 2 * WAITERS}
    env = {"command": {"PYTHONPATH": os.pathsep.join(sys.path)}}
    return yaml.safe_dump({"models": models, "limits": limits, "defaults": {"env": env}, "state_dir": f"{home}/state"})


class Served:
    """The Corral of a shell."""

    def __init__(self, shell: Shell) -> None:
        self.address = json.loads(shell.run("status", "--json").stdout)["address"]

    def get(self, path: str, body: object = None) -> Any:
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.address + path, data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
            return json.load(answer)

    def waiting(self) -> int:
        return len(self.get("/api/corral/queue")["waiting"])

    def answer(self) -> float:
        """Seconds that a request for the other Model takes."""
        began = time.monotonic()
        answer = self.get("/v1/chat/completions", {"model": "quick", "messages": []})
        assert answer["choices"][0]["message"]["content"] == "I am quick."
        return time.monotonic() - began


@pytest.fixture
def crowd() -> Iterator[list[socket.socket]]:
    sockets: list[socket.socket] = []
    yield sockets
    for each in sockets:
        each.close()


def join(served: Served) -> socket.socket:
    host, port = served.address.removeprefix("http://").split(":")
    body = b'{"model":"slow","messages":[]}'
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n"
    joined = socket.create_connection((host, int(port)), timeout=WAIT_S)
    joined.sendall(head.encode() + body)
    return joined


def test_five_thousand_leave_at_once(shell: Shell, crowd: list[socket.socket]) -> None:
    if raise_file_limit(WAITERS + 500) < WAITERS + 500:
        pytest.skip("this system allows fewer open files")
    (shell.home / "corral.yaml").write_text(config(str(shell.home)))
    with shell.serving() as child:
        served, program = Served(shell), psutil.Process(child.pid)
        served.answer()
        files = program.num_fds()
        crowd += (join(served) for _ in range(WAITERS))
        while served.waiting() < WAITERS:
            time.sleep(0.05)
        used = program.cpu_times()
        began = time.monotonic()
        for number, each in enumerate(crowd):
            if number % 2:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            each.close()
        meanwhile_s = served.answer()
        while served.waiting():
            assert time.monotonic() - began < WAIT_S
        now = program.cpu_times()

        # 0.1 s of CPU, gone after 0.4 s on an idle machine; whatever grows with the square of them takes a second.
        assert now.user + now.system - used.user - used.system < 0.5
        assert meanwhile_s < 5.0
        assert program.num_fds() < files + 20
        served.answer()
