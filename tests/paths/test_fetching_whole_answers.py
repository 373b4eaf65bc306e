"""Servers that answer with all of a file, or with something else, where its rest was asked for: nothing is lost."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from corral.domain.errors import WrongContent
from corral.store.fetch.denial import Unranged
from tests.file_server import Ask, FileServer, Reply, of_file
from tests.paths.fetching_kit import DATA, SIZE, Told, plan_for, puller, whole
from tests.paths.test_fetching_bad_servers import Counted, begun

MAINTENANCE = b"We are back in a minute."
PAGES = {
    "text": Reply(200, {"Content-Type": "text/plain"}, MAINTENANCE),
    "tagged": Reply(200, {"Content-Type": "text/plain", "ETag": '"page"'}, MAINTENANCE),
    "endless": Reply(200, {"Content-Type": "text/plain", "Connection": "close"}, MAINTENANCE),
    "long": Reply(200, {"Connection": "close"}, MAINTENANCE * (SIZE // 10)),
    "nothing": Reply(200, {}, b""),
    "shorter": Reply(416, {"Content-Range": "bytes */24"}),
    "part": Reply(206, {"ETag": '"one"', "Content-Range": "bytes 0-23/24"}, MAINTENANCE),
}
ALL = {
    "same": lambda ask: of_file(ask, DATA, ranges=False),
    "untagged": lambda ask: of_file(ask, DATA, ranges=False, etag=""),
    "endless": lambda ask: Reply(200, {"Connection": "close"}, DATA),
}


def check_nothing_lost(told: Told, *, least: float = 0) -> None:
    """Bytes that have come are never fewer than before; as many were here at the first look."""
    assert told[0].done_bytes >= least
    assert all(before.done_bytes <= after.done_bytes for before, after in pairwise(told))


@pytest.mark.parametrize("kind", ALL)
def test_a_resume_that_is_answered_once_with_all_of_it(tmp_path: Path, kind: str) -> None:
    with FileServer(lambda ask: of_file(ask, DATA, per_s=5e6)) as server:
        begun(tmp_path, server)
    serve = Counted(lambda number, ask: ALL[kind](ask) if number == 0 else of_file(ask, DATA))
    with FileServer(serve) as server:
        told = Told()
        assert whole(puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin"), told))
        check_nothing_lost(told, least=SIZE / 3)
        assert all(ask.span is not None and ask.span[0] > 0 for ask in server.asked)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("cut", [None, 2 * SIZE // 3])
def test_a_resume_at_a_server_that_gives_no_parts_any_more(tmp_path: Path, kind: str, cut: int | None) -> None:
    """The second such answer is taken as a stream; where one breaks, the next needs to bring only the rest."""
    with FileServer(lambda ask: of_file(ask, DATA, per_s=5e6)) as server:
        begun(tmp_path, server)

    def serve(number: int, ask: Ask) -> Reply:
        return dataclasses.replace(ALL[kind](ask), cut=cut) if number == 1 else ALL[kind](ask)

    with FileServer(Counted(serve)) as server:
        told = Told()
        assert whole(puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin"), told))
        check_nothing_lost(told, least=SIZE / 3)
        assert len(server.asked) == 2 + (cut is not None)


@pytest.mark.parametrize("known", [True, False])
def test_a_segment_that_is_answered_once_with_all_of_it(tmp_path: Path, known: bool) -> None:
    serve = Counted(lambda number, ask: of_file(ask, DATA, ranges=number != 2))
    with FileServer(serve) as server:
        told = Told()
        assert whole(puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin", known=known), told))
        check_nothing_lost(told)
        assert sum(ask.span is not None and ask.span[0] == 0 for ask in server.asked) == 1


@pytest.mark.parametrize("known", [True, False])
def test_a_server_that_gives_parts_no_more_in_the_middle(tmp_path: Path, known: bool) -> None:
    serve = Counted(lambda number, ask: of_file(ask, DATA, ranges=number < 2))
    with FileServer(serve) as server:
        told = Told()
        assert whole(puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin", known=known), told))
        check_nothing_lost(told)


def test_one_of_two_servers_behind_an_address_gives_no_parts(tmp_path: Path) -> None:
    serve = Counted(lambda number, ask: of_file(ask, DATA, ranges=number % 2 == 0))
    with FileServer(serve) as server:
        told = Told()
        assert whole(puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin"), told))
        check_nothing_lost(told)


@pytest.mark.parametrize("known", [True, False])
def test_a_stream_that_breaks_again_and_again_brings_a_little_more_each_time(tmp_path: Path, known: bool) -> None:
    """A server without ranges, and a link on which no connection lives for long."""
    piece = SIZE // 9 + 1
    serve = Counted(lambda number, ask: dataclasses.replace(of_file(ask, DATA, ranges=False), cut=piece * (number + 1)))
    with FileServer(serve) as server:
        told = Told()
        assert whole(puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin", known=known), told))
        check_nothing_lost(told)
        assert len(server.asked) == 9


@pytest.mark.parametrize("kind", PAGES)
@pytest.mark.parametrize("times", [1, 3])
def test_a_resume_that_is_answered_with_something_else_for_a_while(tmp_path: Path, kind: str, times: int) -> None:
    with FileServer(lambda ask: of_file(ask, DATA, per_s=5e6)) as server:
        begun(tmp_path, server)
    with FileServer(Counted(lambda number, ask: PAGES[kind] if number < times else of_file(ask, DATA))) as server:
        told = Told()
        assert whole(puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin"), told))
        check_nothing_lost(told, least=SIZE / 3)


@pytest.mark.parametrize("kind", PAGES)
def test_what_is_something_else_for_good_is_refused_and_what_has_come_is_kept(tmp_path: Path, kind: str) -> None:
    with FileServer(lambda ask: of_file(ask, DATA, per_s=5e6)) as server:
        begun(tmp_path, server)
    with FileServer(lambda ask: PAGES[kind]) as server:
        with pytest.raises(WrongContent if kind != "shorter" else Unranged, match=r"is kept|no such part"):
            puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin"))
        assert len(server.asked) < 10
    with FileServer(lambda ask: of_file(ask, DATA)) as server:
        told = Told()
        assert whole(puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin"), told))
        assert told[0].done_bytes > SIZE / 3


@pytest.mark.parametrize(
    "bad", [*PAGES.values(), Reply(200, {"Content-Type": "text/html"}, b"<p>Log in")], ids=[*PAGES, "page"]
)
def test_a_segment_that_is_answered_once_with_something_else(tmp_path: Path, bad: Reply) -> None:
    with FileServer(Counted(lambda number, ask: bad if number == 2 else of_file(ask, DATA))) as server:
        told = Told()
        assert whole(puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin"), told))
        check_nothing_lost(told)


def test_a_stream_shows_damage_in_what_came_earlier(tmp_path: Path) -> None:
    with FileServer(lambda ask: of_file(ask, DATA, per_s=5e6)) as server:
        begun(tmp_path, server)
    with (tmp_path / "web/files/.model.bin.part").open("r+b") as file:
        file.seek(1000)
        file.write(bytes(byte ^ 1 for byte in DATA[1000:1010]))
    with FileServer(lambda ask: of_file(ask, DATA, ranges=False)) as server:
        assert whole(puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin")))


def test_a_page_without_a_length_leaves_no_byte_of_itself(tmp_path: Path) -> None:
    """Where the beginning of the file has not come yet, nothing tells a page from it but its end."""

    def serve(ask: Ask) -> Reply:
        reply = of_file(ask, DATA, per_s=5e6)
        return dataclasses.replace(reply, cut=0, hang=True) if ask.span and ask.span[0] == 0 else reply

    with FileServer(serve) as server:
        begun(tmp_path, server)
    journal = tmp_path / "web/files/.model.bin.part.json"
    assert msgspec.json.decode(journal.read_bytes())["written"][0][0] > 0
    with FileServer(lambda ask: PAGES["endless"]) as server:
        with pytest.raises(WrongContent, match=f"{len(MAINTENANCE)} bytes, not"):
            puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin"))
    assert msgspec.json.decode(journal.read_bytes())["written"][0][0] > 0
    with FileServer(lambda ask: of_file(ask, DATA)) as server:
        assert whole(puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin")))
