"""
Every engine by the name that configs use: the one place that knows them.

It stands apart from `app` so that a command that only reads a config has no gateway and no scheduler to import.
"""

from __future__ import annotations

import os
from pathlib import Path

from corral.config.paths import cache_dir
from corral.contracts.engine import Engine
from corral.engines.command import CommandEngine
from corral.engines.llamacpp import LlamaCppEngine
from corral.engines.remote import RemoteEngine
from corral.store.gguf.reader import read_header


def engines(hidden_env: frozenset[str] = frozenset()) -> dict[str, Engine]:
    """`hidden_env`: see Settings."""
    probed = Path(cache_dir(os.environ)) / "probe"  # what binaries can do, remembered over restarts
    return {
        "llamacpp": LlamaCppEngine(cache=probed, hidden_env=hidden_env, headers=read_header),
        "command": CommandEngine(),
        "remote": RemoteEngine(),
    }
