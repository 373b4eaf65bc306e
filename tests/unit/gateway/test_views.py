from corral.domain.facts import ModelFacts
from corral.domain.fleet import ModelSpec
from corral.domain.instance import InstanceState, InstanceView
from corral.gateway.views import missing, model_card

PINNED, PRELOADED, PLAIN = ModelSpec("pin", pin=True), ModelSpec("pre", preload=True), ModelSpec("plain")


def view(model: str, state: InstanceState, *, wanted: bool = False) -> InstanceView:
    return InstanceView(model, "", state, wanted=wanted)


def test_pinned_and_preloaded_models_are_missing_until_they_serve() -> None:
    views = [view("pin", InstanceState.STARTING, wanted=True), view("pre", InstanceState.STOPPED, wanted=True)]

    assert missing([PINNED, PRELOADED, PLAIN], {each.model: each for each in views}.get) == {
        "pin": "starting",
        "pre": "stopped",
    }


def test_a_preload_that_had_its_turn_or_was_passed_over_is_not_missing() -> None:
    assert missing([PRELOADED], lambda name: view("pre", InstanceState.STOPPED)) == {}


def test_a_preload_that_loads_is_missing() -> None:
    assert missing([PRELOADED], lambda name: view("pre", InstanceState.STARTING)) == {"pre": "starting"}


def test_a_preload_that_failed_is_missing() -> None:
    assert missing([PRELOADED], lambda name: view("pre", InstanceState.FAILED)) == {"pre": "failed"}


def test_a_pinned_model_that_was_unloaded_by_hand_is_not_missing() -> None:
    assert missing([PINNED], lambda name: view("pin", InstanceState.STOPPED)) == {}


FACTS = ModelFacts(
    architecture="llama", name="From the file", task="chat", capabilities=("chat", "tools"), inputs=("text", "image"),
    context_tokens=8192, trained_context_tokens=32768, parameters=7, quantisation="Q4_K_M", size_bytes=9,
    languages=("en",), license="mit", tags=("t",),
)  # fmt: skip


def test_a_card_shows_what_the_file_says() -> None:
    card = model_card(ModelSpec("m", aliases=("n",)), None, created=1, facts=FACTS)
    assert card == {
        "id": "m", "object": "model", "created": 1, "owned_by": "corral", "state": "stopped", "aliases": ["n"],
        "name": "From the file", "task": "chat", "capabilities": ["chat", "tools"], "context_length": 8192,
        "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"]}, "tags": ["t"],
        "meta": {"architecture": "llama", "n_params": 7, "size": 9, "ftype": "Q4_K_M", "n_ctx": 8192,
                 "n_ctx_train": 32768, "languages": ["en"], "license": "mit"},
    }  # fmt: skip


def test_the_operators_words_go_before_and_a_loaded_engine_knows_its_context_best() -> None:
    mine = ModelSpec(
        "m", title="Mine", description="D", task="completion", capabilities=("vision",), metadata={"context_length": 5}
    )
    card = model_card(mine, None, created=1, facts=FACTS, context=4096)
    assert (card["name"], card["description"], card["task"], card["capabilities"]) == (
        "Mine", "D", "completion", ["vision"],
    )  # fmt: skip
    assert (card["context_length"], card["meta"]["n_ctx"], card["metadata"]) == (5, 4096, {"context_length": 5})
    assert model_card(ModelSpec("m"), None, created=1, facts=FACTS, context=4096)["context_length"] == 4096


def test_of_a_model_without_a_file_only_what_is_known_is_shown() -> None:
    assert set(model_card(ModelSpec("m"), None, created=1)) == {
        "id",
        "object",
        "created",
        "owned_by",
        "state",
        "aliases",
    }
