from prometheus_client.parser import text_string_to_metric_families

from corral.domain.queue import WaitingView
from corral.observability.metrics import Metrics
from corral.observability.waiting import WaitingMetrics


def wait(number: int, caller: str, waited_s: float, *, model: str = "m", held_back: bool = False) -> WaitingView:
    return WaitingView(number, model, caller, 0, number, waited_s, held_back=held_back)


def told(waiters: list[WaitingView]) -> dict[tuple[str, str], float]:
    metrics = Metrics("1", lambda model: "x")
    metrics.also(WaitingMetrics(lambda: waiters))
    return {
        (sample.name.removeprefix("corral_waiting_"), sample.labels["model"]): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
        if sample.name.startswith("corral_waiting_")
    }


def test_who_floods_is_seen_without_being_named() -> None:
    flood = [wait(number, "loud", 3.0, held_back=number > 2) for number in range(1, 4)]
    found = told([*flood, wait(4, "quiet", 7.5), wait(5, "other", 1.0, model="n")])

    assert found == {
        ("callers", "m"): 2, ("largest_share", "m"): 0.75, ("longest_seconds", "m"): 7.5, ("held_back", "m"): 1,
        ("callers", "n"): 1, ("largest_share", "n"): 1, ("longest_seconds", "n"): 1, ("held_back", "n"): 0,
    }  # fmt: skip


def test_where_nobody_waits_there_is_nothing_to_say() -> None:
    assert told([]) == {}
