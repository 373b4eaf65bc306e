"""Tiny models for the demo and for tests: real GGUF files, made in milliseconds, served by the real llama.cpp."""

from corral.store.gguf.demo.broken import Damage, broken, damaged
from corral.store.gguf.demo.build import build, embed, obey, rerank, say
from corral.store.gguf.demo.spec import DemoSpec, Task

__all__ = ["Damage", "DemoSpec", "Task", "broken", "build", "damaged", "embed", "obey", "rerank", "say"]
