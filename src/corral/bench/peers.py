"""
The programs beside which Corral is measured: each as found on this machine, or a sentence on how to get it.

All stand before the same engine on one core with one worker, keys checked where they know keys, access logs off, and no
answer buffered. What is missing is a line in the report, never an error.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from corral.bench import install
from corral.version import __version__

KEY: Final = "sk-bench-0123456789abcdef"
VERSION_S: Final = 30.0
PROGRAMS: Final = os.path.join(os.path.dirname(__file__), "programs")
MANY: Final = 4096
"""Requests at one time that every program must take."""

_NGINX: Final = """worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/nginx-errors.log; daemon off;
events {{ worker_connections 8192; }}
http {{ access_log off; keepalive_requests 1000000000;
client_body_temp_path {dir}; proxy_temp_path {dir};
fastcgi_temp_path {dir}; uwsgi_temp_path {dir}; scgi_temp_path {dir};
upstream u {{ server 127.0.0.1:{up}; keepalive 512; keepalive_requests 1000000000; }}
server {{ listen 127.0.0.1:{port} reuseport; location / {{ proxy_pass http://u; proxy_http_version 1.1;
proxy_set_header Connection ""; proxy_buffering off; }} }} }}
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where this benchmark works: its temporary folder, its engine, its cache, and programs that were named."""

    folder: str
    upstream: int
    cache: str
    named: Mapping[str, str] = field(default_factory=dict)
    install: bool = False


@dataclass(frozen=True, slots=True)
class Peer:
    """A program that can be started before the engine. `translates` are those of `load.TRANSLATED` that it has."""

    name: str
    argv: tuple[str, ...]
    port: int
    version: str
    env: Mapping[str, str] = field(default_factory=dict)
    translates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Missing:
    """A program that is not here, and how to get it."""

    name: str
    how: str


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def direct(place: Place) -> Peer | Missing:
    """The engine itself: what nothing in between costs. It runs already."""
    return Peer("direct", (), place.upstream, "the benchmark's engine")


def corral(place: Place) -> Peer | Missing:
    """The whole of `corral serve`: a key, the scheduler, leases, usage and metrics on."""
    port = free_port()
    model = {
        "engine": "remote",
        "options": {"base_url": f"http://127.0.0.1:{place.upstream}", "parallel": MANY, "health": "/"},
    }
    settings = {
        "version": 1,
        "server": {"port": port, "keys": [{"name": "bench", "key": KEY}]},
        "state_dir": os.path.join(place.folder, "state"),
        "models": {"m": model},
    }
    argv = serve(place, "corral.yaml", settings)
    return Peer("corral", argv, port, f"{__version__}, Python {_python()}", translates=("messages", "ollama"))


def serve(place: Place, file: str, settings: Mapping[str, object]) -> tuple[str, ...]:
    """The command line of a Corral with this config."""
    path = written(place, file, json.dumps(settings))  # JSON is YAML
    return (sys.executable, "-m", "corral", "serve", "--config", path, "--log-level", "warning")


def nginx(place: Place) -> Peer | Missing:
    """nginx with buffering off."""
    found = place.named.get("nginx") or shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if not found:
        return Missing("nginx", "install nginx from your system's packages")
    port = free_port()
    config = written(place, "nginx.conf", _NGINX.format(dir=place.folder, up=place.upstream, port=port))
    return Peer("nginx", (found, "-c", config), port, said([found, "-v"]).removeprefix("nginx version: nginx/"))


def asgi(place: Place) -> Peer | Missing:
    """uvicorn, raw ASGI and aiohttp, in an environment of its own."""
    python = place.named.get("asgi") or install.venv(place.cache, "asgi", "python", install=place.install)
    if not python:
        return Missing("asgi", "--install-peers makes an environment with uvicorn and aiohttp in the cache folder")
    port = free_port()
    argv = (
        python, "-m", "uvicorn", "asgi_relay:app", "--app-dir", PROGRAMS, "--port", str(port),
        "--no-access-log", "--log-level", "warning",
    )  # fmt: skip
    code = "from importlib.metadata import version as v; print('uvicorn', v('uvicorn') + ', aiohttp', v('aiohttp'))"
    return Peer(
        "asgi", argv, port, said([python, "-c", code]), {"BENCH_UPSTREAM": f"http://127.0.0.1:{place.upstream}"}
    )


def go(place: Place) -> Peer | Missing:
    """The reverse proxy of Go's standard library."""
    compiler = place.named.get("go") or shutil.which("go")
    if not compiler:
        return Missing("go", "install Go 1.21 or later; `go` on PATH builds the proxy from the standard library alone")
    program = os.path.join(place.folder, "proxy")
    built = subprocess.run(
        [compiler, "build", "-o", program, os.path.join(PROGRAMS, "proxy.go")],
        capture_output=True, text=True, timeout=install.BUILD_S, check=False,
    )  # fmt: skip
    if built.returncode:
        return Missing("go", f"`go build` failed: {built.stderr.strip().splitlines()[-1:]}")
    port = free_port()
    version = said([compiler, "version"]).removeprefix("go version go").split(" ")[0]
    return Peer("go", (program, f"127.0.0.1:{port}", f"127.0.0.1:{place.upstream}"), port, version)


def llama_swap_program(place: Place) -> str:
    """Its path: named, on PATH, or in the cache; else nothing."""
    named = place.named.get("llama-swap") or shutil.which("llama-swap")
    return named or install.go_program(
        place.cache, "llama-swap", "github.com/mostlygeek/llama-swap@latest", install=place.install
    )


def llama_swap(place: Place) -> Peer | Missing:
    """llama-swap, whose Model's program is a sleep and whose requests go to the engine."""
    found = llama_swap_program(place)
    if not found:
        return Missing("llama-swap", "name it: --peer llama-swap=PATH (its releases are on its project page)")
    port = free_port()
    model = {
        "cmd": "sleep 100000", "proxy": f"http://127.0.0.1:{place.upstream}",
        "checkEndpoint": "/", "concurrencyLimit": MANY,
    }  # fmt: skip
    config = written(place, "llama-swap.yaml", json.dumps({"apiKeys": [KEY], "models": {"m": model}}))
    argv = (found, "-config", config, "-listen", f"127.0.0.1:{port}")
    return Peer("llama-swap", argv, port, said([found, "-version"]).removeprefix("version: "))


def litellm(place: Place) -> Peer | Missing:
    """LiteLLM's proxy with one worker and a key."""
    found = place.named.get("litellm") or shutil.which("litellm")
    found = found or install.venv(place.cache, "litellm", "litellm", install=place.install)
    if not found:
        return Missing(
            "litellm", "`--litellm PATH`, or --install-peers makes an environment with it in the cache folder"
        )
    port = free_port()
    to = {"model": "openai/m", "api_base": f"http://127.0.0.1:{place.upstream}/v1", "api_key": "none"}
    settings = {
        "model_list": [{"model_name": "m", "litellm_params": to}],
        "general_settings": {"master_key": KEY},
        # Else it asks an OpenAI engine for /v1/responses: what is measured is the same work for every program.
        "litellm_settings": {"use_chat_completions_url_for_anthropic_messages": True},
    }
    config = written(place, "litellm.yaml", json.dumps(settings))
    argv = (found, "--config", config, "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1")
    python = os.path.join(os.path.dirname(found), "python")  # which knows in no time what the program takes long to say
    asks = [python, "-c", "from importlib.metadata import version as v; print(v('litellm'))"]
    words = said(asks if os.path.exists(python) else [found, "--version"])
    version = next((word for word in reversed(words.split()) if word[:1].isdigit()), "")
    env = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    return Peer("litellm", argv, port, version, env, translates=("messages",))


FINDERS: Final[dict[str, Callable[[Place], Peer | Missing]]] = {
    "direct": direct,
    "nginx": nginx,
    "corral": corral,
    "go": go,
    "llama-swap": llama_swap,
    "asgi": asgi,
    "litellm": litellm,
}
"""All of them, in the order of the table."""


def written(place: Place, name: str, text: str) -> str:
    """The path of a file with this text in the benchmark's folder."""
    path = os.path.join(place.folder, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def said(argv: list[str]) -> str:
    """What a program says of its version, as one line; empty when it does not."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=VERSION_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return next((text.strip() for text in (done.stdout + done.stderr).splitlines() if text.strip()), "")


def _python() -> str:
    return ".".join(map(str, sys.version_info[:3]))
