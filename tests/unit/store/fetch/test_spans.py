"""Spans against a plain set of numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from corral.store.fetch.spans import Spans

SPAN = st.tuples(st.integers(0, 30), st.integers(0, 30))


@given(st.lists(SPAN, max_size=12), st.integers(0, 35))
def test_they_are_a_set_of_bytes(spans: list[tuple[int, int]], size: int) -> None:
    found = Spans.of(spans)
    plain = {byte for first, end in spans for byte in range(first, end)}
    assert found.count == len(plain)
    assert {byte for first, end in found.spans for byte in range(first, end)} == plain
    assert all(a[1] < b[0] for a, b in zip(found.spans, found.spans[1:], strict=False))  # disjoint, joined, in order
    assert found.frontier == next(byte for byte in range(40) if byte not in plain)
    assert found.end == max(plain, default=-1) + 1
    absent = [byte for byte in range(size) if byte not in plain]
    gap = found.gap(size)
    if not absent:
        assert gap is None
    else:
        end = next((byte for byte in range(absent[0], size) if byte in plain), size)
        assert gap == (absent[0], end)


def test_runs_of_what_is_there_and_what_is_not() -> None:
    spans = Spans.of([(2, 4), (6, 9)])
    assert [spans.run(at) for at in (0, 2, 3, 4, 8, 9)] == [
        (False, 2), (True, 4), (True, 4), (False, 6), (True, 9), (False, None),
    ]  # fmt: skip
    assert Spans().run(0) == (False, None)


def test_the_end_is_given_up_and_no_more() -> None:
    spans = Spans.of([(0, 10), (20, 25), (30, 32)])
    assert (spans.cut(4), spans.spans) == (23, [(0, 10), (20, 23)])
    assert spans.below(21).spans == [(0, 10), (20, 21)] and spans.below(20).spans == [(0, 10)]
    assert (spans.cut(3), spans.spans) == (10, [(0, 10)])
    assert (spans.cut(100), spans.spans) == (0, [])
