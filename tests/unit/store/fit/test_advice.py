"""What is recommended, host by host: the best way that fits, and nothing that was asked for is changed."""

from __future__ import annotations

from typing import Any

import pytest

from corral.domain.devices import RAM, DeviceMemory
from corral.store.fit.advice import Advice, Where, advise
from corral.store.fit.rooms import Rooms, Verdict, rooms_of
from corral.store.fit.subject import Subject
from tests.unit.store.fit.kit import GIB, LAYERS, host, llama, subject


def advised(model: Subject, rooms: Rooms) -> Advice:
    found = advise(model, rooms)
    assert found is not None
    assert found.verdict is not Verdict.NEVER
    return found


def test_one_large_gpu_takes_all_of_it() -> None:
    found = advised(subject(), host(32, 24))
    assert found.options == {"n_gpu_layers": "all", "ctx_size": 32768, "parallel": 4}
    assert found.why == "All layers are on CUDA0."
    assert found.most_context_tokens == 131072
    assert found.estimate.where is not None and set(found.estimate.where.layers) == {"CUDA0"}


def test_a_smaller_one_gets_less_context_before_a_layer_leaves() -> None:
    found = advised(subject(), host(32, 6.5))
    assert found.options["n_gpu_layers"] == "all"
    assert found.options["ctx_size"] == 8192
    assert found.most_context_tokens is not None and 8192 <= found.most_context_tokens < 16384


def test_the_cache_shrinks_to_8_bits_before_the_context_is_too_short() -> None:
    found = advised(subject(), host(32, 5.6))
    assert found.options["n_gpu_layers"] == "all"
    assert (found.options["cache_type_k"], found.options["cache_type_v"]) == ("q8_0", "q8_0")
    assert found.options["ctx_size"] == 8192


def test_heads_that_are_no_whole_blocks_keep_their_cache() -> None:
    found = advised(subject(llama(attention__key_length=80, attention__value_length=80)), host(32, 5.5))
    assert "cache_type_k" not in found.options


@pytest.mark.parametrize("chosen", [{"cache_type_k": "f16"}, {"flash_attn": "off"}])
def test_a_cache_that_was_chosen_or_cannot_be_small_stays(chosen: dict[str, Any]) -> None:
    found = advised(subject(**chosen), host(32, 5.6))
    assert not {"cache_type_k", "cache_type_v"} & found.options.keys()


def test_slots_are_fewer_where_each_costs_a_state_of_its_own() -> None:
    state = {"ssm__conv_kernel": 4, "ssm__inner_size": 65536, "ssm__state_size": 128}
    model = subject(llama("mamba", **state))
    least = model.estimate({**model.options, "ctx_size": 8192, "parallel": 1}, host(64).devices).total()["ram"]
    most = model.estimate({**model.options, "ctx_size": 8192, "parallel": 4}, host(64).devices).total()["ram"]
    assert most - least > GIB
    one = (most - least) / 3
    assert advised(model, host((least + 0.5 * one) / GIB)).options["parallel"] == 1
    assert advised(model, host((least + 1.5 * one) / GIB)).options["parallel"] == 2
    assert advised(model, host((least + 3.5 * one) / GIB)).options["parallel"] == 4


def test_layers_stay_in_ram_where_nothing_else_helps() -> None:
    found = advised(subject(), host(32, 4))
    layers = found.options["n_gpu_layers"]
    assert isinstance(layers, int) and 10 < layers < LAYERS
    one_more = subject().estimate(
        {**subject().options, **found.options, "n_gpu_layers": layers + 1}, host(32, 4).devices
    )
    assert host(32, 4).verdict(one_more) is Verdict.NEVER, "as many as fit"


@pytest.mark.parametrize("experts", [0, 512])
def test_what_neither_memory_holds_alone_is_held_by_both(experts: int) -> None:
    """With too few layers on the GPU RAM is too small, with too many the GPU: those between are found."""
    model = subject(
        llama("qwen3moe", layer=64, expert=experts, expert_count=64, expert_used_count=8) if experts else None
    )
    both = host(11, 12) if experts else host(2.6, 4)
    found = advised(model, both)
    assert found.where is Where.PART
    for alone in (host(both.all[0].most_bytes / GIB), host(1, both.all[1].most_bytes / GIB)):
        assert advise(model, alone) is None


def test_experts_stay_in_ram_before_whole_layers_do() -> None:
    model = subject(llama("qwen3moe", layer=32, expert=512, expert_count=64, expert_used_count=8))
    found = advised(model, host(32, 12))
    assert found.options["n_gpu_layers"] == "all"
    cold = found.options["n_cpu_moe"]
    assert isinstance(cold, int) and 0 < cold < LAYERS
    warmer = model.estimate({**model.options, **found.options, "n_cpu_moe": cold - 1}, host(32, 12).devices)
    assert host(32, 12).verdict(warmer) is Verdict.NEVER, "no more than must"


def test_one_gpu_that_is_enough_is_better_than_two() -> None:
    found = advised(subject(), host(32, 8, 24))
    assert found.options["device"] == ("CUDA1",)
    assert found.why == "All of it fits on CUDA1 alone."


def test_of_several_gpus_that_are_enough_the_smallest_is_taken() -> None:
    assert advised(subject(), host(32, 48, 24, 64)).options["device"] == ("CUDA1",)


def test_unequal_gpus_get_as_many_layers_as_they_have_room_for() -> None:
    rooms = host(32, 5.5, 1.6)
    found = advised(subject(ctx_size=8192), rooms)
    split = found.options["tensor_split"]
    assert isinstance(split, tuple)
    first, second = map(int, split)
    assert first + second == LAYERS + 1 and first > second
    total = found.estimate.total()
    assert total["CUDA0"] <= 5.5 * GIB and total["CUDA1"] <= 1.6 * GIB
    unasked = subject(ctx_size=8192).estimate(
        {**subject().options, "ctx_size": 8192, "n_gpu_layers": "all"}, rooms.devices
    )
    assert rooms.verdict(unasked) is Verdict.NEVER, "by what is free it would not have fitted"


def test_the_cache_counts_where_layers_are_dealt_out() -> None:
    """In 32,768 tokens a layer's cache is as large as the layer: by weights alone the first GPU would get too many."""
    rooms = host(32, 4, 5.6)
    found = advised(subject(ctx_size=32768), rooms)
    assert found.options["n_gpu_layers"] == "all" and "tensor_split" in found.options
    assert "cache_type_k" not in found.options
    total = found.estimate.total()
    assert total["CUDA0"] <= 4 * GIB and total["CUDA1"] <= 5.6 * GIB


def test_a_gpu_that_is_nearly_full_is_left_out() -> None:
    found = advised(subject(ctx_size=8192), host(32, 5, (24, 0.6), 4))
    assert found.options["device"] == ("CUDA0", "CUDA2")
    assert found.estimate.total()["CUDA1"] == 0


def test_what_other_models_hold_counts_as_free() -> None:
    """They leave where it is asked for: by what is free today nearly all layers would go to the first GPU."""
    gpus = [DeviceMemory("CUDA0", 24 * GIB, 24 * GIB), DeviceMemory("CUDA1", 24 * GIB, GIB)]
    found = advised(subject(llama(layer=1024)), rooms_of([DeviceMemory(RAM, 64 * GIB, 64 * GIB), *gpus], {}))
    assert found.options["n_gpu_layers"] == "all" and "tensor_split" not in found.options
    assert found.verdict is Verdict.LATER
    total = found.estimate.total()
    assert abs(total["CUDA0"] - total["CUDA1"]) < 3 * GIB


def test_without_flash_attention_a_small_cache_is_not_recommended() -> None:
    """Where it would be the only way to have a context that is long enough on the GPU."""
    for flash, small in (("auto", True), ("off", False)):
        found = advised(subject(flash_attn=flash, ubatch_size=32), host(32, 5.6))
        assert ("cache_type_v" in found.options) is small


def test_without_a_gpu_it_runs_in_ram() -> None:
    found = advised(subject(), host(16))
    assert found.options == {"ctx_size": 32768, "parallel": 4}
    assert found.estimate.total().keys() == {RAM}


def test_a_gpu_that_is_too_small_to_help_is_named_as_such() -> None:
    found = advised(subject(), host(16, 0.5))
    assert found.options["device"] == ("none",)


def test_nothing_fits() -> None:
    assert advise(subject(), host(2)) is None
    assert advise(subject(), host(2, 1)) is None


@pytest.mark.parametrize(
    "chosen",
    [{"ctx_size": 65536}, {"parallel": 1}, {"cache_type_k": "f16"}, {"n_gpu_layers": 7}, {"device": ("CUDA0",)}],
)
def test_what_was_asked_for_is_not_changed(chosen: dict[str, Any]) -> None:
    found = advised(subject(**chosen), host(32, 7))
    assert not found.options.keys() & chosen.keys()


def test_a_short_training_context_is_not_exceeded() -> None:
    found = advised(subject(llama(context_length=2048)), host(32, 24))
    assert found.options["ctx_size"] == 2048


def test_an_encoder_has_no_context_to_recommend() -> None:
    found = advised(subject(llama("bert")), host(32, 24))
    assert found.options == {"n_gpu_layers": "all"}
    assert found.most_context_tokens is None
