"""Ports of this host."""

from __future__ import annotations

import socket


def free_port() -> int:
    """A loopback port that is free now. Another program may take it before it is used: prefer unix sockets."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
