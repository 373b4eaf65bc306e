"""What a swap costs: two Models of one group take turns, each a program that is there in a blink."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from http.client import HTTPConnection, HTTPException
from typing import Final

from corral.bench.load import HOST, PATH
from corral.bench.measure import until_it_answers
from corral.bench.peers import KEY, PROGRAMS, Peer, Place, free_port, llama_swap_program, serve, written
from corral.bench.processes import STOP_S, Cores, Failed, started
from corral.bench.stats import median

TIMES: Final = 10
ENGINE: Final = (sys.executable, "-I", "-S", os.path.join(PROGRAMS, "tiny_engine.py"))
ANSWER_S: Final = 30.0
POLL_S: Final = 0.001


def ask(port: int, model: str) -> None:
    """One request. Raises Failed for anything but 200."""
    link = HTTPConnection(HOST, port, timeout=ANSWER_S)
    try:
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hello"}]})
        link.request("POST", PATH, body, {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"})
        answer = link.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise Failed(f"a swap ended with {answer.status}: {text[:200].decode(errors='replace')}")
    finally:
        link.close()


def alone() -> float:
    """Milliseconds to end the engine, start it and get an answer, with nobody in between."""
    took = []
    for _ in range(TIMES):
        port = free_port()
        began = time.perf_counter()
        with subprocess.Popen([*ENGINE, str(port)]) as engine:
            try:
                while True:
                    try:
                        ask(port, "m")
                        break
                    except (OSError, HTTPException):
                        if time.perf_counter() > began + ANSWER_S:
                            raise Failed("the benchmark's own engine does not answer.") from None
                        time.sleep(POLL_S)
            finally:
                engine.terminate()
                engine.wait(STOP_S)
        took.append((time.perf_counter() - began) * 1e3)
    return median(took)


def through(place: Place, cores: Cores, name: str) -> float | None:
    """Milliseconds of a swap and an answer through this program; None for programs that do not swap."""
    peer = {"corral": _corral, "llama-swap": _llama_swap}[name](place) if name in ("corral", "llama-swap") else None
    if peer is None:
        return None
    with started(f"{name}-swap", peer.argv, core=cores.program, folder=place.folder, env=peer.env) as program:
        until_it_answers(peer, program)
        took = []
        for number in range(TIMES):
            began = time.perf_counter()
            ask(peer.port, ("n", "m")[number % 2])
            took.append((time.perf_counter() - began) * 1e3)
    return median(took)


def _corral(place: Place) -> Peer:
    port = free_port()
    model = {"engine": "command", "options": {"command": [*ENGINE, "{port}"], "health": "/"}}
    settings = {
        "version": 1,
        "server": {"port": port, "keys": [{"name": "bench", "key": KEY}]},
        "state_dir": os.path.join(place.folder, "swapping"),
        "models": {"m": model, "n": model},
        "groups": {"g": {"members": ["m", "n"], "swap": True}},
    }
    return Peer("corral", serve(place, "corral-swap.yaml", settings), port, "")


def _llama_swap(place: Place) -> Peer:
    port = free_port()
    model = {"cmd": " ".join([*ENGINE, "${PORT}"]), "proxy": "http://127.0.0.1:${PORT}", "checkEndpoint": "/"}
    settings = {"apiKeys": [KEY], "startPort": _two_ports(), "models": {"m": model, "n": model}}
    argv = (llama_swap_program(place), "-config", written(place, "llama-swap-swap.yaml", json.dumps(settings)))
    return Peer("llama-swap", (*argv, "-listen", f"127.0.0.1:{port}"), port, "")


def _two_ports() -> int:
    """A free port whose neighbour is free too, below those that the system gives to clients."""
    for port in range(21000, 32000, 7):
        with contextlib.suppress(OSError), socket.socket() as one, socket.socket() as two:
            one.bind((HOST, port))
            two.bind((HOST, port + 1))
            return port
    raise Failed("no two free ports beside each other.")
