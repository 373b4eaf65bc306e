"""A load that takes its time, with the real embedded llama.cpp: its own percentages, seen from every side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from corral.domain.fleet import Timeouts
from corral.store.gguf.demo import DemoSpec, build
from tests.corrals import corral, gguf

SIZE_BYTES = 1_200_000_000
"""More than 0.2 s to read, from a warm cache too: llama.cpp tells its progress that often."""


@pytest.fixture
def big(tmp_path: Path) -> Any:
    path = build(tmp_path / "big.gguf", DemoSpec(name="Big", sentence="I am big.", layers=24, size_bytes=SIZE_BYTES))[0]
    yield path
    path.unlink()


async def test_percentages_rise_and_are_told(big: Path) -> None:
    model = gguf(
        big,
        binary="embedded",
        options={"load_mode": "none"},
        loading_state="reasoning",
        timeouts=Timeouts(heartbeat_s=0.1),
    )
    told: list[str] = []
    text, seen = "", set()
    async with corral({"big": model}) as running:
        body = {"model": "big", "messages": [{"role": "user", "content": "hi"}], "stream": True, "max_tokens": 16}
        async with running.http.stream("POST", "/v1/chat/completions", json=body) as answer:
            assert answer.status_code == 200
            async for line in answer.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                view = running.app.scheduler.view("big")
                if view is not None and view.progress is not None:
                    seen.add(view.progress)
                delta = json.loads(line[6:])["choices"][0]["delta"] if json.loads(line[6:])["choices"] else {}
                told.append(delta.get("reasoning_content") or "")
                text += delta.get("content") or ""
        log = [line async for line in running.app.control.logs("big", tail=None, follow=False)]
    percents = [int(words.split(" %")[0].split()[-1]) for words in told if " %" in words]
    assert percents == sorted(percents) and [each for each in percents if 0 < each < 100], told
    assert seen and text.startswith("I am big.")
    assert log and not any("cmd_child_to_router" in line for line in log)
