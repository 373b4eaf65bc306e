"""`corral serve` as a systemd service of Type=notify."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

from tests.models import ADA, model


async def test_ready_and_stopping_are_told(short_tmp: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(short_tmp / "notify"))
        listener.setblocking(False)
        env = {**os.environ, "NOTIFY_SOCKET": str(short_tmp / "notify"), "XDG_RUNTIME_DIR": str(short_tmp)}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "corral", "serve", str(model(ADA)), "--port", "0",
            "--state-dir", str(short_tmp / "s"), env=env, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(20):
            assert await loop.sock_recv(listener, 100) == b"READY=1"
            process.send_signal(signal.SIGTERM)
            assert await loop.sock_recv(listener, 100) == b"STOPPING=1"
            assert await process.wait() == 0
