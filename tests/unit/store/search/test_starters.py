"""Which of the starters are offered, by the memory that there is."""

from __future__ import annotations

import datetime

import pytest

from corral.domain.references import HubReference, OllamaReference
from corral.store.fit.advice import Where
from corral.store.fit.rough import Judge, RoughModel, subject_of
from corral.store.search.starters import Starter, judged, starters
from tests.unit.store.fit.kit import USUAL, host


def offered(*memory: float) -> dict[str, Where]:
    """Those that fit, in their order."""
    found = judged(starters().models, Judge(host(*memory), USUAL))
    return {each.title: where for each, where in found if where is not Where.NO}


def test_the_starters_are_references_with_sizes_a_date_and_a_source() -> None:
    known = starters()
    assert str(datetime.date.fromisoformat(known.date)) == known.date and "config.json" in known.source
    sizes = [each.gigabytes for each in known.models]
    assert sizes == sorted(sizes) and len({each.reference for each in known.models}) == len(sizes) >= 8
    for each in known.models:
        assert isinstance(each.parsed, HubReference | OllamaReference) and each.title and each.good_for and each.licence
        assert each.size_source
        assert str(each.parsed) == each.reference


@pytest.mark.parametrize("starter", starters().models, ids=lambda each: str(each.title))
def test_the_numbers_of_a_starter_make_its_parameters(starter: Starter) -> None:
    """Layers, heads, experts, feed-forward and vocabulary, multiplied: a mistyped number is not near."""
    shape = subject_of(starter.rough, USUAL).shape
    width, heads = shape.whole("embedding_length"), shape.whole("attention.head_count")
    attention = width * shape.whole("attention.key_length") * 2 * (heads + shape.whole("attention.head_count_kv"))
    experts = shape.whole("expert_count") * shape.whole("expert_feed_forward_length")
    tokens = shape.vocabulary * width
    made = shape.layers * (attention + 3 * width * (experts or shape.whole("feed_forward_length"))) + tokens
    off = min(abs(made - starter.parameters), abs(made + tokens - starter.parameters))
    assert off < 0.02 * starter.parameters
    assert 0.5 < starter.size_bytes / starter.parameters < 1.2, "between four bits and eight, projectors with it"


@pytest.mark.parametrize("ram", [4, 8, 16, 32, 64, 128])
def test_every_machine_is_offered_something(ram: int) -> None:
    found = offered(ram)
    sizes = {each.title: each.gigabytes for each in starters().models}
    assert found and set(found.values()) == {Where.RAM}
    assert [*found] == sorted(found, key=lambda title: -sizes[title])
    assert all(sizes[title] * 1e9 < ram * 1024**3 for title in found)


def test_what_fits_on_the_gpu_goes_first() -> None:
    found = [*offered(64, 8).values()]
    assert found[0] is Where.GPU and Where.PART in found
    assert found == sorted(found, key=[Where.GPU, Where.PART, Where.RAM].index)


def test_it_is_not_the_size_alone() -> None:
    """Of two that are as large, the one with windows and small heads has room for its cache where another has not."""
    known = next(each.rough for each in starters().models if each.title == "gpt-oss 20B")
    other = RoughModel("as large", known.size_bytes, known.parameters)
    judge = Judge(host(known.size_bytes / 1024**3 + 1.0), USUAL)
    assert (judge.of(known).where, judge.of(other).where) == (Where.RAM, Where.NO)
