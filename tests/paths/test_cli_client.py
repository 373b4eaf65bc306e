"""
The commands that ask a running Corral, over a real unix socket: what they send, what they print, how they fail.

The Corral here is a script of answers in a thread; `test_cli_serve` has the real one.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from corral.cli import main
from corral.domain.errors import UnknownModel

MODEL = {
    "model": "coder", "state": "ready", "instance": "i1", "leases": 1, "slots": 2, "waiting": 0, "ram_bytes": 1024**3,
    "ttl_left_s": 30.0, "load_s": 2.0, "pinned": False, "error": "", "retry_in_s": None, "pids": [42],
}  # fmt: skip
STATUS = {
    "version": "9", "pid": 7, "address": "http://127.0.0.1:1", "config_file": "", "queue": 0,
    "memory": {"budget_bytes": 2 * 1024**3, "used_bytes": 1024**3},
    "devices": [{"device": "ram", "present": True, "total_bytes": 4 * 1024**3, "free_bytes": 3 * 1024**3,
                 "budget_bytes": 2 * 1024**3, "counted_bytes": 1024**3, "description": ""}],
    "models": [MODEL, {**MODEL, "model": "idle", "state": "stopped", "instance": "", "pids": []}],
}  # fmt: skip
Answer = Callable[[BaseHTTPRequestHandler, Any], None]


class Script:
    """Answers by path, and what was asked."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.asked: list[tuple[str, Any]] = []
        self.answers: dict[str, Answer] = {
            "/api/corral/status": say(STATUS),
            "/api/corral/load": say(MODEL),
            "/api/corral/unload": say({"unloaded": ["coder"]}),
            "/v1/models/coder": say({"id": "coder"}),
            "/health": say({"status": "ok"}),
        }


def say(value: Any, status: int = 200) -> Answer:
    """A JSON answer."""

    def answer(handler: BaseHTTPRequestHandler, body: Any) -> None:
        data = json.dumps(value).encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def refuse(status: int, message: str) -> Answer:
    return say({"error": {"message": message, "code": "x"}}, status)


def stream(*lines: str) -> Answer:
    """Lines, and the end of the connection."""

    def answer(handler: BaseHTTPRequestHandler, body: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        for line in lines:
            with contextlib.suppress(BrokenPipeError):
                handler.wfile.write(f"{line}\n".encode())

    return answer


@pytest.fixture
def corral(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    folder = tempfile.mkdtemp(prefix="c")
    script = Script(folder)

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            script.asked.append((self.path, body))
            script.answers.get(self.path.split("?")[0], refuse(404, "No such thing."))(self, body)

        do_GET = do_POST = _any

        def address_string(self) -> str:
            return "unix"

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True

    for name in [*os.environ]:
        if name.startswith("CORRAL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CORRAL_STATE_DIR", folder)
    monkeypatch.chdir(folder)
    with Server(f"{folder}/control.sock", Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield script
        server.shutdown()
        thread.join()
    shutil.rmtree(folder)


def test_ps_of_the_queue(corral: Script, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"model": "coder", "caller": "ci", "priority": 0, "position": 1, "waited_s": 3.0, "expected_s": 8.0}
    corral.answers["/api/corral/queue"] = say(
        {"waiting": [row, {**row, "caller": "x", "position": 2, "held_back": True}]}
    )
    assert main.run(["ps", "--queue"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split() == ["MODEL", "PLACE", "CALLER", "PRIORITY", "WAITED", "EXPECTED"]
    assert printed[1].split() == ["coder", "1", "ci", "0", "3s", "8s"]
    assert printed[2].split() == ["coder", "2", "x", "0", "3s", "own", "limit"]
    assert main.run(["ps", "-q", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0] == row
    corral.answers["/api/corral/queue"] = say({"waiting": []})
    assert main.run(["ps", "--queue"]) == 0
    assert "Nobody waits." in capsys.readouterr().err


def test_ps(corral: Script, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["ps"]) == 0
    head, row, *rest = capsys.readouterr().out.splitlines()
    assert head == "MODEL  STATE    RAM  VRAM  CONTEXT  SLOTS  QUEUE  WAIT  TTL LEFT  PID  LOAD"
    assert row.split() == ["coder", "ready", "1", "GiB", "-", "-", "1/2", "0", "-", "30s", "42", "2s"]
    assert rest == [], "a Model that is not loaded is not shown"
    assert main.run(["ps", "--all", "--json"]) == 0
    assert [row["model"] for row in json.loads(capsys.readouterr().out)] == ["coder", "idle"]


def test_ps_tells_why_a_model_failed(corral: Script, capsys: pytest.CaptureFixture[str]) -> None:
    failed = {**MODEL, "state": "failed", "error": "It has no weights.", "retry_in_s": 12.0}
    corral.answers["/api/corral/status"] = say({**STATUS, "models": [failed]})
    assert main.run(["ps"]) == 0
    assert capsys.readouterr().err == "coder: It has no weights. Next try in 12s.\n"


def test_status(corral: Script, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["status"]) == 0
    text = capsys.readouterr().out
    for part in ("9, pid 7", "http://127.0.0.1:1", "1 GiB of 2 GiB", "1 ready, 1 stopped"):
        assert part in text


def test_status_names_the_port_for_ollamas_clients(corral: Script, capsys: pytest.CaptureFixture[str]) -> None:
    corral.answers["/api/corral/status"] = say({**STATUS, "ollama_address": "http://127.0.0.1:2"})
    assert main.run(["status"]) == 0
    assert "ollama   http://127.0.0.1:2\n" in capsys.readouterr().out
    corral.answers["/api/corral/status"] = say({**STATUS, "ollama_address": ""})
    assert main.run(["status"]) == 0
    assert "ollama" not in capsys.readouterr().out


def test_load_and_unload(corral: Script, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["load", "coder"]) == 0
    assert capsys.readouterr().out == "coder is ready.\n"
    assert main.run(["unload", "coder", "--force"]) == 0
    assert main.run(["unload", "--all"]) == 0
    assert capsys.readouterr().out == "Unloaded: coder.\nUnloaded: coder.\n"
    bodies = [{key: body[key] for key in body if key != "timeout_s"} for _, body in corral.asked]
    assert bodies == [
        {"model": "coder"},
        {"model": "coder", "all": False, "force": True},
        {"model": "", "all": True, "force": False},
    ]
    assert main.run(["unload"]) == 2
    assert "Name the Models to unload" in capsys.readouterr().err


def test_a_refusal_is_told_in_the_servers_words(corral: Script, capsys: pytest.CaptureFixture[str]) -> None:
    corral.answers["/api/corral/load"] = refuse(404, "No Model is named 'codr'. Did you mean 'coder'?")
    assert main.run(["load", "codr"]) == 1
    assert "corral: No Model is named 'codr'. Did you mean 'coder'?\n" in capsys.readouterr().err


def test_a_terminal_is_told_of_commands_where_programs_are_told_of_routes(
    corral: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    corral.answers["/api/corral/load"] = refuse(404, UnknownModel("nobody").sentence())
    assert UnknownModel("nobody").sentence() == "No Model is named 'nobody'. GET /v1/models lists them."
    assert main.run(["load", "nobody"]) == 1
    assert capsys.readouterr().err.endswith("corral: No Model is named 'nobody'. `corral ps --all` lists them.\n")


def test_logs(corral: Script, capsys: pytest.CaptureFixture[str]) -> None:
    corral.answers["/api/corral/logs"] = stream("one", "t\x1b[2Jwo")
    assert main.run(["logs", "-n", "5"]) == 0
    assert capsys.readouterr().out == "one\nt\N{REPLACEMENT CHARACTER}[2Jwo\n"
    assert corral.asked[-1][0] == "/api/corral/logs?model=coder&tail=5&follow=0", "the only one that was started"
    assert main.run(["logs", "coder", "--follow", "--json"]) == 0
    assert "follow=1" in corral.asked[-1][0]


def delta(**fields: str) -> str:
    return "data: " + json.dumps({"choices": [{"delta": fields}]})


def pipe(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "corral", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_run_in_a_pipe_prints_the_answer_alone(corral: Script) -> None:
    corral.answers["/v1/chat/completions"] = stream(
        delta(role="assistant"),
        delta(reasoning_content="hm"),
        delta(content="I am "),
        delta(content="coder."),
        "data: [DONE]",
    )
    ran = pipe("run", "coder", "--set", "temperature=0", "--system", "be brief", stdin="who are you?\n")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "I am coder.\n", "")
    body = corral.asked[-1][1]
    assert body["messages"] == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "who are you?"}]
    assert (body["stream"], body["temperature"]) == (True, 0.0)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (refuse(503, "The queue is full."), "corral: The queue is full.\n"),
        (
            stream(delta(content="half"), 'data: {"error": {"message": "it died"}}'),
            "corral: The answer broke off: it died\n",
        ),
        (stream(delta(content="half")), "corral: The answer broke off.\n"),
    ],
)
def test_run_fails_with_a_sentence(corral: Script, answer: Answer, told: str) -> None:
    corral.answers["/v1/chat/completions"] = answer
    ran = pipe("run", "coder", "hi")
    assert (ran.returncode, ran.stderr) == (1, told)


def test_run_without_a_question(corral: Script) -> None:
    ran = pipe("run", "coder")
    assert ran.returncode == 2 and "nothing to ask" in ran.stderr


def test_a_broken_pipe_is_quiet(corral: Script) -> None:
    corral.answers["/api/corral/logs"] = stream(*("x" * 200 for _ in range(5000)))
    with subprocess.Popen(
        [sys.executable, "-m", "corral", "logs", "coder"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None and child.stderr is not None
        child.stdout.read(100)
        child.stdout.close()
        assert (child.stderr.read(), child.wait(30)) == (b"", 1)


@pytest.mark.parametrize(
    ("server", "code", "told"),
    [
        ("http://127.0.0.1:9", 1, "Nobody answers at http://127.0.0.1:9"),
        ("127.0.0.1:9", 2, "must begin with http:// or https://"),
        ("http://[bad", 2, "is not an address"),
        ("http://no-such-host.invalid", 1, "Nobody answers at"),
    ],
)
def test_a_wrong_server(capsys: pytest.CaptureFixture[str], server: str, code: int, told: str) -> None:
    assert main.run(["ps", "--server", server]) == code
    assert told in capsys.readouterr().err


def test_something_that_is_no_corral(corral: Script, capsys: pytest.CaptureFixture[str]) -> None:
    corral.answers["/api/corral/status"] = say([1])
    assert main.run(["ps"]) == 1
    corral.answers["/api/corral/status"] = stream("<html>")
    assert main.run(["status"]) == 1
    assert capsys.readouterr().err.count("is not a Corral") == 2


def test_help_and_version_answer_at_once(tmp_path: Path) -> None:
    """200 ms on a machine that does nothing else: CPU time is held to it here, the best of five."""
    best = {}
    for argument in ("--help", "--version", "-h"):
        times = []
        for _ in range(5):
            before = os.times()
            began = time.perf_counter()
            subprocess.run([sys.executable, "-m", "corral", argument], capture_output=True, check=True, cwd=tmp_path)
            after = os.times()
            cpu = after.children_user - before.children_user + after.children_system - before.children_system
            times.append(min(cpu, time.perf_counter() - began))
        best[argument] = min(times)
    assert max(best.values()) < 0.2, best


@pytest.mark.parametrize(
    ("words", "heavy"),
    [
        (["--help"], ["pydantic", "yaml", "rich", "starlette", "msgspec", "asyncio", "http.client"]),
        (["models", "list"], ["corral.app", "corral.gateway", "corral.scheduler", "starlette", "rich", "http.client"]),
        (["config", "validate"], ["corral.app", "corral.gateway", "corral.scheduler", "starlette", "rich"]),
    ],
)
def test_small_commands_import_nothing_that_they_do_not_need(
    tmp_path: Path, words: list[str], heavy: list[str]
) -> None:
    (tmp_path / "corral.yaml").write_text("version: 1\n")
    code = (
        "import sys; from corral.cli import main; code = main.run(sys.argv[2:]);"
        "found = set(sys.argv[1].split(',')) & set(sys.modules);"
        "sys.exit(str(found) if found else code)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, ",".join(heavy), *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)},
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
