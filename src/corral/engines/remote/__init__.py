"""An OpenAI-speaking server that already runs: nothing is started or stopped, only attached to."""

from corral.engines.remote.engine import RemoteEngine

__all__ = ["RemoteEngine"]
