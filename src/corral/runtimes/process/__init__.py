"""
Engines as plain processes of this host, under a keeper.

The driver is imported on first use: the keeper lives below this package and must not load it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from corral.runtimes.process.driver import ProcessRuntime as ProcessRuntime

__all__ = ["ProcessRuntime"]


def __getattr__(name: str) -> Any:
    if name == "ProcessRuntime":
        from corral.runtimes.process.driver import ProcessRuntime

        return ProcessRuntime
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
