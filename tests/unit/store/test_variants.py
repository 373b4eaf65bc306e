"""Smaller ways to start a Model: within the operator's bounds, each smaller than the one before."""

from __future__ import annotations

from corral.domain.devices import DeviceMemory
from corral.domain.fleet import Fit, ModelSpec, OptionValue, Source
from corral.store.gguf.demo import DemoSpec
from corral.store.gguf.memory import FileFootprints
from corral.store.variants import smaller_ways
from tests.models import ADA, model
from tests.unit.store.shapes import gpu

GIB = 1 << 30
DEEP = DemoSpec(name="Deep", sentence="I have layers.", layers=8)


def ways(
    fit: Fit | None, *, of: DemoSpec = ADA, devices: tuple[DeviceMemory, ...] = (), **options: OptionValue
) -> list[dict[str, OptionValue]]:
    wanted = ModelSpec("m", source=Source(str(model(of))), options=options, fit=fit)
    return [dict(found) for found, _ in smaller_ways(FileFootprints(), wanted, devices)]


def notes(fit: Fit, *, of: DemoSpec = ADA, devices: tuple[DeviceMemory, ...] = (), **options: OptionValue) -> list[str]:
    wanted = ModelSpec("m", source=Source(str(model(of))), options=options, fit=fit)
    return [note for _, note in smaller_ways(FileFootprints(), wanted, devices)]


def test_the_context_is_halved_down_to_the_bound() -> None:
    assert ways(Fit(min_ctx_size=4096), ctx_size=32768) == [
        {"ctx_size": 16384}, {"ctx_size": 8192}, {"ctx_size": 4096},
    ]  # fmt: skip
    assert ways(Fit(min_ctx_size=6000), ctx_size=32768)[-1] == {"ctx_size": 6000}
    assert notes(Fit(min_ctx_size=16384), ctx_size=32768) == ["ctx_size 16384 instead of 32768"]


def test_without_a_context_of_its_own_it_starts_from_that_of_the_file() -> None:
    whole = FileFootprints().estimate(ModelSpec("m", source=Source(str(model(ADA))))).context
    assert whole is not None
    assert ways(Fit(min_ctx_size=1024))[0] == {"ctx_size": whole.total_cells // 2}


def test_a_bound_above_the_context_changes_nothing() -> None:
    assert ways(Fit(min_ctx_size=4096), ctx_size=4096) == []
    assert ways(Fit(min_ctx_size=8192), ctx_size=4096) == []


def test_without_bounds_nothing_is_made_smaller() -> None:
    assert ways(None, ctx_size=32768) == []
    assert list(smaller_ways(FileFootprints(), ModelSpec("m", fit=Fit(min_ctx_size=1)), ())) == []


def test_layers_leave_the_gpu_after_the_context_is_at_its_least() -> None:
    devices = (gpu("CUDA0", 20 * GIB),)
    found = ways(Fit(4096, 2), of=DEEP, devices=devices, ctx_size=8192, n_gpu_layers="all")
    assert found == [
        {"ctx_size": 4096},
        {"ctx_size": 4096, "n_gpu_layers": 8}, {"ctx_size": 4096, "n_gpu_layers": 6},
        {"ctx_size": 4096, "n_gpu_layers": 4}, {"ctx_size": 4096, "n_gpu_layers": 2},
    ]  # fmt: skip
    last = notes(Fit(4096, 2), of=DEEP, devices=devices, ctx_size=8192, n_gpu_layers="all")[-1]
    assert last == "ctx_size 4096 instead of 8192, n_gpu_layers 2 instead of 9"


def test_layers_alone() -> None:
    devices = (gpu("CUDA0", 20 * GIB),)
    found = ways(Fit(min_gpu_layers=0), of=DEEP, devices=devices, n_gpu_layers=2)
    assert found == [{"n_gpu_layers": 1}, {"n_gpu_layers": 0}]


def test_what_the_engine_fits_itself_is_left_to_it() -> None:
    devices = (gpu("CUDA0", 20 * GIB),)
    assert ways(Fit(min_gpu_layers=0), of=DEEP, devices=devices) == []
    assert ways(Fit(min_gpu_layers=0), of=DEEP, n_gpu_layers=4) == [], "there is no GPU"


def test_each_way_takes_less_than_the_one_before() -> None:
    files, devices = FileFootprints(), (gpu("CUDA0", 20 * GIB),)
    wanted: dict[str, OptionValue] = {"ctx_size": 8192, "n_gpu_layers": "all"}
    sizes = []
    for options in [{}, *ways(Fit(2048, 1), of=DEEP, devices=devices, **wanted)]:
        spec = ModelSpec("m", source=Source(str(model(DEEP))), options={**wanted, **options})
        sizes.append(files.footprint(spec, devices).devices.get("CUDA0", 0))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0]
