"""One scrape for all: Corral's own metrics and those of the engines behind it."""

from __future__ import annotations

import asyncio
import time

from prometheus_client.parser import text_string_to_metric_families

from corral.domain.devices import RAM
from corral.fakes.devices import FakeDevices
from tests.corrals import Running, corral, fake

GIB = 1024**3


async def scrape(running: Running) -> dict[tuple[str, str], float]:
    """(sample name, Model or device) -> value."""
    answer = await running.http.get("/metrics")
    assert answer.status_code == 200
    return {
        (sample.name, sample.labels.get("model", sample.labels.get("device", ""))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def test_the_engines_metrics_stand_among_ours_by_model() -> None:
    async with corral({"a": fake(), "b": fake(), "c": fake()}) as running:
        await running.text("a")
        await running.text("b")
        await running.text("b")
        seen = await scrape(running)

        assert (seen["llamacpp:n_decode_total", "a"], seen["llamacpp:n_decode_total", "b"]) == (1, 2)
        assert seen["corral_requests_total", "b"] == 2
        assert ("llamacpp:n_decode_total", "c") not in seen
        assert running.state("c") == "stopped"


async def test_two_scrapers_within_a_second_get_one_reading() -> None:
    async with corral({"a": fake()}) as running:
        await running.text("a")
        first = await scrape(running)
        await running.text("a")
        second = await scrape(running)

        key = ("llamacpp:n_decode_total", "a")
        assert (first[key], second[key]) == (1, 1)
        assert second["corral_requests_total", "a"] == 2


async def test_an_engine_that_hangs_holds_up_no_scrape_and_is_counted() -> None:
    async with corral({"good": fake(), "hung": fake("--metrics", "hang")}) as running:
        await running.text("good")
        await running.text("hung")
        started = time.monotonic()
        seen = await scrape(running)

        assert time.monotonic() - started < 2.0
        assert seen["llamacpp:n_decode_total", "good"] == 1
        assert ("llamacpp:n_decode_total", "hung") not in seen
        assert seen["corral_engine_scrape_failures_total", "hung"] == 1
        assert running.state("hung") == "ready"


async def test_an_engine_that_has_none_or_talks_nonsense_spoils_nothing() -> None:
    async with corral({"none": fake("--metrics", "none"), "odd": fake("--metrics", "garbage")}) as running:
        await running.text("none")
        await running.text("odd")
        seen = await scrape(running)

        assert not [name for name, _ in seen if name.startswith("llamacpp:")]
        assert not [name for name, _ in seen if name == "corral_engine_scrape_failures_total"]


async def test_scraping_keeps_no_model_from_its_ttl() -> None:
    async with corral({"a": fake(ttl_s=0.6)}) as running:
        await running.text("a")
        async with asyncio.timeout(5):
            while running.state("a") != "stopped":
                await scrape(running)
                await asyncio.sleep(0.05)
        seen = await scrape(running)

        assert seen["corral_evictions_total", "a"] == 1


async def test_devices_budgets_and_what_each_model_takes() -> None:
    host = FakeDevices(ram_bytes=32 * GIB, gpus={"CUDA0": 24 * GIB})
    async with corral({"a": fake()}, ram=4 * GIB, devices=host) as running:
        await running.text("a")
        seen = await scrape(running)
        host.vanish("CUDA0")
        await running.app.watch.look()
        without = await scrape(running)

        assert seen["corral_host_cpu_seconds_total", ""] > 0  # the machine's own, whatever devices are made up
        assert seen["corral_device_memory_total_bytes", "CUDA0"] == 24 * GIB
        assert seen["corral_device_budget_bytes", RAM] == 4 * GIB
        assert (seen["corral_device_up", "CUDA0"], without["corral_device_up", "CUDA0"]) == (1, 0)
        assert without["corral_device_budget_bytes", "CUDA0"] == 0
