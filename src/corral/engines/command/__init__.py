"""Any other program that speaks HTTP, by its command line."""

from corral.engines.command.engine import CommandEngine

__all__ = ["CommandEngine"]
