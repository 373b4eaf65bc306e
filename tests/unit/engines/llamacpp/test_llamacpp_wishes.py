"""What becomes of the load options of a request: bounds, contexts by slots, what is the Model's own already."""

from __future__ import annotations

from typing import Any

import pytest

from corral.contracts.engine import Wished
from corral.domain.errors import BadRequest
from corral.domain.fleet import ModelSpec, OptionValue, Source
from corral.domain.launch import LoadWish
from corral.engines.llamacpp import LlamaCppEngine
from corral.engines.llamacpp.wishes import chosen_by_engine, wished

ALL = dict.fromkeys(("batch_size", "n_gpu_layers", "main_gpu", "load_mode", "threads", "draft_max"), True)


def model(load_options: dict[str, bool | int] | None = None, **options: OptionValue) -> ModelSpec:
    return ModelSpec("m", Source("/m.gguf"), options=options, load_options=load_options or {})


def context(wanted: int, spec: ModelSpec, trained: int | None = 4096) -> Any:
    wish = wished(spec, {"ctx_size": wanted}, trained).wish
    return None if wish is None else (wish.options["ctx_size"], wish.own.get("ctx_size"))


@pytest.mark.parametrize(
    ("options", "wanted", "expected"),
    [
        ({"ctx_size": 2048}, 512, (512, 2048)),
        ({"ctx_size": 2048}, 2048, None),
        ({"ctx_size": 2048}, 2000, None),  # llama.cpp rounds up
        ({"ctx_size": 2048}, 4, (256, 2048)),
        ({"ctx_size": 2048}, 999_999, (4096, 2048)),  # trained for no more
        ({}, 512, (512, 4096)),
        ({}, 4096, None),
        ({"ctx_size": 0}, 0, None),  # all that it was trained for
        ({"ctx_size": 2048, "parallel": 2, "kv_unified": False}, 512, (1024, 2048)),
        ({"ctx_size": 2048, "parallel": 2, "kv_unified": False}, 1024, None),
        ({"parallel": 2, "kv_unified": False}, 999_999, None),
        ({"parallel": 3, "kv_unified": False}, 300, (1536, 12288)),
        ({"parallel": 2, "kv_unified_per_slot": 1024}, 512, (1024, 2048)),
        ({"parallel": 2, "kv_unified_per_slot": 1024}, 4096, None),  # no slot may use more
    ],
)
def test_a_context_is_wanted_for_one_request(
    options: dict[str, OptionValue], wanted: int, expected: tuple[int, int] | None
) -> None:
    assert context(wanted, model(**options)) == expected  # type: ignore[arg-type]


def test_where_nobody_knows_what_it_was_trained_for() -> None:
    assert context(8192, model(ctx_size=2048), None) == (8192, 2048)
    assert context(8192, model(), None) == (8192, 1 << 31)


def test_the_operators_bound_cuts() -> None:
    assert context(4096, model({"ctx_size": 1024}, ctx_size=512)) == (1024, 512)
    found = wished(model({"threads": 4}), {"threads": 64}, None)
    assert found == Wished(LoadWish({"threads": 4}), ())


@pytest.mark.parametrize(
    ("name", "wanted"), [("n_gpu_layers", "auto"), ("n_gpu_layers", "all"), ("threads", -1), ("draft_max", 64)]
)
def test_no_word_gets_past_the_operators_bound(name: str, wanted: OptionValue) -> None:
    found = wished(model({name: 8}, model_draft="/d.gguf"), {name: wanted}, None)
    assert found.wish is not None and found.wish.options == {name: 8}


def test_what_its_engine_chose_for_the_context() -> None:
    assert chosen_by_engine({}, 3900, 4) == {"ctx_size": 4096}, "as wishes are rounded"
    assert chosen_by_engine({"kv_unified": False}, 1024, 4) == {"ctx_size": 4096}
    assert chosen_by_engine({"ctx_size": 2048}, 512, 4) == {}, "somebody else has chosen"
    assert chosen_by_engine({}, None, 4) == {}


def test_what_may_not_be_chosen_is_ignored_and_said() -> None:
    found = wished(model(ctx_size=2048), {"ctx_size": 512, "threads": 4, "batch_size": 64}, None)
    assert found == Wished(LoadWish({"ctx_size": 512}, {"ctx_size": 2048}), ("threads", "batch_size"))
    assert wished(model({"ctx_size": False}), {"ctx_size": 512}, None) == Wished(None, ("ctx_size",))
    assert wished(model({"model_draft": True}), {"model_draft": "/etc/passwd"}, None).ignored == ("model_draft",)


def test_what_is_among_the_args_stays() -> None:
    spec = ModelSpec("m", Source("/m.gguf"), args=(("c", 2048),))
    assert wished(spec, {"ctx_size": 512}, None) == Wished(None, ("ctx_size",))


def test_other_options() -> None:
    wanted: dict[str, OptionValue] = {
        "batch_size": 600, "n_gpu_layers": 0, "load_mode": "none", "threads": 3,
    }  # fmt: skip
    found = wished(model({**ALL}), wanted, None)
    assert found == Wished(LoadWish(wanted, {"n_gpu_layers": "auto"}))
    assert wished(model({**ALL}), {"n_gpu_layers": "auto"}, None) == Wished()


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"batch_size": 0}, "batch_size must be a whole number of tokens, 1 or more, not 0"),
        ({"threads": "x"}, "threads must be"),
        ({"main_gpu": 0}, "'m' cannot be loaded like that: options.main_gpu has a meaning only with split_mode"),
        ({"load_mode": "none"}, "'m' cannot be loaded like that: "),
    ],
)
def test_what_cannot_be_is_the_requests_mistake(wanted: dict[str, OptionValue], words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        wished(model({**ALL}, mlock=True), wanted, None)


def test_load_options_are_checked_with_the_config() -> None:
    engine = LlamaCppEngine(which=lambda name: "/bin/llama-server")
    assert engine.problems(model({"ctx_size": 4096, "threads": False})) == []
    assert engine.problems(model({"load_mode": 3})) == ["load_options.load_mode has no most; it is true or false."]
    (sentence,) = engine.problems(model({"lora": True}))
    assert sentence.startswith("load_options.lora is nothing that requests may choose; they may choose: ctx_size, ")
