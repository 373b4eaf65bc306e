"""Corral runs local language models and serves all of them under one address."""

from corral.version import __version__

__all__ = ["__version__"]
