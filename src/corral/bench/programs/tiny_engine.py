"""
An engine that is there in a blink: `python -I -S tiny_engine.py PORT`. One answer for everything, one at a time.

What a swap costs beyond the engine's own start is measured with it, so it imports next to nothing.
"""

import socket
import sys

BODY = (
    b'{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"finish_reason":"stop",'
    b'"message":{"role":"assistant","content":"hello"}}],'
    b'"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(BODY)
) + BODY


def main(port: int) -> None:
    """Serve until killed."""
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", port))
    server.listen(128)
    while True:
        client, _ = server.accept()
        with client:
            client.settimeout(5)
            try:
                serve(client)
            except OSError:
                pass


def serve(client: socket.socket) -> None:
    """One request, wholly read, and the answer."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = client.recv(65536)
        if not piece:
            return
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            left = int(line[15:]) - len(body)
            while left > 0:
                left -= len(client.recv(65536)) or left
    client.sendall(ANSWER)


if __name__ == "__main__":
    main(int(sys.argv[1]))
