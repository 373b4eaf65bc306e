"""An engine with voice, ear and brush, for the examples: `python studio.py PORT`."""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

SENTENCE: Final = "Good morning."
WAV: Final = b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\0\0\0\0"
PIXEL: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


class Studio(BaseHTTPRequestHandler):
    """Says the same to everybody, but only to a request that is whole."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """The health check."""
        self._answer(b'{"status": "ok"}')

    def do_POST(self) -> None:
        """Speak, listen or paint."""
        body = self.rfile.read(int(self.headers["content-length"]))
        form = "multipart/form-data" in self.headers["content-type"]
        whole = body.rstrip().endswith(b"--") and (b"RIFF" in body or b"PNG" in body) if form else json.loads(body)
        if not whole:
            self.send_error(400)
        elif self.path == "/v1/audio/speech":
            self._answer(WAV, "audio/wav")
        elif self.path.startswith("/v1/audio/"):
            self._answer(json.dumps({"text": SENTENCE}).encode())
        else:
            self._answer(json.dumps({"created": 0, "data": [{"b64_json": PIXEL}]}).encode())

    def _answer(self, body: bytes, kind: str = "application/json") -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Studio).serve_forever()
