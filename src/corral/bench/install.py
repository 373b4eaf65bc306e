"""
Programs of others, fetched into the cache folder when `--install-peers` asks for it; none is a dependency of Corral.

They come through the ordinary clients, pip and go, with whatever index and proxy those are set up for.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

BUILD_S: Final = 600.0
REQUIREMENTS: Final = {"asgi": ("uvicorn[standard]", "aiohttp"), "litellm": ("litellm[proxy]",)}


def venv(cache: str, name: str, program: str, *, install: bool) -> str:
    """The path of a program in an environment of the cache, made if it may be; empty when it is not there."""
    folder = os.path.join(cache, name)
    path = os.path.join(folder, "bin", program)
    done = os.path.join(folder, "complete")
    if install and not os.path.exists(done):
        _run([sys.executable, "-m", "venv", folder])
        if _run([os.path.join(folder, "bin", "python"), "-m", "pip", "install", "-q", *REQUIREMENTS[name]]):
            with open(done, "w", encoding="utf-8"):
                pass
    return path if os.path.exists(done) and os.path.exists(path) else ""


def go_program(cache: str, name: str, module: str, *, install: bool) -> str:
    """The path of a program that `go install` puts into the cache; empty when it is not there."""
    folder = os.path.join(cache, "bin")
    path = os.path.join(folder, name)
    if install and not os.path.exists(path):
        _run(["go", "install", module], {"GOBIN": folder})
    return path if os.path.exists(path) else ""


def _run(argv: list[str], env: dict[str, str] | None = None) -> bool:
    """True when it worked; what failed is said, and the peer stays missing."""
    from corral.domain.errors import PlaceFailed

    try:
        done = subprocess.run(
            argv, env={**os.environ, **(env or {})}, capture_output=True, text=True, timeout=BUILD_S, check=False
        )
    except FileNotFoundError:
        return False
    except subprocess.TimeoutExpired:
        raise PlaceFailed(f"{' '.join(argv)} took more than {BUILD_S:.0f} s.") from None
    if done.returncode:
        words = [text for text in done.stderr.splitlines() if text.strip()]
        print(f"bench: {' '.join(argv)}: {words[-1] if words else done.returncode}", file=sys.stderr, flush=True)
    return done.returncode == 0
