"""Models of which only a size is known: what stands in for the rest, and that the judgement is fit's own."""

from __future__ import annotations

import pytest

from corral.store.fit.advice import Where
from corral.store.fit.report import fit
from corral.store.fit.rooms import Verdict
from corral.store.fit.rough import Judge, RoughModel, subject_of
from corral.store.gguf.shape import Number
from tests.unit.store.fit.kit import GIB, USUAL, host, llama, subject


@pytest.mark.parametrize(
    ("memory", "size", "where"),
    [
        ((16,), 8, Where.RAM),
        ((16,), 15.5, Where.NO),
        ((16, 24), 20, Where.GPU),
        ((16, 24), 30, Where.PART),
        ((16, 8), 30, Where.NO),
        ((64, 12, 12), 18, Where.GPU),
        ((4, 24), 18, Where.GPU),
        ((1, 0.2), 8, Where.NO),
    ],
)
def test_where_it_runs(memory: tuple[float, ...], size: float, where: Where) -> None:
    found = Judge(host(*memory), USUAL).of(RoughModel("Q4_K_M", int(size * GIB)))
    assert (found.where, found.fits is Verdict.NEVER) == (where, where is Where.NO)


def test_it_is_the_judgement_that_fit_makes_of_a_quantisation() -> None:
    """Of a model whose numbers are all known: there are not two ways to judge."""
    head, tensors = llama(layer=128)
    size = sum(each.n_bytes for each in tensors)
    own = subject((head, tensors), offered={"Q4_K_M": size, "Q8_0": 2 * size})
    numbers: dict[str, Number] = {
        "block_count": 32, "embedding_length": 4096, "feed_forward_length": 14336, "attention.head_count": 32,
        "attention.head_count_kv": 8, "attention.key_length": 128, "attention.value_length": 128,
        "context_length": 131072, "vocabulary": 100,
    }  # fmt: skip
    seen = set()
    for memory in ((6.0,), (5.0,), (64.0, 6.0), (64.0, 12.0), (16.0, 3.0)):
        rooms = host(*memory)
        said = {each.quantisation: each for each in fit(own, rooms, lambda device: None).quantisations}
        for name, known in said.items():
            rough = RoughModel(name, known.size_bytes, 8_000_000_000, "llama", numbers=numbers)
            assert (Judge(rooms, own.options).of(rough).where, memory) == (known.where, memory)
            seen.add(known.where)
    assert seen == {*Where}


def test_the_whole_of_the_files_counts_and_a_context_with_it() -> None:
    model = RoughModel("m", 8 * GIB, 13_000_000_000, "", 8192)
    made = subject_of(model, USUAL)
    assert made.shape.weights.total_bytes == pytest.approx(8 * GIB, rel=0.001)
    assert (made.shape.layers, made.shape.whole("context_length"), made.parameters) == (40, 8192, 13_000_000_000)
    assert Judge(host(8.4), USUAL).of(model).where is Where.NO, "its weights alone would fit"


def test_an_encoder_keeps_no_context() -> None:
    for architecture, keeps in (("bert", False), ("qwen3next", True)):
        made = subject_of(RoughModel("m", GIB, 560_000_000, architecture, 8192), USUAL)
        assert bool(made.estimate(USUAL, ()).cache.total()) is keeps


@pytest.mark.parametrize("size", [0, 1, 1000, 10**15])
@pytest.mark.parametrize("parameters", [None, 1, 10**9, 1 << 49])
def test_no_size_is_too_strange_to_be_judged(size: int, parameters: int | None) -> None:
    found = Judge(host(16, 8), USUAL).of(RoughModel("m", size, parameters, "\x1b[31m", 1 << 40))
    assert found.where is Where.NO or size < GIB
