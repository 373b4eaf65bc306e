from corral.domain.fleet import ModelSpec
from corral.domain.instance import InstanceState, InstanceView
from corral.gateway.views import missing, running_row

PINNED, PRELOADED, PLAIN = ModelSpec("pin", pin=True), ModelSpec("pre", preload=True), ModelSpec("plain")


def view(model: str, state: InstanceState, *, wanted: bool = False) -> InstanceView:
    return InstanceView(model, "", state, wanted=wanted)


def test_pinned_and_preloaded_models_are_missing_until_they_serve() -> None:
    views = [view("pin", InstanceState.STARTING, wanted=True), view("pre", InstanceState.STOPPED, wanted=True)]

    assert missing([PINNED, PRELOADED, PLAIN], views) == {"pin": "starting", "pre": "stopped"}


def test_a_preload_that_had_its_turn_or_was_passed_over_is_not_missing() -> None:
    assert missing([PRELOADED], [view("pre", InstanceState.STOPPED)]) == {}


def test_a_preload_that_loads_is_missing() -> None:
    assert missing([PRELOADED], [view("pre", InstanceState.STARTING)]) == {"pre": "starting"}


def test_a_preload_that_failed_is_missing() -> None:
    assert missing([PRELOADED], [view("pre", InstanceState.FAILED)]) == {"pre": "failed"}


def test_a_pinned_model_that_was_unloaded_by_hand_is_not_missing() -> None:
    assert missing([PINNED], [view("pin", InstanceState.STOPPED)]) == {}


def test_a_model_that_never_ran_has_no_age() -> None:
    assert running_row(view("plain", InstanceState.STOPPED), now=1000.0)["for_s"] is None
