"""
Which llama.cpp a whole Corral runs in these tests: the embedded one, and the program where there is one.

    @pytest.mark.parametrize("engine", ENGINES)
    async def test_it(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
        async with talkers(engine, monkeypatch) as client:
            ...
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from openai import AsyncOpenAI

from tests.corrals import corral, gguf
from tests.models import ADA, OBEY, THINKER, model

ENGINES: Final[list[Any]] = ["embedded", pytest.param("binary", marks=pytest.mark.llama_server)]


def binary_of(engine: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a Model's `binary` is for it. No llama-server is on the PATH: without `binary` it is the embedded one."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    return os.environ["CORRAL_TEST_LLAMA_SERVER"] if engine == "binary" else ""


@contextlib.asynccontextmanager
async def talkers(engine: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AsyncOpenAI]:
    """A client of a Corral with one Model that talks, one that thinks, and one that obeys grammars."""
    binary = binary_of(engine, monkeypatch)
    specs = {"ada": ADA, "thinker": THINKER, "obey": OBEY}
    async with corral({name: gguf(model(spec), binary=binary) for name, spec in specs.items()}) as running:
        async with AsyncOpenAI(base_url=f"{running.info.address}/v1", api_key="none", max_retries=0) as client:
            yield client
