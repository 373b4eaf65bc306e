"""
The engines' own metrics, scraped when Corral is scraped.

No lease is taken and nothing is woken or kept: the engines are asked straight away, all at once and for a moment only.
One that does not answer in that moment is left out and counted; Corral's own metrics never wait longer. Answers are
kept for a second: some gauges of llama-server are averages since the last scrape, and two scrapers would halve them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from corral.domain.launch import Endpoint
from corral.kit.localhttp import LocalConnection, NotHttp
from corral.kit.tasks import Tasks
from corral.observability.exposition import merge
from corral.observability.series import Count

logger = logging.getLogger(__name__)

DEADLINE_S: Final = 0.5
"""For all engines together; Prometheus itself waits ten seconds by default."""
KEPT_S: Final = 1.0
_HAS_NONE: Final = (404, 501)
"""An engine that was started without metrics says so, and that is no failure."""


@dataclass(frozen=True, slots=True)
class EngineMetrics:
    """Where a ready engine shows its metrics."""

    model: str
    instance: str
    endpoint: Endpoint
    path: str


class EngineScrape(Collector):
    """`await text()` for all ready engines; `failures` counts those that did not answer."""

    def __init__(
        self,
        engines: Callable[[], Sequence[EngineMetrics]],
        *,
        now: Callable[[], float],
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._engines = engines
        self._now = now
        self._deadline_s = deadline_s
        self._tasks = Tasks("scrape engines")
        self._turn = asyncio.Lock()
        self._text = ""
        self._at: float | None = None
        self.failures = Count(
            "corral_engine_scrape_failures", "Scrapes of an engine's own metrics that gave nothing.", ("model",)
        )

    async def text(self) -> str:
        """Merged, in Prometheus' text format; "" when no engine has any."""
        async with self._turn:
            if self._at is None or self._now() - self._at >= KEPT_S:
                self._text = await self._scrape()
                self._at = self._now()
            return self._text

    def collect(self) -> Iterable[Metric]:
        """For `Metrics.also`."""
        yield self.failures.taken()()

    async def aclose(self) -> None:
        """End what is under way."""
        await self._tasks.aclose()

    async def _scrape(self) -> str:
        engines = self._engines()
        asked = {
            engine.instance: self._tasks.start(self._ask(engine), name=f"metrics of {engine.model}")
            for engine in engines
        }
        if asked:
            await asyncio.wait(asked.values(), timeout=self._deadline_s)
        found = []
        for engine in engines:
            task = asked[engine.instance]
            text: str | None = task.result() if task.done() and not task.cancelled() else None
            task.cancel()
            if text is None:
                if any(still.instance == engine.instance for still in self._engines()):  # it did not just end
                    self.failures.add((engine.model,))
            elif text:
                found.append((engine.model, text))
        # Reading thousands of lines takes milliseconds that answers should not wait for.
        return await asyncio.to_thread(merge, found) if found else ""

    async def _ask(self, engine: EngineMetrics) -> str | None:
        """The text, "" when it has none, None when it fails."""
        end = engine.endpoint
        headers = {"Authorization": f"Bearer {end.key}"} if end.key else {}
        async with LocalConnection(socket=end.socket, host=end.host, port=end.port) as link:
            try:
                answer = await link.get(end.base_path + engine.path, headers=headers, timeout_s=self._deadline_s)
            except (OSError, TimeoutError, NotHttp) as error:
                logger.debug("no metrics of %s: %r", engine.model, error)
                return None
        if answer.status in _HAS_NONE:
            return ""
        return answer.body.decode("utf-8", "replace") if answer.status == 200 else None
