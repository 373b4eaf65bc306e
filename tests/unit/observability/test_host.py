from prometheus_client.parser import text_string_to_metric_families

from corral.contracts.footprint import SeenLoad
from corral.domain.devices import RAM, Activity, CpuTime, DeviceMemory, Snapshot
from corral.domain.instance import InstanceState, InstanceView
from corral.domain.launch import Footprint
from corral.observability.host import HostMetrics
from corral.observability.metrics import Metrics


def text(snapshot: Snapshot) -> dict[tuple[str, ...], float]:
    metrics = Metrics("1", lambda model: "x")
    held = [("m", "i-1", {RAM: 5}), ("m", "i-2", {RAM: 3, "CUDA0": 9})]  # the first ends beside the second
    metrics.also(HostMetrics(lambda: snapshot, lambda: {RAM: 50, "CUDA0": 20}, tuple, lambda: held, now=lambda: 12.0))
    return {
        (sample.name.removeprefix("corral_"), *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
        if sample.name.startswith(("corral_device", "corral_instance_memory"))
    }


def test_devices_with_what_they_do_and_what_is_counted() -> None:
    gpu = DeviceMemory("CUDA0", 24, 10, "NVIDIA T4", "GPU-1", "nvml", activity=Activity(0.5, 60.0, None))
    found = text(Snapshot((DeviceMemory(RAM, 64, 30, source="cgroup"), gpu), {RAM: 4, "CUDA0": 8}, at=10.0))

    assert found == {
        ("device_info", "", RAM, "", "", "cgroup"): 1,
        ("device_info", "NVIDIA T4", "CUDA0", "GPU-1", "", "nvml"): 1,
        ("device_up", RAM): 1, ("device_up", "CUDA0"): 1,
        ("device_memory_total_bytes", RAM): 64, ("device_memory_total_bytes", "CUDA0"): 24,
        ("device_memory_free_bytes", RAM): 30, ("device_memory_free_bytes", "CUDA0"): 10,
        ("device_memory_held_bytes", RAM): 4, ("device_memory_held_bytes", "CUDA0"): 8,
        ("device_budget_bytes", RAM): 50, ("device_budget_bytes", "CUDA0"): 20,
        ("device_busy_ratio", "CUDA0"): 0.5, ("device_temperature_celsius", "CUDA0"): 60,
        ("device_reading_age_seconds",): 2,
        ("instance_memory_bytes", RAM, "i-1", "m"): 5,
        ("instance_memory_bytes", RAM, "i-2", "m"): 3, ("instance_memory_bytes", "CUDA0", "i-2", "m"): 9,
    }  # fmt: skip


def test_estimates_stand_beside_what_was_measured_for_models_that_run() -> None:
    load = SeenLoad(Footprint(5, {"CUDA0": 90}), Footprint(7, {"CUDA0": 100}), 1.0, 3)
    metrics = Metrics("1", lambda model: "x")
    views = [
        InstanceView("m", "i-1", InstanceState.READY, digest="d"),
        InstanceView("new", "i-2", InstanceState.STARTING, digest="other"),
        InstanceView("idle", "", InstanceState.STOPPED, digest="d"),
    ]
    metrics.also(HostMetrics(Snapshot, dict, lambda: views, tuple, now=float, seen={"d": load}.get))
    lines = [line for line in metrics.render().decode().splitlines() if line.startswith("corral_footprint_bytes{")]

    assert lines == [
        'corral_footprint_bytes{device="ram",kind="estimated",model="m"} 5.0',
        'corral_footprint_bytes{device="CUDA0",kind="estimated",model="m"} 90.0',
        'corral_footprint_bytes{device="ram",kind="measured",model="m"} 7.0',
        'corral_footprint_bytes{device="CUDA0",kind="measured",model="m"} 100.0',
    ]


def test_a_gpu_that_has_gone_is_down_and_not_just_absent() -> None:
    found = text(Snapshot((DeviceMemory(RAM, 64, 30),), gone=frozenset({"CUDA0"}), at=12.0))

    assert (found["device_up", RAM], found["device_up", "CUDA0"]) == (1, 0)
    assert ("device_memory_total_bytes", "CUDA0") not in found


def test_the_machines_cpu_time_is_two_counters() -> None:
    metrics = Metrics("1", lambda model: "x")
    reading = Snapshot((DeviceMemory(RAM, 64, 30),), cpu=CpuTime(busy_s=30.5, idle_s=200.0))
    metrics.also(HostMetrics(lambda: reading, dict, tuple, tuple, now=float))
    lines = [line for line in metrics.render().decode().splitlines() if "corral_host_cpu" in line]

    assert lines[1:] == [
        "# TYPE corral_host_cpu_seconds_total counter",
        'corral_host_cpu_seconds_total{mode="busy"} 30.5',
        'corral_host_cpu_seconds_total{mode="idle"} 200.0',
    ]


def test_before_the_first_reading_there_is_nothing_to_say() -> None:
    assert ("device_reading_age_seconds",) not in text(Snapshot())
