"""Who fetches what: every byte once, in order, by segments that get smaller towards the end."""

from __future__ import annotations

from corral.store.fetch.board import LARGEST, SMALLEST, Board, Segment
from corral.store.fetch.spans import Spans

GB = 1_000_000_000


def board(size: int | None, *there: tuple[int, int], connections: int = 4) -> Board:
    return Board(size, Spans.of(there), Spans(), connections)


def fetch(on: Board, segment: Segment) -> None:
    assert segment.end is not None
    on.wrote(segment, segment.end - segment.at)
    on.give_back(segment)


def test_segments_come_in_order_and_get_smaller() -> None:
    on = board(4 * GB)
    segments = []
    while not on.whole:
        segment = on.take()
        assert segment is not None and segment.end is not None
        segments.append((segment.at, segment.end))
        fetch(on, segment)
    assert [first for first, _ in segments] == sorted(first for first, _ in segments)
    assert sum(end - first for first, end in segments) == 4 * GB
    sizes = [end - first for first, end in segments]
    assert sizes[0] == LARGEST and sizes[-2] == SMALLEST and sizes[:-1] == sorted(sizes[:-1], reverse=True)
    assert on.take() is None


def test_what_is_there_is_not_fetched_and_what_others_fetch_is_left_to_them() -> None:
    on = board(20_000_000, (0, 1_000_000), (6_000_000, 19_000_000))
    first, second = on.take(), on.take()
    assert first is not None and (first.at, first.end) == (1_000_000, 1_000_000 + SMALLEST)
    assert second is not None and (second.at, second.end) == (first.end, 6_000_000)
    third = on.take()
    assert third is not None and (third.at, third.end) == (19_000_000, 20_000_000)


def test_what_one_gives_back_another_takes_from_where_it_was() -> None:
    on = board(6_000_000)
    segment = on.take()
    assert segment is not None
    on.wrote(segment, 1_000_000)
    on.give_back(segment)
    again = on.take()
    assert again is not None and again.at == 1_000_000


def test_who_finds_nothing_to_do_waits_for_what_another_may_leave() -> None:
    on = board(SMALLEST)
    mine = on.take()
    assert mine is not None
    on.halt()  # the wait ends, and nothing was taken twice
    assert on.take() is None and not on.whole


def test_the_last_worker_that_gives_up_is_not_one_of_many() -> None:
    on = board(GB)
    on.join()
    on.join()
    on.join()
    passed, refused, busy = OSError("1"), OSError("2"), OSError("3")
    assert on.retire(passed) == []
    on.served()  # so it was not for everybody
    assert on.retire(refused) == []
    assert on.retire(busy) == [refused, busy]


def test_the_size_may_be_learned_later() -> None:
    on = board(None)
    first = on.first()
    assert (first.at, first.end) == (0, SMALLEST)
    on.sized(100)
    first.end = 100
    fetch(on, first)
    assert on.whole and on.done_bytes == 100 and on.to_hash(0) == 100 and on.to_hash(100) == 100
    empty = board(0)
    assert empty.whole and empty.to_hash(0) == 0 and empty.take() is None


def test_only_what_was_flushed_counts_as_settled() -> None:
    on = board(GB, (0, 500))
    segment = on.take()
    assert segment is not None
    written, settled = on.spans()
    assert (written, settled) == ([(0, 500)], [])
    on.wrote(segment, 500)
    on.settled(written)
    assert on.spans() == ([(0, 1000)], [(0, 500)])


def test_what_came_of_something_else_does_not_count_nor_what_was_flushed_of_it() -> None:
    board = Board(100, Spans.of([(10, 20)]), Spans.of([(10, 15)]), 4)
    stream = board.first()
    board.wrote(stream, 10)
    assert board.done_bytes == 20
    board.revert([(10, 20)], [(10, 15)])
    board.settled([(0, 20)])  # by a thread that began before
    assert board.halted and board.spans() == ([(10, 20)], [(10, 15)])
