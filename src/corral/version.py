"""The version of this release; `pyproject.toml` and this file agree by test."""

__version__ = "0.1.0"
