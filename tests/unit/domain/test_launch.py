import pytest

from corral.domain.launch import Endpoint, Footprint, Handle, LaunchPlan, load_digest


def test_a_handle_reads_back() -> None:
    handle = Handle("process", "i-1", "m", "d", Endpoint(socket="/s", key="k"), 12.5, {"pid": 7})

    assert Handle.from_json(handle.to_json()) == handle


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"version": 99}', "\0", '{"version":1,"runtime":"x"}'])
def test_what_is_no_handle(text: str) -> None:
    with pytest.raises(ValueError):
        Handle.from_json(text)


def test_secrets_do_not_show() -> None:
    plan = LaunchPlan(("x",), Endpoint(key="sesame"), secret_env={"LLAMA_API_KEY": "sesame"})

    assert "sesame" not in repr(plan)
    assert "sesame" not in str(plan.endpoint)


def test_the_digest_ignores_the_order_of_keys_and_minds_everything_else() -> None:
    assert load_digest({"a": 1, "b": [1, 2]}) == load_digest({"b": [1, 2], "a": 1})
    assert load_digest({"a": 1}) != load_digest({"a": 0})
    assert load_digest({"b": [1, 2]}) != load_digest({"b": [2, 1]})


def test_what_a_load_takes_is_the_larger_of_what_it_says_and_holds() -> None:
    said = Footprint(100, {"CUDA0": 50, "CUDA1": 5})
    seen = said.seen({"ram": 120, "CUDA0": 40, "CUDA2": 7})
    assert seen.by_device() == {"ram": 120, "CUDA0": 50, "CUDA1": 5, "CUDA2": 7}
    assert seen.measured
    assert said.seen({}).by_device() == said.by_device()
    assert Footprint(100, spare_bytes=30).seen({"ram": 150}).by_device() == {"ram": 120}
    assert Footprint(100, spare_bytes=90).seen({"ram": 150}).by_device() == {"ram": 100}
