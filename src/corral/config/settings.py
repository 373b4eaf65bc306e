"""What a config means: everything that the rooms of Corral are built from."""

from __future__ import annotations

from dataclasses import dataclass

from corral.domain.fleet import Fleet
from corral.domain.serving import ServerSpec


@dataclass(frozen=True, slots=True)
class LogSpec:
    """How Corral's own log is written. `file` "" is standard error."""

    level: str = "info"
    format: str = "text"
    file: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """
    A whole, checked configuration.

    With `ram_auto` the Fleet's `ram_budget_bytes` is None and the app puts in what the machine or the cgroup has, less
    `ram_reserve_bytes`. `warnings` are sentences for the operator about things that work but may not be meant.
    """

    fleet: Fleet
    server: ServerSpec
    log: LogSpec
    state_dir: str
    ram_auto: bool = True
    ram_reserve_bytes: int = 1024**3
    keep_engines_s: float | None = None  # None: engines end with Corral; else they wait this long for the next one
    hidden_env: frozenset[str] = frozenset()  # variables that hold the server's own secrets: no engine may see them
    config_file: str = ""  # "" when there is none
    warnings: tuple[str, ...] = ()
