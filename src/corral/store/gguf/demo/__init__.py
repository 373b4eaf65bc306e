"""Tiny models for the demo and for tests: real GGUF files, made in milliseconds, served by the real llama.cpp."""

from corral.store.gguf.demo.build import build, embed, obey, rerank, say
from corral.store.gguf.demo.spec import DemoSpec, Task

__all__ = ["DemoSpec", "Task", "build", "embed", "obey", "rerank", "say"]
