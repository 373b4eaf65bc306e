"""Where weights and caches go, and what a whole load adds up to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from corral.domain.devices import RAM, DeviceMemory
from corral.domain.errors import BadGguf
from corral.domain.fleet import OptionValue
from corral.store.gguf.estimate import DRIVER_BYTES, Estimate, estimate
from corral.store.gguf.placement import gpus_of
from corral.store.gguf.shape import ModelShape
from corral.store.gguf.weights import Weights
from tests.unit.store.shapes import LLAMA_8B, MAMBA, MAMBA_STATE, MIB, asked, gpu, ram, shape, tensors

GIB = 1024 * MIB
LAYER, INPUT, OUTPUT, EXPERT = 100 * MIB, 30 * MIB, 50 * MIB, 400 * MIB


def dense(*, tied: bool = False) -> ModelShape:
    sizes = {"token_embd": INPUT, "output_norm": 0} | ({} if tied else {"output": OUTPUT})
    sizes |= {f"blk__{layer}__attn_q": LAYER for layer in range(4)}
    return shape(
        "llama", tensors(**sizes), block_count=4, embedding_length=64, attention__head_count=4, context_length=4096
    )


def experts() -> ModelShape:
    sizes = {"token_embd": INPUT, "output": OUTPUT}
    for layer in range(4):
        sizes |= {f"blk__{layer}__attn_q": LAYER, f"blk__{layer}__ffn_up_exps": EXPERT}
    return shape("qwen3moe", tensors(**sizes), block_count=4, embedding_length=64, attention__head_count=4)


def weights(model: ModelShape, *gpus: int, **options: OptionValue) -> dict[str, int]:
    devices = [gpu(f"CUDA{index}", free) for index, free in enumerate(gpus)]
    return dict(+estimate(model, asked(ctx_size=4096, **options), devices).weights)


def test_without_a_gpu_all_is_ram() -> None:
    everything = INPUT + OUTPUT + 4 * LAYER
    assert weights(dense()) == {RAM: everything}
    assert weights(dense(), n_gpu_layers="all") == {RAM: everything}


def test_layers_from_the_end_go_to_the_gpu() -> None:
    def on_gpu(layers: int) -> dict[str, int]:
        return weights(dense(), 20 * GIB, n_gpu_layers=layers)

    assert on_gpu(0) == {RAM: INPUT + OUTPUT + 4 * LAYER}
    assert on_gpu(1) == {RAM: INPUT + 4 * LAYER, "CUDA0": OUTPUT}
    assert on_gpu(3) == {RAM: INPUT + 2 * LAYER, "CUDA0": OUTPUT + 2 * LAYER}
    assert on_gpu(99) == {RAM: INPUT, "CUDA0": OUTPUT + 4 * LAYER}
    assert weights(dense(), 20 * GIB, n_gpu_layers="all") == on_gpu(99)


def test_layers_for_further_tokens_are_loaded_to_draft_with_them_alone() -> None:
    sizes = {f"blk__{layer}__{part}": LAYER for layer in range(4) for part in ("attn_q", "ffn_up_exps")}
    model = shape("glm4moe", tensors(token_embd=INPUT, output=OUTPUT, **sizes), block_count=4, embedding_length=64,
                  attention__head_count=4, nextn_predict_layers=1)  # fmt: skip
    outside = INPUT + OUTPUT
    assert weights(model) == weights(model, spec_type=("ngram-mod",)) == {RAM: outside + 6 * LAYER}
    assert weights(model, spec_type=("draft-mtp",)) == {RAM: outside + 8 * LAYER}
    assert weights(model, 20 * GIB, n_gpu_layers=2) == {RAM: INPUT + 6 * LAYER, "CUDA0": OUTPUT}, "the last counts"


def test_of_a_head_in_a_second_file_only_those_layers_have_a_cache() -> None:
    numbers = {"block_count": 4, "embedding_length": 64, "attention__head_count": 4, "nextn_predict_layers": 1}
    model = shape("glm4moe", tensors(blk__3__attn_q=LAYER), **numbers)
    apart = asked(ctx_size=4096, spec_type=("draft-mtp",), model_draft="/head.gguf")
    inside = asked(ctx_size=4096, spec_type=("draft-mtp",))
    row = 2 * 2 * 64 * 4096  # keys and values of one layer
    assert estimate(model, inside).cache == {RAM: 4 * row}
    assert estimate(model, apart).cache == {RAM: 3 * row}
    head = estimate(model, apart.of_draft(4096))
    assert (head.weights, head.cache) == ({RAM: LAYER}, {RAM: row})
    plain = asked(ctx_size=4096, model_draft="/small.gguf").of_draft(4096)
    assert (estimate(model, plain).weights[RAM], estimate(model, plain).cache) == (0, {RAM: 3 * row})


def test_a_tied_output_is_there_twice_with_a_gpu() -> None:
    assert weights(dense(tied=True)) == {RAM: INPUT + 4 * LAYER}
    assert weights(dense(tied=True), 20 * GIB) == {RAM: INPUT, "CUDA0": INPUT + 4 * LAYER}


def test_automatic_takes_what_fits_beside_the_margin() -> None:
    need = DRIVER_BYTES + GIB
    assert weights(dense(), 20 * GIB) == {RAM: INPUT, "CUDA0": OUTPUT + 4 * LAYER}
    assert weights(dense(), need + OUTPUT + 2 * LAYER + 50 * MIB) == {
        RAM: INPUT + 2 * LAYER,
        "CUDA0": OUTPUT + 2 * LAYER,
    }
    assert weights(dense(), GIB) == {RAM: INPUT + OUTPUT + 4 * LAYER}
    assert weights(dense(), GIB, fit_target=("0",)).get("CUDA0", 0) > 0
    assert weights(dense(), GIB, fit="off") == {RAM: INPUT, "CUDA0": OUTPUT + 4 * LAYER}


def test_automatic_leaves_experts_rather_than_layers() -> None:
    need = DRIVER_BYTES + GIB + OUTPUT + 4 * LAYER + 50 * MIB
    assert weights(experts(), need) == {RAM: INPUT + 4 * EXPERT, "CUDA0": OUTPUT + 4 * LAYER}
    assert weights(experts(), need + 2 * EXPERT)["CUDA0"] == OUTPUT + 4 * LAYER + 2 * EXPERT


def test_experts_that_the_operator_keeps_in_ram() -> None:
    assert weights(experts(), 20 * GIB, cpu_moe=True) == {RAM: INPUT + 4 * EXPERT, "CUDA0": OUTPUT + 4 * LAYER}
    found = weights(experts(), 20 * GIB, n_cpu_moe=3, n_gpu_layers="all")
    assert found == {RAM: INPUT + 3 * EXPERT, "CUDA0": OUTPUT + 4 * LAYER + EXPERT}


def test_several_gpus_share_by_what_is_free_or_as_told() -> None:
    assert weights(dense(), 10 * GIB, 10 * GIB) == {RAM: INPUT, "CUDA0": 3 * LAYER, "CUDA1": LAYER + OUTPUT}
    told = weights(dense(), 10 * GIB, 10 * GIB, tensor_split=("1", "4"))
    assert told == {RAM: INPUT, "CUDA0": LAYER, "CUDA1": 3 * LAYER + OUTPUT}
    assert weights(dense(), 10 * GIB, 10 * GIB, split_mode="none", main_gpu=1).keys() == {RAM, "CUDA1"}
    assert weights(dense(), 10 * GIB, 10 * GIB, device=("CUDA1",)).keys() == {RAM, "CUDA1"}
    assert weights(dense(), 10 * GIB, 10 * GIB, device=("none",)).keys() == {RAM}
    rows = weights(dense(), 10 * GIB, 10 * GIB, split_mode="row", tensor_split=("3", "1"))
    assert rows == {RAM: INPUT, "CUDA0": (OUTPUT + 4 * LAYER) * 3 // 4, "CUDA1": (OUTPUT + 4 * LAYER) // 4}


@pytest.mark.parametrize("split", [("x",), ("0", "0"), ("nan", "1"), ("inf", "1"), ("-1", "-1"), ()])
def test_shares_that_make_no_sense_are_even(split: tuple[str, ...]) -> None:
    assert weights(dense(), 10 * GIB, 10 * GIB, tensor_split=split).keys() >= {RAM, "CUDA1"}


def test_the_cache_goes_with_its_layer_unless_it_may_not() -> None:
    def cache(**options: OptionValue) -> dict[str, int]:
        return dict(+estimate(dense(), asked(ctx_size=4096, **options), [gpu("CUDA0", 20 * GIB)]).cache)

    one = 4096 * 64 * 2 * 2
    assert cache() == {"CUDA0": 4 * one}
    assert cache(n_gpu_layers=3) == {RAM: 2 * one, "CUDA0": 2 * one}
    assert cache(kv_offload=False) == {RAM: 4 * one}


def test_a_gpu_in_use_has_its_driver_and_buffers() -> None:
    found = estimate(dense(), asked(ctx_size=4096), [gpu("CUDA0", 20 * GIB), ram(64 * GIB)])
    assert found.program["CUDA0"] == DRIVER_BYTES
    assert found.compute["CUDA0"] > found.compute[RAM] > 0
    alone = estimate(dense(), asked(ctx_size=4096, device="none"), [gpu("CUDA0", 20 * GIB)])
    assert alone.total().keys() == {RAM}


def growth(model: ModelShape, **options: OptionValue) -> int:
    return estimate(model, asked(ctx_size=4096, parallel=2, **options)).growth


def test_finished_prompts_and_checkpoints_count_as_far_as_they_may_grow() -> None:
    assert growth(dense()) == 0
    assert growth(dense(), cache_ram=512) == 512 * MIB
    assert growth(dense(), cache_ram=512, embeddings=True) == 0
    assert growth(MAMBA, ctx_checkpoints=2) == 2 * 2 * MAMBA_STATE
    assert growth(MAMBA, ctx_checkpoints=32) == 32 * 2 * MAMBA_STATE
    assert growth(MAMBA, ctx_checkpoints=0) == growth(MAMBA) == 0
    draft = asked(parallel=2, ctx_checkpoints=3).of_draft(4096)  # what it has is in each checkpoint too
    assert estimate(MAMBA, draft).growth == 3 * 2 * MAMBA_STATE


def test_an_unset_context_shrinks_to_what_there_is() -> None:
    def cells(*total: int, **options: OptionValue) -> int:
        found = estimate(LLAMA_8B, asked(**options), [ram(each) for each in total])
        assert found.context is not None
        return found.context.total_cells

    assert cells() == 131072
    assert cells(64 * GIB) == 131072
    assert 20_000 < cells(6 * GIB) < 40_000
    assert cells(6 * GIB) % 256 == 0
    assert cells(GIB) == 131072  # nothing is known to be left: not our choice
    assert cells(int(1.1 * GIB)) == 4096
    assert cells(6 * GIB, fit="off") == 131072
    assert cells(6 * GIB, ctx_size=131072) == 131072


def test_flash_attention_saves_the_scores() -> None:
    with_it, without = (
        sum(estimate(LLAMA_8B, asked(ctx_size=8192, flash_attn=word)).compute.values()) for word in ("auto", "off")
    )
    assert without - with_it == 32 * 512 * 8192 * 4


def test_tensors_on_a_device_by_name() -> None:
    told = asked(override_tensor=(r"blk\.0\.=CPU,blk\.1\.=CUDA0", "(=CUDA0"), n_cpu_ffn=1)
    names = [(pattern.pattern, target) for pattern, target in told.patterns()]
    assert names == [(r"^blk\.(0)\.ffn_(up|down|gate)\.", "CPU"), (r"blk\.0\.", "CPU"), (r"blk\.1\.", "CUDA0")]
    sizes = tensors(blk__0__attn_q=1, blk__1__attn_q=2, blk__2__attn_q=4, token_embd=8)
    found = Weights.of(sizes, 3, told.patterns())
    assert (found.pinned, found.layers, found.input_bytes) == ({"CPU": 1, "CUDA0": 2}, (0, 0, 4), 8)


def test_two_models_of_one_load_share_the_program() -> None:
    one = estimate(dense(), asked(ctx_size=4096))
    both = one.plus(one)
    assert both.weights[RAM] == 2 * one.weights[RAM]
    assert both.program == one.program
    assert Estimate().plus(one).footprint() == one.footprint()


def test_what_no_machine_has_is_refused() -> None:
    huge = shape(
        block_count=4096,
        embedding_length=(1 << 32) - 1,
        context_length=(1 << 32) - 1,
        attention__head_count=1,
        feed_forward_length=(1 << 32) - 1,
    )
    with pytest.raises(BadGguf, match="no machine has"):
        estimate(huge, asked()).footprint()


# --- what `--fit` does, and where it gives up -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{"n_cpu_moe": 1}, {"cpu_moe": True}, {"n_cpu_ffn": 1}, {"override_tensor": ("blk.0.ffn=CPU",)}],
)
def test_beside_overrides_of_the_operator_automatic_is_every_layer_whether_it_fits_or_not(
    options: dict[str, OptionValue],
) -> None:
    assert weights(dense(), GIB, **options)["CUDA0"] >= OUTPUT + 3 * LAYER
    assert weights(dense(), GIB).get("CUDA0", 0) == 0


def test_beside_a_split_of_the_operator_automatic_is_every_layer_too() -> None:
    everything = OUTPUT + 4 * LAYER

    def on_gpus(*gpus: int, **options: OptionValue) -> int:
        found = weights(dense(), *gpus, **options)
        return sum(size for name, size in found.items() if name != RAM)

    assert on_gpus(GIB, GIB, tensor_split=("1", "1")) == everything
    assert on_gpus(GIB, GIB, split_mode="row") == pytest.approx(everything, abs=2)
    assert on_gpus(GIB, split_mode="tensor") == everything
    assert on_gpus(GIB, tensor_split=("1",)) == 0, "of one GPU there is nothing to split"
    assert on_gpus(GIB, GIB, tensor_split=("0", "0")) == 0, "nothing was chosen"


def roomy() -> ModelShape:
    """Llama 3.1 8B: 16 GiB of keys and values at its 128k tokens, and hardly any weights."""
    return LLAMA_8B


def context(*gpus: int, **options: OptionValue) -> int:
    devices = [gpu(f"CUDA{index}", free) for index, free in enumerate(gpus)]
    plan = estimate(roomy(), asked(**options), devices).context
    assert plan is not None
    return plan.total_cells


def test_a_context_that_is_not_chosen_shrinks_to_what_the_gpu_has() -> None:
    assert context(24 * GIB) == 131072
    assert 32768 < context(10 * GIB) < 131072
    assert context(GIB + 256 * MIB) == 4096
    assert context(2 * GIB, fit_ctx=8192) == 8192
    assert context(10 * GIB, fit_target=("4096",)) < context(10 * GIB) < context(10 * GIB, fit_target=("0",))


def test_zero_is_a_choice_the_whole_of_what_it_was_trained_for() -> None:
    assert context(2 * GIB, ctx_size=0) == 131072


def test_only_what_is_on_gpus_decides_over_the_context() -> None:
    assert context(3 * GIB, n_gpu_layers=0) == 131072
    assert context(6 * GIB, n_gpu_layers=5) == 131072
    assert context(6 * GIB, n_gpu_layers=33) < 131072


def test_what_fits_with_a_smaller_context_is_on_the_gpu_as_a_whole() -> None:
    found = estimate(roomy(), asked(), [gpu("CUDA0", 10 * GIB)])
    assert found.cache[RAM] == 0


def test_slots_apart_have_the_whole_context_each_where_none_is_chosen() -> None:
    def total(**options: OptionValue) -> int:
        plan = estimate(roomy(), asked(3, **options)).context
        assert plan is not None
        return plan.total_cells

    assert total(kv_unified=False) == 3 * 131072
    assert total(kv_unified=False, ctx_size=0) == 3 * 131072
    assert total(kv_unified=False, ctx_size=6144) == 6144
    assert total(kv_unified=True) == 131072
    assert total(kv_unified=False, fit="off") < 131072 + 3 * 256


# --- GPUs without layers ----------------------------------------------------------------------------------------------


def test_a_gpu_that_has_no_layers_still_has_the_driver_and_computes_large_batches() -> None:
    found = estimate(dense(), asked(ctx_size=4096, n_gpu_layers=0), [gpu("CUDA0", 20 * GIB), gpu("CUDA1", 20 * GIB)])
    assert found.program["CUDA0"] == found.program["CUDA1"] == DRIVER_BYTES
    assert found.compute["CUDA0"] > OUTPUT, "weights are copied there for as long as a batch takes"
    assert found.compute["CUDA1"] == found.weights["CUDA0"] == found.cache["CUDA0"] == 0


def test_without_that_it_only_has_the_driver() -> None:
    wanted = asked(ctx_size=4096, n_gpu_layers=0, op_offload=False)
    found = estimate(dense(), wanted, [gpu("CUDA0", 20 * GIB)])
    assert (found.program["CUDA0"], found.compute["CUDA0"]) == (DRIVER_BYTES, 0)


def test_devices_are_in_the_order_in_which_they_are_asked_for() -> None:
    found = weights(dense(), 20 * GIB, 20 * GIB, device=("CUDA1", "CUDA0"), tensor_split=("1", "0"))
    assert set(found) == {RAM, "CUDA1"}


def names(*devices: DeviceMemory, **options: OptionValue) -> list[str]:
    return [device.name for device in gpus_of(asked(**options), devices)]


def test_a_gpu_in_ram_is_used_only_where_there_is_no_other() -> None:
    card, apu = gpu("Vulkan0", 24 * GIB), replace(gpu("Vulkan1", 40 * GIB), part_of=RAM)
    assert names(card, apu) == ["Vulkan0"]
    assert names(apu) == ["Vulkan1"]
    assert names(card, apu, device=("Vulkan1", "Vulkan0")) == ["Vulkan1", "Vulkan0"], "unless it is asked for"
    assert names(gpu("ROCm0", 24 * GIB), replace(apu, name="ROCm1")) == ["ROCm0", "ROCm1"], "ROCm calls both the same"


def test_a_gpu_with_two_names_is_used_once() -> None:
    cuda, vulkan = gpu("CUDA0", 24 * GIB), replace(gpu("Vulkan0", 24 * GIB), part_of="CUDA0")
    assert names(cuda, vulkan) == ["CUDA0"]
    assert names(vulkan) == ["Vulkan0"]
    assert names(cuda, vulkan, device=("Vulkan0",)) == ["Vulkan0"]
