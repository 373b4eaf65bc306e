"""Requests that want their Model loaded with other options: who serves them, and what becomes of such ways."""

from __future__ import annotations

import dataclasses

from corral.domain.fleet import Fit, ModelSpec, OptionValue
from corral.domain.instance import InstanceState
from corral.domain.launch import AS_CONFIGURED, LoadWish, Variant

from .script import Script, footprint, spec, swap

OWN: dict[str, OptionValue] = {"ctx_size": 2048}
SMALLER = Variant({"ctx_size": 1024}, footprint(3), "small", "ctx_size 1024 instead of 2048")


def model(name: str = "a", *, ctx_size: int = 2048, **settings: float) -> ModelSpec:
    """With a context of its own."""
    return dataclasses.replace(spec(name, **settings), slots=9, options={"ctx_size": ctx_size})  # type: ignore[arg-type]


def wish(ctx: int = 0, **options: OptionValue) -> LoadWish:
    """What differs from `model`."""
    wanted = {**({"ctx_size": ctx} if ctx else {}), **options}
    return LoadWish(wanted, {name: value for name, value in OWN.items() if name in wanted})


def asked(s: Script, request: int, wanted: LoadWish, label: str) -> None:
    """Asked for and running, the request done."""
    assert s.ask(request, "a", wish=wanted) == [f"survey {label}"]
    assert s.surveyed(label, digest=label) == [f"start {label}"]
    assert s.ready(label) == [f"grant {request} {label}"]
    s.release(request)


def test_a_wish_is_looked_at_then_loaded_beside_the_model_as_it_is() -> None:
    s = Script(model(), sizes={"a": 5, "a ctx_size=512": 3}, ram=8)
    s.load("a")
    asked(s, 1, wish(4096), "a ctx_size=4096")
    asked(s, 2, wish(512, threads=3), "a ctx_size=512 threads=3")
    start = s.starts["a ctx_size=512 threads=3"]
    assert (start.model.name, start.model.options) == ("a", {"ctx_size": 512, "threads": 3})
    assert (start.digest, start.note) == ("a ctx_size=512 threads=3", "")
    assert s.ask(3, "a") == ["grant 3 a"]
    assert {loaded for loaded, *_ in s.loads_told()} == {"a"}, "nobody needs to know another name"


def test_the_same_wish_again_is_served_by_who_runs() -> None:
    s = Script(model())
    asked(s, 1, wish(4096), "a ctx_size=4096")
    assert s.ask(2, "a", wish=wish(4096)) == ["grant 2 a ctx_size=4096"]
    assert s.ask(3, "a", wish=wish(3000)) == ["grant 3 a ctx_size=4096"], "more context is as good"
    assert s.ask(4, "a", wish=wish(4352)) == ["survey a ctx_size=4352"]


def test_a_burst_with_one_wish_is_one_load() -> None:
    s = Script(model())
    assert s.ask(1, "a", wish=wish(4096)) == ["survey a ctx_size=4096"]
    assert s.ask(2, "a", wish=wish(4096)) == []
    assert s.surveyed("a ctx_size=4096") == ["start a ctx_size=4096"]
    assert s.ask(3, "a", wish=wish(4096)) == []
    assert s.ask(4, "a", wish=wish(3072)) == [], "it will have enough"
    assert len(s.ready("a ctx_size=4096")) == 4


def test_a_model_with_enough_serves_a_wish_for_less_and_only_where_nobody_runs_it_is_loaded_smaller() -> None:
    s = Script(model())
    s.load("a")
    assert s.ask(1, "a", wish=wish(512)) == ["grant 1 a"]
    s.release(1)
    s.unload("a")
    s.stopped("a")
    assert s.ask(2, "a", wish=wish(512)) == ["survey a ctx_size=512"]


def test_a_request_without_a_wish_gets_the_model_as_it_was_configured() -> None:
    s = Script(model())
    asked(s, 1, wish(4096), "a ctx_size=4096")
    assert s.ask(2, "a") == ["start a"]


def test_a_request_for_no_slot_takes_whatever_runs() -> None:
    s = Script(model())
    asked(s, 1, wish(4096), "a ctx_size=4096")
    assert s.ask(2, "a", weight=0) == ["grant 2 a ctx_size=4096"]
    assert s.ask(3, "a", weight=0, operator=True) == ["start a"], "by hand it is loaded as it was configured"
    assert s.ask(4, "a", weight=0) == []


def test_other_options_have_to_be_the_same() -> None:
    s = Script(model())
    asked(s, 1, wish(threads=4), "a threads=4")
    assert s.ask(2, "a", wish=wish(threads=8)) == ["survey a threads=8"]
    assert s.ask(3, "a", wish=wish(512)) == ["survey a ctx_size=512"], "its threads are not the Model's own"
    assert s.ask(4, "a", wish=wish(512, threads=4)) == ["grant 4 a threads=4"]


def test_one_that_was_started_smaller_has_what_it_has() -> None:
    s = Script(model(), ram=4, sizes={"a": 5})
    s.configure(model(), ram=4, variants={"a": (SMALLER,)})
    s.load("a")
    assert s.ask(1, "a", wish=wish(1024)) == ["grant 1 a"]
    assert s.ask(2, "a", wish=wish(1536)) == ["survey a ctx_size=1536"]


def test_it_evicts_like_any_load_and_is_evicted() -> None:
    s = Script(model(), model("b"), ram=1)
    s.load("b")
    s.ask(1, "a", wish=wish(4096))
    assert s.surveyed("a ctx_size=4096") == ["stop b (memory)"]
    assert s.stopped("b") == ["start a ctx_size=4096"]
    s.ready("a ctx_size=4096")
    s.release(1)
    assert s.ask(2, "b") == ["stop a ctx_size=4096 (memory)"]
    assert s.evictions_told()[-1] == ("a", "memory", "b")


def test_it_is_in_its_models_group() -> None:
    s = Script(model(), "b", groups=[swap("a", "b")])
    s.load("b")
    s.ask(1, "a", wish=wish(4096))
    assert s.surveyed("a ctx_size=4096") == ["stop b (swap)"]
    s.stopped("b")
    s.ready("a ctx_size=4096")
    s.release(1)
    assert s.ask(2, "a") == ["stop a ctx_size=4096 (swap)"], "only one member of a group runs"


def test_it_lives_its_models_ttl() -> None:
    s = Script(model(ttl=60))
    asked(s, 1, wish(4096), "a ctx_size=4096")
    assert s.wait(60) == ["stop a ctx_size=4096 (ttl)"]
    s.stopped("a ctx_size=4096")
    assert s.ask(2, "a", wish=wish(4096)) == ["start a ctx_size=4096"], "what it takes is known"


def test_for_a_fifth_way_the_one_that_was_used_longest_ago_goes() -> None:
    s = Script(model())
    for number in range(4):
        asked(s, number, wish(threads=number + 1), f"a threads={number + 1}")
    s.ask(10, "a", wish=wish(threads=1))
    s.release(10)
    s.ask(11, "a", wish=wish(threads=2))  # in use
    assert s.ask(12, "a", wish=wish(threads=9)) == ["survey a threads=9", "stop a threads=3 (options)"]
    assert s.evictions_told() == [("a", "options", "")]
    assert s.stopped("a threads=3") == []
    assert s.surveyed("a threads=9") == ["start a threads=9"]


def test_one_that_is_wanted_again_before_it_has_gone_is_not_there_twice() -> None:
    s = Script(model())
    for number in range(5):
        s.ask(number, "a", wish=wish(threads=number + 1)) if number < 4 else None
    for number in range(4):
        s.surveyed(f"a threads={number + 1}", digest=f"d{number}")
        s.ready(f"a threads={number + 1}")
        s.release(number)
    assert s.ask(5, "a", wish=wish(threads=5)) == ["survey a threads=5", "stop a threads=1 (options)"]
    assert s.ask(6, "a", wish=wish(threads=1)) == ["survey a threads=1", "stop a threads=2 (options)"]
    assert s.surveyed("a threads=1", digest="d0") == [], "its memory is not free yet"
    assert s.stopped("a threads=1") == ["start a threads=1"]


def test_where_all_ways_are_in_use_a_new_one_is_refused() -> None:
    s = Script(model())
    for number in range(4):
        s.ask(number, "a", wish=wish(threads=number + 1))
    assert s.ask(5, "a", wish=wish(threads=5)) == ["refuse 5 queue_full"]
    assert s.ask(6, "a", wish=wish(threads=4)) == []


def test_views_show_the_options_that_requests_asked_for() -> None:
    s = Script(model(), "b")
    asked(s, 1, wish(4096), "a ctx_size=4096")
    assert (s.state("a"), s.view("a").options) == (InstanceState.READY, {"ctx_size": 4096})
    assert [(v.model, v.state.value, v.options) for v in s.machine.views()] == [
        ("a", "stopped", {}),
        ("a", "ready", {"ctx_size": 4096}),
        ("b", "stopped", {}),
    ]
    assert s.machine.states() == [("a", "ready"), ("b", "stopped")]
    s.ask(2, "a")
    assert (s.state("a"), s.view("a").options) == (InstanceState.STARTING, {}), "its own goes before"
    assert len(s.machine.present()) == 2


def test_an_unload_by_name_unloads_all_of_it() -> None:
    s = Script(model())
    s.load("a")
    asked(s, 1, wish(4096), "a ctx_size=4096")
    s.ask(2, "a", wish=wish(8192))
    assert s.unload("a") == ["stop a (unload)", "stop a ctx_size=4096 (unload)", "refuse 2 model_unloaded"]


def test_a_failure_is_that_ways_own() -> None:
    s = Script(model())
    s.ask(1, "a", wish=wish(4096))
    s.surveyed("a ctx_size=4096")
    assert s.fail("a ctx_size=4096") == ["refuse 1 engine_start_failed"]
    assert s.ask(2, "a", wish=wish(4096)) == ["refuse 2 engine_start_failed"], "until its back-off is over"
    assert s.ask(3, "a") == ["start a"]


def test_a_reload_that_changes_nothing_of_it_keeps_it() -> None:
    s = Script(model())
    asked(s, 1, wish(4096), "a ctx_size=4096")
    assert s.configure(model(ttl=60)) == ["survey a ctx_size=4096"], "its files may be others"
    assert s.ask(2, "a", wish=wish(4096)) == ["grant 2 a ctx_size=4096"]
    assert s.surveyed("a ctx_size=4096", digest="a ctx_size=4096") == []
    s.release(2)
    assert s.wait(60) == ["stop a ctx_size=4096 (ttl)"], "by the new spec"


def test_after_a_reload_another_file_is_another_load() -> None:
    s = Script(model())
    asked(s, 1, wish(4096), "a ctx_size=4096")
    s.configure(model(), digests={"a": "new"})
    s.ask(2, "a", wish=wish(4096))
    s.ask(3, "a", wish=wish(4096))
    assert s.surveyed("a ctx_size=4096", digest="new 4096") == []
    assert s.state("a") is InstanceState.DRAINING
    assert s.ask(4, "a", wish=wish(4096)) == ["start a ctx_size=4096"]
    assert s.ready("a ctx_size=4096") == ["grant 4 a ctx_size=4096"]
    assert s.release(2, 3) == ["stop a ctx_size=4096 (reload)"]


def test_a_reload_with_other_options_serves_who_waits_and_lets_it_go() -> None:
    s = Script(model(), ram=1)
    s.load("a")
    s.ask(1, "a")
    s.ask(2, "a", wish=wish(4096))
    assert s.surveyed("a ctx_size=4096", digest="way") == []
    assert s.configure(model(ctx_size=1024), ram=1) == []
    assert s.wait(20) == []
    assert s.release(1) == ["stop a (memory)"]
    assert s.stopped("a") == ["start a ctx_size=4096"]
    assert s.ready("a ctx_size=4096") == ["grant 2 a ctx_size=4096"]
    assert s.release(2) == ["stop a ctx_size=4096 (reload)"]
    assert s.stopped("a ctx_size=4096") == []
    assert list(s.machine._world.retiring) == []


def test_a_removed_model_serves_those_with_wishes_first() -> None:
    s = Script(model())
    s.ask(1, "a", wish=wish(4096))
    assert s.configure("b") == []
    assert s.ask(2, "a", wish=wish(4096)) == ["refuse 2 model_not_found"]
    s.fleet = dataclasses.replace(s.fleet, models={"a": model()})  # for the label alone
    assert s.surveyed("a ctx_size=4096") == ["start a ctx_size=4096"]
    assert s.ready("a ctx_size=4096") == ["grant 1 a ctx_size=4096"]
    assert s.release(1) == ["stop a ctx_size=4096 (reload)"]
    s.stopped("a ctx_size=4096")
    assert list(s.machine._world.models) == ["b"]


def test_keep_alive_is_that_of_the_instance() -> None:
    s = Script(model(ttl=60))
    s.load("a")
    s.ask(1, "a", wish=wish(4096), keep_s=0)
    s.surveyed("a ctx_size=4096")
    s.ready("a ctx_size=4096")
    assert s.release(1) == ["stop a ctx_size=4096 (ttl)"]
    assert s.state("a") is InstanceState.READY


def test_at_a_shutdown_who_waits_is_refused() -> None:
    s = Script(model())
    asked(s, 1, wish(4096), "a ctx_size=4096")
    s.ask(2, "a", wish=wish(8192))
    assert s.shut_down() == ["refuse 2 shutting_down", "stop a ctx_size=4096 (shutdown)"]
    assert s.stopped("a ctx_size=4096") == ["finished"]


def test_a_way_that_leaves_is_in_its_models_new_group() -> None:
    s = Script(model())
    asked(s, 1, wish(4096), "a ctx_size=4096")
    assert s.ask(2, "a", wish=wish(4096)) == ["grant 2 a ctx_size=4096"]
    s.configure(model(ctx_size=1024), "b", groups=[swap("a", "b")])  # the way leaves, with its lease
    assert s.ask(3, "b") == [], "not beside any of a"
    assert s.release(2) == ["stop a ctx_size=4096 (reload)"]
    assert s.stopped("a ctx_size=4096") == ["start b"]


def test_a_load_without_options_loads_the_model_as_it_was_configured() -> None:
    s = Script(model())
    asked(s, 1, wish(512), "a ctx_size=512")
    assert s.ask(2, "a", weight=0) == ["grant 2 a ctx_size=512"], "any engine can count tokens"
    assert s.ask(3, "a", weight=0, wish=AS_CONFIGURED) == ["start a"]
    assert s.ready("a") == ["grant 3 a"]


def test_an_engine_that_found_room_for_less_does_not_serve_who_wants_more() -> None:
    s = Script(dataclasses.replace(model(), options={}))
    trained: dict[str, OptionValue] = {"ctx_size": 8192}
    s.ask(1, "a")
    s.ready("a", options={"ctx_size": 2048})
    assert s.ask(2, "a", wish=LoadWish({"ctx_size": 1024}, trained)) == ["grant 2 a"]
    assert s.ask(3, "a", wish=LoadWish({"ctx_size": 4096}, trained)) == ["survey a ctx_size=4096"]


def test_one_that_will_be_started_smaller_promises_no_more_than_that() -> None:
    s = Script(model(), model("b"), ram=4, sizes={"a": 5, "b": 3})
    s.configure(model(), model("b"), ram=4, variants={"a": (SMALLER,)})
    s.load("b")
    s.ask(1, "b")
    assert s.ask(2, "a") == []
    assert s.ask(3, "a", wish=wish(1536)) == ["survey a ctx_size=1536"]
    s.release(1)
    assert s.stopped("b") == ["start a"]
    assert s.starts["a"].model.options == {"ctx_size": 1024}
    assert s.ask(4, "a", wish=wish(1536)) == [], "it waits where the other does"
    assert s.ask(5, "a", wish=wish(512)) == []
    assert s.ready("a") == ["grant 2 a", "grant 5 a"]


def test_one_of_which_nothing_is_known_yet_promises_what_it_will_have_in_any_case() -> None:
    shrinking = dataclasses.replace(model(), fit=Fit(min_ctx_size=1024))
    s = Script("b", ram=4, sizes={"a": 5})
    s.configure(shrinking, ram=4, variants={"a": (SMALLER,)}, unsurveyed=("a",))
    assert s.ask(1, "a") == ["survey a"]
    assert s.ask(2, "a", wish=wish(1536)) == ["survey a ctx_size=1536"]
    assert s.ask(3, "a", wish=wish(1024)) == [], "it is never made smaller than that"


def test_one_of_which_nothing_is_known_yet_and_that_is_never_made_smaller_promises_what_it_has() -> None:
    s = Script("b")
    s.configure(model(), unsurveyed=("a",))
    assert s.ask(1, "a") == ["survey a"]
    assert s.ask(2, "a", wish=wish(1536)) == []


def test_what_is_never_made_smaller_than_is_no_more_than_it_has() -> None:
    s = Script("b")
    s.configure(dataclasses.replace(model(), fit=Fit(min_ctx_size=4096)), unsurveyed=("a",))
    assert s.ask(1, "a") == ["survey a"]
    assert s.ask(2, "a", wish=wish(3000)) == ["survey a ctx_size=3000"]
    assert s.ask(3, "a", wish=wish(1536)) == []


def test_layers_that_may_be_fewer_are_not_what_a_request_wants() -> None:
    s = Script("b")
    s.configure(dataclasses.replace(model(), fit=Fit(min_gpu_layers=1)), unsurveyed=("a",))
    assert s.ask(1, "a") == ["survey a"]
    assert s.ask(2, "a", wish=wish(1536)) == ["survey a ctx_size=1536"]
