"""Programs for command Models: small servers as a user may have them, written into a folder and started by path."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from corral.domain.fleet import ModelSpec

SERVER = '''
"""An OpenAI-speaking server on the standard library's HTTP/1.0 server: one thread, one request at a time."""
import argparse, http.server, json, os, signal, socketserver, sys, threading, time

parser = argparse.ArgumentParser()
parser.add_argument("--host", default="127.0.0.1")
parser.add_argument("--port", type=int, default=0)
parser.add_argument("--prefix", default="/v1")
parser.add_argument("--name", default="")
parser.add_argument("--say", action="append", default=[])
parser.add_argument("--load-s", type=float, default=0)
parser.add_argument("--say-later", default="")
parser.add_argument("--later-s", type=float, default=0)
parser.add_argument("--health", type=int, default=200)
parser.add_argument("--status", type=int, default=200)
parser.add_argument("--deaf", action="store_true")
parser.add_argument("--raw-bytes", action="store_true")
options = parser.parse_args()
if options.deaf:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b"asked to end\\n"), os._exit(0)))
for line in options.say:
    print(line)
if options.raw_bytes:
    sys.stdout.buffer.write(bytes(range(256)) * 400 + b"x" * 200_000 + b"\\n")
    sys.stdout.flush()
time.sleep(options.load_s)


class Handler(http.server.BaseHTTPRequestHandler):
    def reply(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        self.reply(options.health if self.path == "/health" else 404, {"pid": os.getpid()})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/stop":
            self.reply(200, {})
            os._exit(0)
        if not self.path.startswith(options.prefix + "/"):
            return self.reply(404, {"error": {"message": "no such route: " + self.path}})
        if options.status != 200:
            return self.reply(options.status, {"error": {"message": "the program failed"}})
        if "multipart" in self.headers["Content-Type"]:
            return self.reply(200, {"text": body.decode("latin-1")})
        asked = json.loads(body)
        if options.name and asked["model"] != options.name:
            return self.reply(404, {"error": {"message": "The model does not exist: " + asked["model"]}})
        text = "I am " + asked["model"] + " with " + self.headers.get("Authorization", "no key")
        self.reply(200, {"choices": [{"message": {"content": text}}], "model": asked["model"], "raw": body.decode()})


class Server(socketserver.TCPServer):
    allow_reuse_address = True


with Server((options.host, options.port), Handler) as server:
    print("serving at port", server.server_address[1], flush=True)
    if options.say_later:
        threading.Timer(options.later_s, lambda: print(options.say_later, flush=True)).start()
    server.serve_forever()
'''


def server(folder: Path) -> str:
    """The server's path."""
    path = folder / "server.py"
    if not path.exists():
        path.write_text(SERVER)
    return str(path)


def command(*words: str, env: tuple[tuple[str, str], ...] = (), slots: int = 4, **fields: Any) -> ModelSpec:
    """A command Model; keywords that are fields of ModelSpec are those, others are options."""
    known = {name: fields.pop(name) for name in ("timeouts", "aliases", "ttl_s", "args", "source") if name in fields}
    options = {"command": words, "parallel": slots, **fields}
    return ModelSpec("", engine="command", env=env, options=options, slots=slots, **known)


def script(folder: Path, *flags: str, port: str = "{port}", **fields: Any) -> ModelSpec:
    """A command Model that runs the server."""
    return command(sys.executable, server(folder), "--port", port, *flags, **fields)
