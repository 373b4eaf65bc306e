"""The Grafana dashboard and the alerts, held to a real scrape of a Corral whose engine is llama.cpp."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from corral.domain.devices import Activity
from corral.domain.fleet import Limits
from corral.domain.instance import InstanceState
from corral.domain.launch import Footprint
from corral.fakes.devices import FakeDevices
from tests.conftest import REQUIRED
from tests.corrals import corral, fake, gguf
from tests.models import ADA, BEN, model
from tests.promql import Checker, named_in

DOCS = Path(__file__).parents[2] / "docs"
DASHBOARD = json.loads((DOCS / "grafana/corral.json").read_text("utf-8"))
ALERTS = yaml.safe_load((DOCS / "grafana/alerts.yml").read_text("utf-8"))
METRICS = (DOCS / "metrics.md").read_text("utf-8")
GIB = 1024**3


async def scrapes_of_a_busy_corral(binary: str) -> list[str]:
    """Two real models that swap, one that does not start, an engine whose metrics hang, a GPU, a queue."""
    host = FakeDevices(ram_bytes=32 * GIB, gpus={"CUDA0": 24 * GIB})
    host.work("CUDA0", Activity(0.5, 60.0, 200.0))
    models = {
        "ada": gguf(model(ADA), binary=binary),
        "ben": gguf(model(BEN), binary=binary),
        "broken": fake("--exit-at-start", "3"),
        "hung": fake("--metrics", "hang", slots=1),
    }
    limits = Limits(backoff_first_s=60, min_loaded_s=0.0)
    async with corral(models, group="swap", limits=limits, ram=20 * GIB, devices=host) as running:
        assert (await running.chat("broken")).status_code == 503
        slow = [asyncio.ensure_future(running.chat("hung", fake={"prefill_s": 1.0})) for _ in range(2)]
        async with asyncio.timeout(10):
            while not running.app.scheduler.waiters() or running.state("hung") != "ready":
                await asyncio.sleep(0.005)
        first = (await running.http.get("/metrics")).text
        await asyncio.gather(*slow)
        await running.text("ben")
        await running.stream("ada")
        view = running.app.scheduler.view("ada")
        assert view is not None
        known = Footprint(GIB)
        running.app._footprints.record(view.digest, estimated=known, measured=known, load_s=1.0)
        running.app.scrape._at = None  # the second of the last scrape has not passed
        return [first, (await running.http.get("/metrics")).text]


@pytest.fixture(scope="module", params=["embedded", "binary"])
def known(request: pytest.FixtureRequest) -> dict[str, frozenset[str]]:
    binary = os.environ.get("CORRAL_TEST_LLAMA_SERVER", "")
    if request.param == "binary" and not binary:
        if "llama_server" in REQUIRED:
            pytest.fail("CORRAL_TEST_LLAMA_SERVER is not set")
        pytest.skip("no llama-server: set CORRAL_TEST_LLAMA_SERVER")
    labels: defaultdict[str, set[str]] = defaultdict(set)
    for text in asyncio.run(scrapes_of_a_busy_corral(binary if request.param == "binary" else "")):
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels[sample.name].update(sample.labels)
    return {name: frozenset(found) for name, found in labels.items()}


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def rules() -> list[dict[str, Any]]:
    return [rule for group in ALERTS["groups"] for rule in group["rules"]]


def test_every_panel_shows_what_there_is(known: dict[str, frozenset[str]]) -> None:
    checker = Checker(known)
    for panel in panels():
        for target in panel["targets"]:
            labels = checker.labels(target["expr"])
            assert named_in(target["legendFormat"]) <= labels, panel["title"]
    assert any(name.startswith("llamacpp:") for name in checker.metrics)
    _check_values(checker)


def test_every_alert_can_fire_and_its_words_are_filled_in(known: dict[str, frozenset[str]]) -> None:
    checker = Checker(known)
    for rule in rules():
        labels = checker.labels(rule["expr"])
        for text in rule["annotations"].values():
            assert named_in(text) <= labels, rule["alert"]
        assert {"summary", "description"} == rule["annotations"].keys()
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))
    _check_values(checker)


def _check_values(checker: Checker) -> None:
    """Words that a matcher waits for are words that the docs know: `failed`, `refused`, `completion`."""
    for metric, label, value in checker.matched:
        row = next(line for line in METRICS.splitlines() if line.startswith(f"| `{metric}`"))
        known_words = set(re.findall(r"`(\w+)`", row)) | (set(InstanceState) if label == "state" else set())
        assert value in known_words, (metric, label, value)


def test_the_documented_metrics_of_llama_server_are_real(known: dict[str, frozenset[str]]) -> None:
    documented = set(re.findall(r"^\| `(llamacpp:\w+)`", METRICS, re.MULTILINE))
    # The Python parser gives each counter a `_total`; Prometheus takes llama-server's n_tokens_max as it is.
    real = {**known, **{name.removesuffix("_total"): labels for name, labels in known.items()}}

    assert documented <= real.keys()
    assert all("model" in real[name] for name in documented)


def test_the_dashboard_can_be_imported() -> None:
    assert DASHBOARD["uid"] == "corral"
    assert [each["name"] for each in DASHBOARD["templating"]["list"]] == ["datasource", "instance", "model"]
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    used: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert place["x"] + place["w"] <= 24
        assert not cells & used, f"{panel['title']} lies on another panel"
        used |= cells
