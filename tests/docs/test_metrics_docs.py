import re
from pathlib import Path

from corral.domain.devices import Snapshot
from corral.observability.engines import EngineScrape
from corral.observability.host import HostMetrics
from corral.observability.metrics import Metrics
from corral.observability.waiting import WaitingMetrics

DOCS = Path(__file__).parents[2] / "docs"


def test_every_metric_stands_in_the_docs_and_every_documented_one_exists() -> None:
    host = HostMetrics(Snapshot, dict, tuple, tuple, now=lambda: 0.0)
    names = set()
    for collector in (
        Metrics("1", lambda model: "x"),
        EngineScrape(tuple, now=lambda: 0.0),
        WaitingMetrics(tuple),
        host,
    ):
        for family in collector.collect():
            suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
            names.add(family.name + suffix)
    documented = set(re.findall(r"^\| `(corral_\w+)`", (DOCS / "metrics.md").read_text(), re.MULTILINE))

    assert documented == names
