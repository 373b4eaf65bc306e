"""The scrape of engines: who failed is counted, who has ended meanwhile is not."""

from __future__ import annotations

import pytest

from corral.domain.launch import Endpoint
from corral.observability import engines
from corral.observability.engines import EngineMetrics, EngineScrape


class Scene:
    """Engines by instance, and what each answers; an answer may be that it ends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **answers: str | None) -> None:
        self.answers = answers
        self.there = [EngineMetrics(f"m-{name}", name, Endpoint(), "/metrics") for name in answers]
        self.at = 0.0
        self.scrape = EngineScrape(lambda: list(self.there), now=lambda: self.at)

        async def ask(scrape: EngineScrape, engine: EngineMetrics) -> str | None:
            if self.answers[engine.instance] == "ends":
                self.there = [each for each in self.there if each is not engine]
                return None
            return self.answers[engine.instance]

        monkeypatch.setattr(engines.EngineScrape, "_ask", ask)

    def failures(self) -> dict[str, float]:
        (family,) = self.scrape.collect()
        return {each.labels["model"]: each.value for each in family.samples if each.name.endswith("_total")}


async def test_who_does_not_answer_is_counted_and_who_ends_or_has_none_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, good="up 1\n", mute=None, ending="ends", bare="")
    text = await scene.scrape.text()
    assert 'up{model="m-good"} 1' in text and "mute" not in text
    assert scene.failures() == {"m-mute": 1.0}


async def test_an_answer_is_kept_for_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, a="up 1\n")
    first = await scene.scrape.text()
    scene.answers["a"] = "up 2\n"
    scene.at = 0.9
    assert await scene.scrape.text() == first
    scene.at = 1.0
    assert 'up{model="m-a"} 2' in await scene.scrape.text()
