"""
A pytest plugin for llama.cpp's tests: nothing is downloaded, and a test begins when the engine is loaded.

A lone llama-server is healthy once its model is loaded; Corral is healthy at once and `/ready` when its pinned Models
are up, so with Corral a start waits for that too. Loaded in their interpreter, with `-p`; it needs nothing of ours.
"""

from __future__ import annotations

import os
import time
import urllib.error
import urllib.request
from typing import Any


def pytest_configure() -> None:
    """Replace what downloads, and the wait for a start."""
    import utils  # type: ignore[import-not-found]  # theirs, found in their folder

    utils.ServerPreset.load_all = staticmethod(lambda: None)
    if os.environ["COMPAT_MODE"] == "corral":
        healthy = utils.ServerProcess.start

        def start(self: Any, *args: Any, **options: Any) -> None:
            healthy(self, *args, **options)
            _until_ready(self)

        utils.ServerProcess.start = start


def _until_ready(server: Any) -> None:
    deadline = time.monotonic() + 12
    while True:
        if server.process.poll() is not None:
            raise RuntimeError(f"Server process died with return code {server.process.returncode}")
        try:
            with urllib.request.urlopen(f"http://{server.server_host}:{server.server_port}/ready", timeout=2):
                return
        except urllib.error.HTTPError as answer:
            if time.monotonic() > deadline:
                raise TimeoutError(f"The engine did not start: {answer.read().decode()[:2000]}") from None
        time.sleep(0.02)
