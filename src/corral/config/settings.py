"""What a config means: everything that the rooms of Corral are built from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from corral.domain.devices import MemorySpec
from corral.domain.fleet import Fleet
from corral.domain.serving import ServerSpec
from corral.domain.storage import StoreSpec


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

    The Fleet has no `budgets` yet: the app works them out from `memory` and what the host has.
    `warnings` are sentences for the operator about things that work but may not be meant.
    """

    fleet: Fleet
    server: ServerSpec
    log: LogSpec
    state_dir: str
    memory: MemorySpec = field(default_factory=MemorySpec)
    store: StoreSpec = field(default_factory=StoreSpec)
    keep_engines_s: float | None = None  # None: engines end with Corral; else they wait this long for the next one
    hidden_env: frozenset[str] = frozenset()  # variables that hold the server's own secrets: no engine may see them
    config_file: str = ""  # "" when there is none
    warnings: tuple[str, ...] = ()


NEED_A_RESTART: Final = {
    "server": "server",
    "log": "log",
    "store": "store",
    "state_dir": "state_dir",
    "keep_engines_s": "on_exit and keep_for",
}
"""What a reload leaves as it is, with its name in the config. What makes the Fleet of it is taken up."""


def taken_up(now: Settings, wanted: Settings) -> tuple[Settings, list[str]]:
    """What a reload makes of the Settings that are in force, and the sections that wait for a restart."""
    kept = {name: getattr(now, name) for name in NEED_A_RESTART}
    kept["store"] = replace(
        now.store,
        serve=wanted.store.serve,
        auto_download=wanted.store.auto_download,
        api_pull=wanted.store.api_pull,
    )
    waiting = [words for name, words in NEED_A_RESTART.items() if getattr(wanted, name) != kept[name]]
    return replace(wanted, **kept), waiting
