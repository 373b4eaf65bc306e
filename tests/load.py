"""Mixed load on a Corral, with every answer judged: right, refused in its shape, or a failure of the test."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.corrals import Running

REFUSALS = {
    "queue_full", "queue_timeout", "model_unloaded", "engine_start_failed", "engine_died", "engine_timeout",
    "no_memory", "engine_failed", "place_failed",
}  # fmt: skip


@dataclass
class Load:
    """What is asked and what came of it. `texts` is the answer that each Model must give."""

    running: Running
    texts: dict[str, str]
    seed: int
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    leaves: bool = True

    async def run(self, *, workers: int, seconds: float) -> None:
        """So many clients, each with its own random numbers, for so long."""
        end = asyncio.get_running_loop().time() + seconds
        await asyncio.gather(*(self._worker(random.Random(self.seed * 1000 + n), end) for n in range(workers)))

    async def _worker(self, rng: random.Random, end: float) -> None:
        while asyncio.get_running_loop().time() < end:
            model = rng.choice(list(self.texts))
            kind = rng.choices(["plain", "stream", "leave"], [5, 5, 1 if self.leaves else 0])[0]
            try:
                async with asyncio.timeout(45):
                    outcome = await getattr(self, f"_{kind}")(model, rng)
            except TimeoutError:
                outcome = "lost"
            except httpx2.TransportError as error:
                outcome = f"broken {type(error).__name__}"
            if outcome not in ("ok", "left") and not outcome.startswith("refused"):
                self.wrong.append(f"{kind} {model}: {outcome}")
            self.outcomes[outcome] += 1
            await asyncio.sleep(rng.random() * 0.02)

    async def _plain(self, model: str, rng: random.Random) -> str:
        answer = await self.running.chat(model, **self.extra)
        if answer.status_code != 200:
            return self._refusal(answer.status_code, answer.text)
        text = answer.json()["choices"][0]["message"]["content"]
        return "ok" if text == self.texts[model] else f"wrong text {text!r}"

    async def _stream(self, model: str, rng: random.Random) -> str:
        body = {"model": model, "messages": [{"role": "user", "content": "hello"}], "stream": True, **self.extra}
        async with self.running.http.stream("POST", "/v1/chat/completions", json=body) as answer:
            if answer.status_code != 200:
                return self._refusal(answer.status_code, (await answer.aread()).decode())
            return self._judge([line async for line in answer.aiter_lines()], self.texts[model])

    async def _leave(self, model: str, rng: random.Random) -> str:
        """A client that goes away at a random moment."""
        try:
            async with asyncio.timeout(rng.random() * 0.2):
                await self._stream(model, rng)
        except TimeoutError:
            return "left"
        return "ok"

    @staticmethod
    def _refusal(status: int, text: str) -> str:
        try:
            error = json.loads(text)["error"]
        except (ValueError, KeyError, TypeError):
            return f"status {status} without a proper body: {text[:200]}"
        if error["code"] in REFUSALS and status in (502, 503, 504) and error["message"]:
            return f"refused {error['code']}"
        return f"unexpected {status} {text[:200]}"

    @staticmethod
    def _judge(lines: list[str], wanted: str) -> str:
        text, done, errors = "", 0, []
        for line in lines:
            if line == "data: [DONE]":
                done += 1
            elif line.startswith("data: "):
                event = json.loads(line[6:])
                if "error" in event:
                    errors.append(event["error"])
                for choice in event.get("choices", ()):
                    text += choice["delta"].get("content") or ""
        if errors:
            whole = len(errors) == 1 and not done and wanted.startswith(text)
            return f"refused {errors[0]['code']}" if whole else f"bad end: {errors} done={done} {text!r}"
        return "ok" if (text, done) == (wanted, 1) else f"wrong stream {text!r} done={done}"
