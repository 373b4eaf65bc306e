"""What is recommended is what the engine takes: the embedded one, a llama-server, or one that is not here."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from corral.domain.devices import DeviceMemory
from corral.domain.fleet import ModelSpec, OptionValue, Source
from corral.engines.llamacpp import LlamaCppEngine
from corral.engines.llamacpp.fits import misfits
from corral.engines.llamacpp.options import OPTIONS
from corral.store.fit.advice import Advice, Where, advise
from corral.store.fit.report import fit
from corral.store.fit.rooms import Rooms, Verdict, rooms_of
from corral.store.fit.rough import Judge, RoughModel
from corral.store.fit.saying import Saying
from corral.store.fit.server import AnyServer, EngineServer
from corral.store.fit.service import checked
from corral.store.fit.subject import Subject, used_gpus
from tests.unit.store.fit.kit import GIB, USUAL, host, llama, subject
from tests.unit.store.shapes import MIB

EMBEDDED = LlamaCppEngine(which=lambda name: None)
BINARY = LlamaCppEngine(which=lambda name: "/usr/bin/llama-server")
ALL = ("CUDA0", "CUDA1", "CUDA2")
ALL_KINDS = ("CUDA0", "Vulkan0")


def served(model: Subject, engine: LlamaCppEngine, *usable: str, imagined: tuple[str, ...] = ()) -> Subject:
    """By this engine, which can use these GPUs."""
    spec = ModelSpec("m", Source("/m.gguf"), options={name: model.options[name] for name in model.chosen})
    return dataclasses.replace(model, server=EngineServer(engine, spec, frozenset(usable), frozenset(imagined)))


def advised(model: Subject, rooms: Rooms) -> Advice:
    found = advise(model, rooms)
    assert found is not None and found.verdict is not Verdict.NEVER
    return found


@pytest.mark.parametrize(
    ("gpus", "by_name", "by_place"),
    [
        ((4, 24), {"device": ("CUDA1",)}, {"split_mode": "none", "main_gpu": 1}),
        ((48, 24, 64), {"device": ("CUDA1",)}, {"split_mode": "none", "main_gpu": 1}),
        ((0.5,), {"device": ("none",)}, {"n_gpu_layers": 0, "op_offload": False}),
    ],
)
def test_the_embedded_engine_is_told_by_place_what_others_are_told_by_name(
    gpus: tuple[Any, ...], by_name: dict[str, Any], by_place: dict[str, Any]
) -> None:
    rooms, model = host(32, *gpus), subject(ctx_size=8192)
    named = advised(served(model, BINARY, *ALL), rooms)
    placed = advised(served(model, EMBEDDED, *ALL), rooms)
    assert by_name.items() <= named.options.items()
    assert by_place.items() <= placed.options.items() and "device" not in placed.options
    assert (named.why, named.where) == (placed.why, placed.where)


def test_a_gpu_that_is_left_out_gets_no_share() -> None:
    found = advised(served(subject(ctx_size=8192), EMBEDDED, *ALL), host(32, 5, (24, 0.6), 4))
    shares = found.options["tensor_split"]
    assert isinstance(shares, tuple) and len(shares) == 3 and shares[1] == "0" and {*shares} != {"0"}
    assert found.estimate.weights["CUDA1"] == 0 < found.estimate.program["CUDA1"], "its driver is there all the same"


def test_gpus_that_the_engine_here_cannot_use_need_another() -> None:
    """The advice is for that one, then, and says so; what runs in RAM needs none."""
    model, both = subject(), ("CUDA0", "CUDA1")
    found = fit(served(model, EMBEDDED, imagined=both), host(32, 4, 24), lambda device: None).recommended
    assert found is not None and found.options["device"] == ("CUDA1",)
    assert found.needs == (
        "It needs a llama-server built for CUDA: the engine that is here cannot use CUDA1. "
        "Put one on PATH, or set the Model's `binary`."
    )
    small = fit(served(model, EMBEDDED, imagined=both), host(32, 0.5, 0.5), lambda device: None).recommended
    assert small is not None and small.load.gpu_layers == 0
    assert (small.needs, "device" in small.options) == ("", False)
    more = fit(served(model, BINARY, "CUDA0", imagined=("CUDA1",)), host(32, 8, 24), lambda device: None).recommended
    assert more is not None and more.needs == "", "one more of those that it can use"


@pytest.mark.parametrize("gpus", [(0.3,), (0,), (0.3, 0.3)])
@pytest.mark.parametrize("engine", [EMBEDDED, BINARY])
def test_no_driver_counts_on_gpus_that_the_engine_here_cannot_use(
    engine: LlamaCppEngine, gpus: tuple[float, ...]
) -> None:
    """Its own driver alone is more than they have, and in RAM there is room."""
    names = tuple(f"CUDA{number}" for number in range(len(gpus)))
    found = advised(served(subject(), engine, imagined=names), host(32, *gpus))
    assert (found.where, found.why) == (Where.RAM, "The GPUs are too small to help: it runs in RAM.")
    assert sum(found.estimate.program[name] for name in names) == 0
    assert not {"device", "n_gpu_layers", "op_offload"} & found.options.keys()
    assert found.most_context_tokens == 131072
    here = advised(served(subject(), BINARY, *names), host(32, *gpus))
    assert here.options["device"] == ("none",)


HERE_NOTE = "Counted for the engine that is here, which cannot use CUDA0: nothing is on it."


@pytest.mark.parametrize("engine", [EMBEDDED, BINARY])
def test_as_asked_is_what_the_program_takes_that_would_serve_it(engine: LlamaCppEngine) -> None:
    """One with a driver where something is on GPUs that the engine here cannot use, else the one that is here."""
    in_ram: list[tuple[float, dict[str, Any]]] = [
        (0.3, {}), (0, {}), (24, {"n_gpu_layers": 0}), (24, {"n_gpu_layers": 0, "split_mode": "none"}),
    ]  # fmt: skip
    for gpu, chosen in in_ram:
        load = fit(served(subject(**chosen), engine, imagined=("CUDA0",)), host(32, gpu), lambda device: None).asked
        assert [each.device for each in load.devices] == ["ram"], (gpu, chosen)
        assert load.notes == (HERE_NOTE,) and load.fits is Verdict.NOW
    on_gpus: list[dict[str, Any]] = [{}, {"n_gpu_layers": 3}, {"split_mode": "none", "n_gpu_layers": "auto"}]
    for chosen in on_gpus:
        both = served(subject(**chosen), engine, imagined=("CUDA0", "CUDA1"))
        found = fit(both, host(32, 24, 8), lambda device: None)
        programs = {each.device: each.program_bytes // MIB for each in found.asked.devices}
        assert programs == {"ram": 48, "CUDA0": 400} | ({} if "split_mode" in chosen else {"CUDA1": 400})
        assert found.asked.notes == (
            "Counted for a llama-server built for CUDA, which is not here: its driver takes 400 MiB of every GPU that "
            "it may use.",
        )
    here = fit(served(subject(n_gpu_layers=0), BINARY, "CUDA0"), host(32, 24), lambda device: None).asked
    assert {each.device: each.program_bytes // MIB for each in here.devices} == {"ram": 48, "CUDA0": 400}
    assert here.notes == ()


def test_a_gpu_that_is_named_has_the_driver_of_the_program_that_it_takes() -> None:
    model = served(subject(device=("CUDA0",), n_gpu_layers=0), EMBEDDED, imagined=("CUDA0",))
    found = fit(model, host(32, 8), lambda device: None)
    assert {each.device: each.program_bytes // MIB for each in found.asked.devices} == {"ram": 48, "CUDA0": 400}
    assert found.recommended is not None and "cannot use CUDA0" in found.recommended.needs


def test_a_program_for_gpus_of_two_kinds_is_built_for_both() -> None:
    server = EngineServer(EMBEDDED, ModelSpec("m"), frozenset({"Vulkan0"}), frozenset({"CUDA0"}))
    assert "built for CUDA and Vulkan: the engine that is here cannot use CUDA0." in server.needs({}, ALL_KINDS)
    assert server.needs({}, ["Vulkan0"]) == ""


def test_what_was_asked_of_gpus_is_not_moved_to_ram() -> None:
    assert advised(served(subject(n_gpu_layers=0), EMBEDDED, imagined=("CUDA0",)), host(32, 0.3)).where is Where.RAM
    on_gpus: tuple[dict[str, Any], ...] = (
        {"n_gpu_layers": 9}, {"n_gpu_layers": "all"}, {"device": ("CUDA0",)}, {"split_mode": "none"},
    )  # fmt: skip
    for chosen in on_gpus:
        assert advise(served(subject(**chosen), EMBEDDED, imagined=("CUDA0",)), host(32, 0.3)) is None, chosen


def test_gpus_that_the_engine_here_can_use_are_kept_beside_others() -> None:
    model = served(subject(ctx_size=8192), EMBEDDED, "CUDA0", imagined=("Vulkan0",))
    rooms = rooms_of([*host(32, 24).devices, DeviceMemory("Vulkan0", 1, 1)], {})
    found = advised(model, rooms)
    assert found.where is Where.GPU and found.estimate.weights["CUDA0"]
    assert found.estimate.program["Vulkan0"] == 0


@pytest.mark.parametrize(
    ("gpu", "words"), [("Vulkan0", "built for Vulkan"), ("ROCm1", "built for ROCm"), ("MTL0", "built for Metal")]
)
def test_a_back_end_by_the_name_of_its_gpu(gpu: str, words: str) -> None:
    server = EngineServer(EMBEDDED, ModelSpec("m"), frozenset({"CUDA0"}), frozenset({gpu}))
    assert words in server.needs({}, [gpu]) and gpu in server.needs({}, [gpu])
    assert server.needs({}, ["CUDA0"]) == server.needs({}, []) == ""


def test_a_gpu_that_was_named_is_that_of_another_engine_even_where_nothing_is_on_it() -> None:
    model = served(subject(device=("CUDA0",), n_gpu_layers=0), EMBEDDED, imagined=("CUDA0",))
    assert advised(model, host(32, 8)).where is Where.RAM
    assert advise(served(subject(device=("CUDA0",)), EMBEDDED, "CUDA0"), host(32, 8)) is None, "it is refused"


def test_by_place_only_those_can_be_told_that_have_one() -> None:
    """An integrated GPU beside a card is used by its name alone."""
    server = EngineServer(EMBEDDED, ModelSpec("m", Source("/m.gguf")), frozenset({"Vulkan0", "Vulkan1"}))
    saying = Saying(server, ["Vulkan0"])
    assert saying.on({"Vulkan1": 33}) is None and saying.on({"Vulkan0": 20, "Vulkan1": 13}) is None
    assert saying.on({"Vulkan0": 33}) == {"split_mode": "none", "main_gpu": 0}


def test_lists_are_judged_by_what_is_accepted_too() -> None:
    class Refuses(AnyServer):
        def accepts(self, options: Mapping[str, OptionValue], gpus: Collection[str]) -> bool:
            return False

    model = RoughModel("Q4_K_M", 8 * GIB)
    found = [Judge(host(64), USUAL, server).of(model).where for server in (AnyServer(), Refuses())]
    assert found == [Where.RAM, Where.NO]


def test_what_is_refused_beside_what_was_chosen_is_not_recommended() -> None:
    """Four slots of 32 tokens: too few for each."""
    model = subject(llama(context_length=128), kv_unified=False)
    assert advised(model, host(32)).options == {"ctx_size": 128, "parallel": 4}
    assert advised(served(model, BINARY), host(32)).options == {"ctx_size": 128, "parallel": 2}


SIZES = st.sampled_from([0.3, 0.8, 1.5, 2.5, 4, 5.5, 6.5, 8, 12, 24, 48])
HEADERS = st.one_of(
    st.builds(
        llama,
        st.sampled_from(["llama", "qwen3moe", "gemma3", "bert"]),
        layer=st.sampled_from([16, 128, 400]),
        expert=st.sampled_from([0, 300]),
        context_length=st.sampled_from([64, 2048, 131072]),
        attention__head_count_kv=st.sampled_from([1, 8, 32]),
        attention__key_length=st.sampled_from([80, 128]),
        expert_count=st.just(64),
        expert_used_count=st.just(8),
    ),
    st.just(llama("mamba", ssm__conv_kernel=4, ssm__inner_size=65536, ssm__state_size=128)),
)
CHOSEN = st.sampled_from([
    {}, {}, {}, {"ctx_size": 8192}, {"parallel": 2}, {"flash_attn": "off"}, {"kv_unified": False},
    {"cache_type_k": "q8_0"}, {"n_gpu_layers": 4}, {"split_mode": "none"}, {"keep": 9000}, {"kv_offload": False},
    {"tensor_split": ("1", "1")}, {"fit": "off"}, {"op_offload": True},
])  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    made=HEADERS,
    chosen=CHOSEN,
    ram=st.sampled_from([1.5, 8, 16, 64]),
    gpus=st.lists(st.one_of(SIZES, st.tuples(st.just(24), SIZES)), max_size=3),
    engine=st.sampled_from([EMBEDDED, BINARY]),
    here=st.booleans(),
)
def test_whatever_is_recommended_passes_the_engines_own_checks(
    made: Any, chosen: dict[str, Any], ram: float, gpus: list[Any], engine: LlamaCppEngine, here: bool
) -> None:
    names = tuple(f"CUDA{number}" for number in range(len(gpus)))
    asked = subject(made, **chosen)
    model = served(asked, engine, *names) if here else served(asked, engine, imagined=names)
    found = advise(model, host(ram, *gpus))
    event(f"{found.where if found else Where.NO} {sorted(found.options) if found else ''}")
    if found is None:
        return
    assert not found.options.keys() & chosen.keys()
    plain = checked(OPTIONS, {**chosen, **found.options})
    assert plain == {**chosen, **found.options}
    spec = ModelSpec("m", Source("/m.gguf"), options=plain)
    assert isinstance(model.server, EngineServer)
    theirs = BINARY if model.server.needs(found.options, used_gpus(found.estimate)) else engine
    assert theirs.problems(spec) == []
    before = misfits(theirs.resolved(dataclasses.replace(spec, options=chosen)).options, made[0], {})
    assert misfits(theirs.resolved(spec).options, made[0], {}) == before
