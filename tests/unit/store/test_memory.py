"""The estimate of a Model with real files: all parts, companions, and nothing read twice."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from corral.domain.devices import RAM
from corral.domain.errors import FileMissing
from corral.domain.fleet import ModelSpec, OptionValue, Source
from corral.store.files import ModelFiles, resolve
from corral.store.gguf.estimate import PROGRAM_BYTES
from corral.store.gguf.memory import FileFootprints
from corral.store.known import KnownFiles
from tests.models import ADA, EMBED, SPLIT, model
from tests.unit.store.shapes import gpu

GIB = 1 << 30


def spec(path: Path | str = "", **options: OptionValue) -> ModelSpec:
    return ModelSpec("m", source=Source(str(path)), options=options)


def test_a_footprint_has_weights_cache_and_program() -> None:
    files = FileFootprints()
    path = model(ADA)
    small, large = (files.footprint(spec(path, ctx_size=size)).ram_bytes for size in (4096, 32768))
    assert files.shape(str(path)).weights.total_bytes + PROGRAM_BYTES < small < large
    # 16-long head, one layer: 64 bytes of cache for each token, and 1,024 of attention mask for a batch of 512
    assert large - small == (32768 - 4096) * (64 + 1024)


def test_all_parts_and_companions_count() -> None:
    files = FileFootprints()
    alone = files.footprint(spec(model(SPLIT))).ram_bytes
    assert files.shape(str(model(SPLIT))).weights.total_bytes == resolve(model(SPLIT)).tensor_bytes
    path = model(EMBED)
    size = resolve(path).tensor_bytes
    for options in ({"mmproj": str(path)}, {"lora": (str(path),)}, {"lora_scaled": (f"{path}:0.5",)}):
        with_it = files.footprint(ModelSpec("m", source=Source(str(model(SPLIT))), options=options)).ram_bytes
        assert with_it - alone == size


def test_the_projector_is_on_the_gpu_unless_it_may_not() -> None:
    def weights(**options: OptionValue) -> dict[str, int]:
        wanted = spec(model(ADA), mmproj=str(model(EMBED)), **options)
        return dict(FileFootprints().estimate(wanted, [gpu("CUDA0", 20 * GIB)]).weights)

    size = resolve(model(EMBED)).tensor_bytes
    assert weights()["CUDA0"] - weights(mmproj_offload=False)["CUDA0"] == size
    assert weights(mmproj_offload=False)[RAM] - weights()[RAM] == size


def test_a_draft_model_has_weights_a_cache_and_places_of_its_own() -> None:
    files = FileFootprints()
    path = model(ADA)
    alone = files.estimate(spec(path, ctx_size=4096))
    both = files.estimate(spec(path, ctx_size=4096, model_draft=str(path), cache_type_k_draft="f32"))
    assert both.weights[RAM] == 2 * alone.weights[RAM]
    assert both.cache[RAM] == alone.cache[RAM] * 5 // 2
    apart = files.estimate(
        spec(path, ctx_size=4096, n_gpu_layers="all", model_draft=str(path), n_gpu_layers_draft=0),
        [gpu("CUDA0", 20 * GIB)],
    )
    assert apart.cache[RAM] == apart.cache["CUDA0"] == alone.cache[RAM]


def test_a_draft_model_has_devices_of_its_own_and_all_where_none_are_named() -> None:
    path = model(ADA)
    devices = [gpu("CUDA0", 20 * GIB), gpu("CUDA1", 20 * GIB)]

    def on(**options: OptionValue) -> set[str]:
        wanted = spec(path, ctx_size=4096, device=("CUDA0",), model_draft=str(path), **options)
        return set(+FileFootprints().estimate(wanted, devices).weights)

    assert on(device_draft=("CUDA0",)) == {RAM, "CUDA0"}
    assert on() == on(device_draft=("CUDA1",)) == {RAM, "CUDA0", "CUDA1"}


def test_a_model_that_is_placed_automatically_leaves_room_for_its_draft() -> None:
    path = model(ADA)
    draft = FileFootprints().estimate(spec(path, ctx_size=4096, n_gpu_layers="all"), [gpu("CUDA0", 20 * GIB)])
    alone = spec(path, ctx_size=4096)
    with_draft = spec(path, ctx_size=4096, model_draft=str(path))
    room = gpu("CUDA0", GIB + draft.total()["CUDA0"])  # for one of the two beside the margin
    assert FileFootprints().estimate(alone, [room]).weights["CUDA0"] == draft.weights["CUDA0"]
    found = FileFootprints().estimate(with_draft, [room])
    assert found.weights["CUDA0"] == draft.weights["CUDA0"], "the draft has it all"


def test_tensors_put_on_a_device_by_name() -> None:
    path = model(ADA)
    found = FileFootprints().estimate(
        spec(path, override_tensor=(r"blk\.=CPU",), n_gpu_layers="all"), [gpu("CUDA0", 20 * GIB)]
    )
    plain = FileFootprints().estimate(spec(path, n_gpu_layers="all"), [gpu("CUDA0", 20 * GIB)])
    assert found.weights[RAM] > plain.weights[RAM]
    assert found.weights.total() == plain.weights.total()


def test_a_model_without_a_file_takes_nothing() -> None:
    assert FileFootprints().footprint(spec()).ram_bytes == 0


@pytest.mark.parametrize("options", [{}, {"mmproj": "/no.gguf"}, {"model_draft": "/no.gguf"}, {"lora": ("/no.gguf",)}])
def test_a_missing_file_is_an_error(options: dict[str, OptionValue], tmp_path: Path) -> None:
    with pytest.raises(FileMissing):
        FileFootprints().footprint(spec(model(ADA) if options else tmp_path / "no.gguf", **options))


def test_a_file_is_read_again_only_when_it_changed(tmp_path: Path) -> None:
    reads: list[str] = []

    def counted(path: str) -> ModelFiles:
        reads.append(path)
        return resolve(path)

    path = tmp_path / "m.gguf"
    shutil.copy(model(ADA), path)
    files = FileFootprints(KnownFiles(read=counted))
    first = files.footprint(spec(path))
    assert files.footprint(spec(path)) == first
    assert len(reads) == 1
    os.utime(path, ns=(1, 1))
    files.footprint(spec(path))
    assert len(reads) == 2
    path.unlink()
    with pytest.raises(FileMissing):
        files.footprint(spec(path))
