"""The host's devices, its CPU, and what instances take of them: from the last reading of the poll, never a new one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from corral.contracts.footprint import SeenLoad
from corral.domain.devices import CpuTime, Snapshot
from corral.domain.instance import ALIVE, InstanceView

Held = tuple[str, str, Mapping[str, int]]
"""A Model, its instance, bytes by device."""


class HostMetrics(Collector):
    """
    A collector for `Metrics.also`.

    `budgets` are those in force, `held` is what all engines are counted with, `now` the clock of the readings, `seen`
    tells what loads of a digest have shown.
    """

    def __init__(
        self,
        reading: Callable[[], Snapshot],
        budgets: Callable[[], Mapping[str, int]],
        views: Callable[[], Sequence[InstanceView]],
        held: Callable[[], Iterable[Held]],
        *,
        now: Callable[[], float],
        seen: Callable[[str], SeenLoad | None] = lambda digest: None,
    ) -> None:
        self._reading = reading
        self._budgets = budgets
        self._views = views
        self._held = held
        self._now = now
        self._seen = seen

    def collect(self) -> Iterable[Metric]:
        """For prometheus-client's registry."""
        reading, views = self._reading(), self._views()
        yield from _memory(reading)
        yield from _activity(reading)
        yield _cpu(reading.cpu)
        yield _by_device("corral_device_budget_bytes", "What engines may take of it.", self._budgets())
        yield _counted(self._held())
        yield self._footprints(views)
        age = GaugeMetricFamily("corral_device_reading_age_seconds", "Since the devices were last read.")
        if reading.devices:
            age.add_metric((), max(0.0, self._now() - reading.at))
        yield age

    def _footprints(self, views: Sequence[InstanceView]) -> Metric:
        footprint = GaugeMetricFamily(
            "corral_footprint_bytes",
            "What a load was estimated to take, and what it was measured to take.",
            labels=("model", "device", "kind"),
        )
        own = {view.model: view for view in views if not view.options}
        for view in own.values():
            load = self._seen(view.digest) if view.state in ALIVE else None
            if load is not None:
                for kind, footprint_of in (("estimated", load.estimated), ("measured", load.measured)):
                    for device, size in footprint_of.by_device().items():
                        footprint.add_metric((view.model, device, kind), size)
        return footprint


def _counted(held: Iterable[Held]) -> Metric:
    counted = GaugeMetricFamily(
        "corral_instance_memory_bytes",
        "What the scheduler counts for an instance.",
        labels=("model", "instance_id", "device"),  # `instance` is what Prometheus calls whom it scrapes
    )
    for model, instance, devices in held:
        for device, size in devices.items():
            counted.add_metric((model, instance, device), size)
    return counted


def _memory(reading: Snapshot) -> Iterable[Metric]:
    info = GaugeMetricFamily(
        "corral_device_info", "1 for each device.", labels=("device", "description", "id", "source", "part_of")
    )
    for device in reading.devices:
        info.add_metric((device.name, device.description, device.id, device.source, device.part_of), 1)
    yield info
    here = {device.name: 1.0 for device in reading.devices} | dict.fromkeys(sorted(reading.gone), 0.0)
    yield _by_device("corral_device_up", "1 while it answers, 0 when it has vanished.", here)
    sizes = {device.name: device.total_bytes for device in reading.devices}
    yield _by_device("corral_device_memory_total_bytes", "Its memory; of RAM what the cgroup allows.", sizes)
    free = {device.name: device.free_bytes for device in reading.devices}
    yield _by_device("corral_device_memory_free_bytes", "What no program uses.", free)
    yield _by_device("corral_device_memory_held_bytes", "What engines of this Corral hold, measured.", reading.ours)


def _activity(reading: Snapshot) -> Iterable[Metric]:
    does = {device.name: device.activity for device in reading.devices}
    busy = {name: each.busy for name, each in does.items() if each.busy is not None}
    heat = {name: each.temperature_c for name, each in does.items() if each.temperature_c is not None}
    power = {name: each.power_w for name, each in does.items() if each.power_w is not None}
    yield _by_device("corral_device_busy_ratio", "Share of time in which it works, 0 to 1.", busy)
    yield _by_device("corral_device_temperature_celsius", "Its temperature.", heat)
    yield _by_device("corral_device_power_watts", "What it draws.", power)


def _cpu(time: CpuTime | None) -> Metric:
    cpu = CounterMetricFamily(
        "corral_host_cpu_seconds", "CPU time of the machine since it started, all CPUs together.", labels=("mode",)
    )
    if time is not None:
        cpu.add_metric(("busy",), time.busy_s)
        cpu.add_metric(("idle",), time.idle_s)
    return cpu


def _by_device(name: str, help: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, help, labels=("device",))
    for device, value in values.items():
        family.add_metric((device,), value)
    return family
