"""Mixed load on a Corral in every dialect, each answer judged: right, refused in its shape, or the test fails."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.clients import CHATS, Broken, Client, Failure
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
    by_route: Counter[str] = field(default_factory=Counter)
    """Route and kind of what was right."""
    wrong: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    leaves: bool = True
    clients: Sequence[Client] = CHATS

    async def run(self, *, workers: int, seconds: float) -> None:
        """So many clients, each with its own random numbers, for so long."""
        end = asyncio.get_running_loop().time() + seconds
        await asyncio.gather(*(self._worker(random.Random(self.seed * 1000 + n), end) for n in range(workers)))

    async def _worker(self, rng: random.Random, end: float) -> None:
        while asyncio.get_running_loop().time() < end:
            model, client = rng.choice(list(self.texts)), rng.choice(self.clients)
            kind = rng.choices(["plain", "stream", "leave"], [5, 5, 1 if self.leaves else 0])[0]
            try:
                async with asyncio.timeout(45):
                    outcome = await getattr(self, f"_{kind}")(client, model, rng)
            except TimeoutError:
                outcome = "lost"
            except Broken as error:
                outcome = f"broken rules: {error}"
            except httpx2.TransportError as error:
                outcome = f"broken {type(error).__name__}"
            if outcome not in ("ok", "left") and not outcome.startswith("refused"):
                self.wrong.append(f"{client.path} {kind} {model}: {outcome}")
            self.outcomes[outcome] += 1
            if outcome == "ok":
                self.by_route[f"{client.path} {kind}"] += 1
            await asyncio.sleep(rng.random() * 0.02)

    async def _plain(self, client: Client, model: str, rng: random.Random, *, stream: bool = False) -> str:
        answer = await self.running.http.post(client.path, json=client.body(model, stream=stream, **self.extra))
        return self._judged(client, model, answer, stream=stream)

    async def _stream(self, client: Client, model: str, rng: random.Random) -> str:
        return await self._plain(client, model, rng, stream=True)

    async def _leave(self, client: Client, model: str, rng: random.Random) -> str:
        """A client that goes away at a random moment."""
        try:
            async with asyncio.timeout(rng.random() * 0.2):
                return await self._plain(client, model, rng, stream=rng.random() < 0.7)
        except TimeoutError:
            return "left"

    def _judged(self, client: Client, model: str, answer: httpx2.Response, *, stream: bool) -> str:
        if answer.status_code != 200:
            failure, status = client.error(answer.content), answer.status_code
            return self._refusal(failure) if status in (502, 503, 504) else f"unexpected {status} {answer.text[:200]}"
        told, wanted = client.answer(answer.content, stream=stream), self.texts[model]
        if told.failure is not None:
            whole = wanted.startswith(told.text)
            return self._refusal(told.failure) if whole else f"wrong text {told.text!r} before {told.failure}"
        return "ok" if (told.text, told.reason) == (wanted, "stop") else f"wrong answer {told}"

    @staticmethod
    def _refusal(failure: Failure) -> str:
        return f"refused {failure.code}" if failure.code in REFUSALS else f"unexpected {failure}"
