"""Models whose files are not here: fetched when they are wanted, and planned for when they have come."""

from __future__ import annotations

import dataclasses

from corral.domain.errors import FetchRefused, FileMissing, NotThere
from corral.domain.fetching import Progress
from corral.domain.fleet import ModelSpec, Source
from corral.domain.instance import InstanceState
from corral.domain.launch import LoadWish

from .script import Script, spec, swap

GIB = 1024**3


def absent(name: str, *, pin: bool = False, preload: bool = False) -> ModelSpec:
    """One whose files are somewhere else."""
    return dataclasses.replace(
        spec(name, slots=2, pin=pin, preload=preload), source=Source(reference=f"hf.co/o/{name}")
    )


def test_the_first_request_has_the_files_fetched_then_surveyed_then_loaded() -> None:
    s = Script(absent("a"))
    assert s.first == []
    assert s.ask(1, "a") == ["fetch a"]
    assert s.ask(2, "a") == [], "one fetch, whoever waits"
    assert s.state("a") is InstanceState.STARTING
    assert s.came("a") == ["survey a"]
    assert s.asked_about["a"].source.path == "/store/a.gguf"
    assert s.surveyed(s.asked_about["a"], digest="now it is known") == ["start a"]
    assert s.starts["a"].model.source.path == "/store/a.gguf"
    assert s.ready("a") == ["grant 1 a", "grant 2 a"]
    assert s.fetches_told() == [("a", "fetched", 100)]


def test_nobody_leaves_for_files_that_have_not_come() -> None:
    s = Script("b", absent("a"), groups=[swap("a", "b")], ram=1)
    s.load("b")
    assert s.ask(1, "a") == ["fetch a"]
    s.wait(100)
    assert s.state("b") is InstanceState.READY
    s.came("a")
    assert s.surveyed(s.asked_about["a"]) == ["stop b (swap)"]


def test_pinned_and_preloaded_models_are_fetched_at_once() -> None:
    s = Script(absent("a", pin=True), absent("b", preload=True), absent("c"))
    assert s.first == ["fetch a", "fetch b"]
    assert s.view("a").wanted
    s.came("b")
    assert s.surveyed(s.asked_about["b"]) == ["start b"]


def test_progress_is_shown() -> None:
    s = Script(absent("a"))
    s.ask(1, "a")
    s.wait(2)
    view = s.view("a")
    assert view.fetching == Progress(0, None, doing="looking")
    s.fetching("a", 1 * GIB, 4 * GIB, GIB / 2)
    fetching = s.view("a").fetching
    assert fetching is not None
    assert fetching.words() == "25.0 % (1 GiB of 4 GiB), 512 MiB/s, about 6s more"
    row = s.view("a").row(s.now, None)
    assert row["state"] == "starting"
    assert row["for_s"] == 2
    assert [view.model for view in s.machine.present()] == ["a"]
    s.came("a")
    assert s.view("a").fetching is None


def test_who_has_waited_too_long_is_told_how_far_it_is_and_the_fetch_goes_on() -> None:
    s = Script(absent("a"))
    s.ask(1, "a", timeout=10)
    s.ask(2, "a", timeout=20)
    assert s.wait(11) == ["refuse 1 fetching"]
    assert s.errors[1].retry_after_s == 30, "nothing is known yet"
    s.fetching("a", 1 * GIB, 4 * GIB, GIB / 100)
    assert s.wait(10) == ["refuse 2 fetching"]
    assert s.errors[2].retry_after_s == 300
    assert "25.0 % (1 GiB of 4 GiB)" in s.errors[2].message
    assert s.ask(3, "a") == [], "it is still the same fetch"
    s.leave(3)
    assert s.came("a") == [], "nobody waits: it is here, and is not loaded"
    assert s.state("a") is InstanceState.STOPPED
    assert s.ask(4, "a") == ["survey a"]


def test_a_failed_fetch_is_told_to_all_who_wait_and_tried_again_by_the_next_after_the_back_off() -> None:
    s = Script(absent("a"))
    s.ask(1, "a")
    s.ask(2, "a")
    assert s.fetch_failed("a", NotThere("o/a has no Q9.")) == ["refuse 1 not_there", "refuse 2 not_there"]
    assert s.errors[1] is not s.errors[2]
    assert s.state("a") is InstanceState.FAILED
    assert s.view("a").error == "o/a has no Q9."
    assert s.ask(3, "a") == ["refuse 3 not_there"]
    s.wait(1.1)
    assert s.ask(4, "a") == ["fetch a"]
    s.fetch_failed("a", NotThere())
    assert s.view("a").retry_at == s.now + 2
    assert s.ask(5, "a") == ["refuse 5 not_there"]
    assert s.fetches_told() == [("a", "failed", 0)] * 2


def test_an_operator_need_not_wait_for_the_back_off() -> None:
    s = Script(absent("a"))
    s.ask(1, "a")
    s.fetch_failed("a", NotThere())
    assert s.ask(2, "a", operator=True, weight=0) == ["fetch a"]


def test_a_refusal_to_fetch_never_locks_out_for_long() -> None:
    s = Script(absent("a"))
    for request in range(5):
        assert s.ask(request, "a") == ["fetch a"]
        s.fetch_failed("a", FetchRefused())
        s.wait(1.1)


def test_who_is_refused_is_not_told_to_come_back() -> None:
    s = Script(absent("a"))
    s.ask(1, "a")
    s.fetch_failed("a", FetchRefused())
    s.ask(2, "a")
    assert [s.errors[request].retry_after_s for request in (1, 2)] == [None, None]
    s = Script(absent("a"))
    s.ask(1, "a")
    s.fetch_failed("a", NotThere())
    assert s.errors[1].retry_after_s == 1


def test_a_pinned_model_tries_again_by_itself() -> None:
    s = Script(absent("a", pin=True))
    s.fetch_failed("a", NotThere())
    assert s.wait(1.1) == ["fetch a"]


def test_a_pinned_model_that_may_not_be_fetched_is_looked_at_less_and_less() -> None:
    s = Script(absent("a", pin=True))
    told = []
    for delay_s in (1, 2, 4, 8, 16, 32, 60, 60):
        s.fetch_failed("a", FetchRefused("It is not here, and auto_download is off."))
        assert s.view("a").retry_at == s.now + delay_s
        assert s.wait(delay_s - 0.1) == []
        assert s.wait(0.2) == ["fetch a"]
        told.append(("a", "failed", 0))
    assert s.fetches_told() == told


def test_who_asks_for_a_pinned_model_once_it_is_mended_does_not_wait_for_its_next_look() -> None:
    s = Script(absent("a", pin=True))
    for delay_s in (1, 2, 4, 8):
        s.fetch_failed("a", FetchRefused())
        s.wait(delay_s)
    s.fetch_failed("a", FetchRefused())
    assert s.ask(1, "a") == ["refuse 1 fetch_refused"]
    s.wait(1.1)
    assert s.ask(2, "a") == ["fetch a"]
    assert s.fetch_failed("a", FetchRefused()) == ["refuse 2 fetch_refused"]
    assert s.wait(31.9) == [], "that brought no look forward"
    assert s.wait(0.2) == ["fetch a"]
    s.came("a", fetched=0)
    s.surveyed(s.asked_about["a"])
    s.fail("a", FileMissing())
    s.wait(2)
    s.fetch_failed("a", FetchRefused())
    assert s.view("a").retry_at == s.now + 1, "what was before the files were here is over"


def test_another_failure_begins_the_looks_at_a_refusal_anew() -> None:
    s = Script(absent("a", pin=True))
    for delay_s in (1, 2):
        s.fetch_failed("a", FetchRefused())
        s.wait(delay_s)
    s.fetch_failed("a", NotThere())
    assert s.view("a").retry_at == s.now + 2, "a refusal counts as one failure, however many there were"
    s.wait(2)
    s.fetch_failed("a", FetchRefused())
    assert s.view("a").retry_at == s.now + 1


def test_unload_forgets_refusals() -> None:
    s = Script(absent("a", pin=True))
    for delay_s in (1, 2, 4):
        s.fetch_failed("a", FetchRefused())
        s.wait(delay_s)
    s.unload("a")
    assert s.view("a").retry_at is None
    s.ask(1, "a")
    s.fetch_failed("a", FetchRefused())
    assert s.view("a").retry_at == s.now + 1


def test_unloading_ends_the_fetch_and_its_late_news_count_no_more() -> None:
    s = Script(absent("a", pin=True))
    s.ask(1, "a")
    assert s.unload("a") == ["refuse 1 model_unloaded", "end fetch a"]
    assert s.state("a") is InstanceState.STOPPED
    assert s.fetching("a", 1, 2) == []
    assert s.came("a") == []
    assert s.fetch_failed("a", NotThere()) == []
    assert s.view("a").error == ""
    assert s.ask(2, "a") == ["fetch a"]
    assert s.fetches_told() == [("a", "ended", 0)]


def test_the_end_of_all_is_the_end_of_fetches() -> None:
    s = Script(absent("a"))
    s.ask(1, "a")
    assert s.shut_down() == ["refuse 1 shutting_down", "end fetch a", "finished"]


def test_a_reload_that_changes_nothing_leaves_the_fetch_alone() -> None:
    s = Script(absent("a"), "b")
    s.ask(1, "a")
    assert s.configure(absent("a"), "b", "c") == []
    s.came("a")
    assert s.surveyed(s.asked_about["a"]) == ["start a"]


def test_another_source_ends_the_fetch_of_the_old_one() -> None:
    s = Script(absent("a"))
    s.ask(1, "a")
    other = dataclasses.replace(absent("a"), source=Source(reference="ollama:a"))
    assert s.configure(other) == ["end fetch a", "fetch a"]
    here = dataclasses.replace(absent("a"), source=Source("/here.gguf"))
    assert s.configure(here) == ["end fetch a", "start a"]


def test_a_model_that_is_removed_serves_its_waiters_first_and_is_fetched_for_nobody_else() -> None:
    s = Script(absent("a"), "b")
    s.ask(1, "a")
    assert s.configure("b") == []
    assert s.leave(1) == ["end fetch a"]
    assert s.machine.view("a") is None


def test_the_fetch_of_a_removed_model_does_not_wait_for_what_its_old_engine_still_answers() -> None:
    here = dataclasses.replace(absent("a"), source=Source("/store/a.gguf", "hf.co/o/a"))
    s = Script(here)
    s.ask(1, "a")
    s.ready("a")
    other = dataclasses.replace(absent("a"), source=Source(reference="hf.co/o/other"))
    s.configure(other, digests={"a": "other"})
    assert s.ask(2, "a") == ["fetch a"]
    s.configure("b")
    assert s.leave(2) == ["end fetch a"]


def test_all_ways_to_load_a_model_have_its_files_in_common() -> None:
    s = Script(absent("a"))
    wish = LoadWish({"ctx_size": 512}, {})
    assert s.ask(1, "a", wish=wish) == ["fetch a"]
    assert s.ask(2, "a") == []
    assert s.came("a") == ["survey a ctx_size=512", "survey a"]
    assert s.surveyed(s.asked_about["a ctx_size=512"], digest="512") == ["start a ctx_size=512"]
    s.unload("a")


def test_a_failed_fetch_is_told_to_those_who_want_it_loaded_in_another_way() -> None:
    s = Script(absent("a"))
    s.ask(1, "a", wish=LoadWish({"ctx_size": 512}, {}))
    assert s.fetch_failed("a", NotThere()) == ["refuse 1 not_there"]


def test_the_back_off_after_a_failed_fetch_is_the_models_however_it_is_asked_for() -> None:
    s = Script(absent("a"))
    s.ask(1, "a", wish=LoadWish({"ctx_size": 512}, {}))
    s.fetch_failed("a", NotThere("o/a is not there."))
    assert s.ask(2, "a", wish=LoadWish({"ctx_size": 1024}, {})) == ["refuse 2 not_there"], "a new way brings no file"
    assert s.ask(3, "a") == ["refuse 3 not_there"]
    assert s.errors[2].retry_after_s == 1
    assert s.errors[2].message == "o/a is not there."
    s.wait(1.1)
    assert s.ask(4, "a", wish=LoadWish({"ctx_size": 2048}, {})) == ["fetch a"]
    s.fetch_failed("a", NotThere())
    assert s.view("a").retry_at == s.now + 2, "it doubles whichever way was asked for"
    assert s.ask(5, "a", operator=True, weight=0) == ["fetch a"]


def test_files_that_have_come_are_there_for_those_who_were_refused_before() -> None:
    s = Script(absent("a"))
    wish = LoadWish({"ctx_size": 512}, {})
    s.ask(1, "a", wish=wish)
    s.fetch_failed("a", NotThere())
    s.ask(2, "a", operator=True, weight=0)
    s.came("a")
    assert s.view("a").error == ""
    assert s.ask(3, "a", wish=wish) == ["survey a ctx_size=512"]


def test_an_engine_that_ends_in_the_back_off_of_its_files_leaves_nobody_waiting() -> None:
    here = dataclasses.replace(absent("a"), source=Source("/store/a.gguf", "hf.co/o/a"))
    s = Script(here)
    way = LoadWish({"ctx_size": 512}, {})
    s.ask(1, "a", wish=way)
    s.surveyed(s.asked_about["a ctx_size=512"])
    s.ready("a ctx_size=512", slots=1)
    assert s.configure(absent("a")) == ["survey a ctx_size=512"], "somebody has removed the file, and reloads"
    assert s.ask(2, "a") == ["fetch a"]
    s.fetch_failed("a", NotThere())
    assert s.ask(3, "a", wish=way) == [], "its engine runs"
    assert s.exit("a ctx_size=512") == ["refuse 3 not_there"]


def test_a_file_that_one_way_to_load_it_misses_is_missed_by_the_model() -> None:
    s = Script(dataclasses.replace(absent("a"), source=Source("/store/a.gguf", "hf.co/o/a")), ram=1)
    s.ask(1, "a", wish=LoadWish({"ctx_size": 512}, {}))
    s.surveyed(s.asked_about["a ctx_size=512"])
    assert s.ask(2, "a") == [], "there is room for one"
    assert s.fail("a ctx_size=512", FileMissing()) == ["fetch a", "refuse 1 file_missing"]


def test_a_way_that_goes_while_its_files_come_serves_who_waits() -> None:
    s = Script(absent("a"))
    s.ask(1, "a", wish=LoadWish({"ctx_size": 512}, {}))
    changed = dataclasses.replace(absent("a"), options={"threads": 2})
    s.configure(changed)
    s.came("a")
    way = next(spec for label, spec in s.asked_about.items() if "ctx_size" in label)
    assert way.source.path == "/store/a.gguf"


def test_files_that_were_here_and_are_not_are_fetched_again() -> None:
    s = Script(dataclasses.replace(absent("a"), source=Source("/store/a.gguf", "hf.co/o/a")))
    assert s.ask(1, "a") == ["start a"]
    assert s.fail("a", FileMissing("It is gone.")) == ["refuse 1 file_missing"]
    s.wait(1.1)
    assert s.ask(2, "a") == ["fetch a"]


def test_a_missing_file_that_no_fetch_brings_is_looked_for_less_and_less() -> None:
    """An adapter, say: what the reference names is all here."""
    s = Script(dataclasses.replace(absent("a"), source=Source("/store/a.gguf", "hf.co/o/a")))
    s.ask(1, "a")
    s.fail("a", FileMissing())
    for request, back_off_s in enumerate((2, 4, 8), 2):
        s.wait(back_off_s)
        assert s.ask(request, "a") == ["fetch a"]
        assert s.came("a", fetched=0) == ["survey a"]
        assert s.surveyed(s.asked_about["a"]) == ["start a"]
        s.fail("a", FileMissing("The adapter is gone."))
        assert s.view("a").retry_at == s.now + back_off_s


def test_a_file_of_this_machine_that_is_missing_is_not_fetched() -> None:
    s = Script(dataclasses.replace(absent("a"), source=Source("/models/a.gguf")))
    s.ask(1, "a")
    s.fail("a", FileMissing())
    s.wait(1.1)
    assert s.ask(2, "a") == ["start a"]
