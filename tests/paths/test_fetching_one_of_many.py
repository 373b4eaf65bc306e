"""One answer of many goes wrong, or says something else than the others: the file comes all the same, and is right."""

from __future__ import annotations

import dataclasses
import threading
import time
from pathlib import Path

import pytest

from corral.domain.errors import FetchFailed, FetchRefused, FetchStopped, WrongContent
from corral.store.fetch.denial import Denied
from corral.store.fetch.pulling import Pulling
from corral.store.fetch.rules import WebRules
from corral.store.fetch.web import Web
from tests.file_server import Ask, FileServer, Reply, of_file
from tests.paths.fetching_kit import DATA, SIZE, Hurried, Told, data_of, plan_for, puller, whole
from tests.paths.test_fetching_bad_servers import Counted, begun
from tests.paths.test_fetching_whole_answers import check_nothing_lost

OTHER = data_of(9)
REFUSALS = {
    "403": Reply(403),
    "404": Reply(404),
    "400": Reply(400),
    "compressed": Reply(206, {"Content-Encoding": "gzip", "Content-Range": f"bytes 0-4/{SIZE}"}, b"12345"),
    "many parts": Reply(206, {"Content-Type": "multipart/byteranges; boundary=x"}, b"--x"),
    "nowhere": Reply(302),
}


def tagged(ask: Ask, data: bytes, etag: str) -> Reply:
    """By a server that does not compare tags."""
    headers = {name: value for name, value in ask.headers.items() if name != "if-range"}
    return of_file(dataclasses.replace(ask, headers=headers), data, etag=etag)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("kind", REFUSALS)
def test_a_segment_that_is_refused_once(tmp_path: Path, kind: str, known: bool) -> None:
    """By one node of many: the other connections go on, and fetch it."""
    with FileServer(Counted(lambda number, ask: REFUSALS[kind] if number == 2 else of_file(ask, DATA))) as server:
        told = Told()
        assert whole(puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin", known=known), told))
        check_nothing_lost(told)


@pytest.mark.parametrize("kind", REFUSALS)
def test_what_is_refused_to_everybody_is_told_and_what_has_come_is_kept(tmp_path: Path, kind: str) -> None:
    refuses = True

    def serve(ask: Ask) -> Reply:
        late = ask.span is not None and ask.span[0] > SIZE / 2
        return REFUSALS[kind] if refuses and late else of_file(ask, DATA)

    with FileServer(serve) as server:
        words = {"compressed": "compressed", "many parts": "not with which", "nowhere": "to nowhere"}
        with pytest.raises(FetchFailed, match=words.get(kind, f"says {kind}")):
            puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin"))
        assert len(server.asked) < 10
        refuses, told = False, Told()
        assert whole(puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin"), told))
        assert told[0].done_bytes > SIZE / 3


@pytest.mark.parametrize("status", [403, 429])
def test_a_server_that_refuses_a_second_connection(tmp_path: Path, status: int) -> None:
    lock = threading.Lock()

    def serve(ask: Ask) -> Reply:
        if not lock.acquire(blocking=False):
            return Reply(status)
        try:
            time.sleep(0.1)
            return of_file(ask, DATA)
        finally:
            lock.release()

    patience = Hurried().patience()
    web = Web(WebRules(insecure=True, private=True, retries=0), patience=patience)
    with FileServer(serve) as server:
        assert whole(Pulling(tmp_path, web, patience=patience).fetch(plan_for(f"{server.origin}/model.bin")))


def test_a_refusal_is_told_and_not_the_bad_day_of_the_others(tmp_path: Path) -> None:
    """Who hears `try again later` would do so for ever, where a token may not read the file any more."""

    def serve(number: int, ask: Ask) -> Reply:
        if number == 0:
            return of_file(ask, DATA, per_s=10e6)
        return Reply(403) if number == 2 else Reply(503)

    web = Web(WebRules(insecure=True, private=True, retries=0), patience=Hurried().patience())
    with FileServer(Counted(serve)) as server:
        with pytest.raises(Denied, match="403"):
            Pulling(tmp_path, web).fetch(plan_for(f"{server.origin}/model.bin"))


def test_where_corral_does_not_go_it_goes_for_no_segment(tmp_path: Path) -> None:
    """A redirect to a private address is the end, however well the other connections do."""
    with FileServer(lambda ask: of_file(ask, DATA)) as inner:
        away = Reply(302, {"Location": f"{inner.origin}/secret"})
        serve = Counted(lambda number, ask: away if number == 2 else of_file(ask, DATA, per_s=5e6))
        with FileServer(serve) as server:
            web = Web(WebRules(trusted=frozenset({server.origin})))
            with pytest.raises(FetchRefused):
                Pulling(tmp_path, web).fetch(plan_for(f"{server.origin}/model.bin"))
        assert inner.asked == []


@pytest.mark.parametrize("times", [1, 3])
def test_a_page_where_the_rest_was_asked_for_is_asked_again(tmp_path: Path, times: int) -> None:
    page = Reply(200, {"Content-Type": "text/html"}, b"<p>Log in")
    with FileServer(lambda ask: of_file(ask, DATA, per_s=5e6)) as server:
        begun(tmp_path, server)
    with FileServer(Counted(lambda number, ask: page if number < times else of_file(ask, DATA))) as server:
        told = Told()
        assert whole(puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin"), told))
        check_nothing_lost(told, least=SIZE / 3)
    with FileServer(lambda ask: page) as server:
        with pytest.raises(WrongContent, match="a page for people"):
            puller(tmp_path / "fresh").fetch(plan_for(f"{server.origin}/model.bin"))
        assert len(server.asked) == 1, "where nothing has come an address is wrong, and no node of many"


@pytest.mark.parametrize("tags", [('"a"', '"b"'), ('"a"', ""), ('"a"', "", ""), tuple(f'"{n}"' for n in range(50))])
@pytest.mark.parametrize("polite", [True, False])
def test_nodes_that_tag_a_file_each_in_its_own_way(tmp_path: Path, tags: tuple[str, ...], polite: bool) -> None:
    """No hash decides: it comes as one stream, of one node, and nothing can be mixed."""
    serve = of_file if polite else tagged
    with FileServer(Counted(lambda number, ask: serve(ask, DATA, etag=tags[number % len(tags)]))) as server:
        assert whole(puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin", known=False)))
        assert server.sent_bytes < 3.5 * SIZE


def test_a_tag_on_the_first_answer_alone(tmp_path: Path) -> None:
    serve = Counted(lambda number, ask: tagged(ask, DATA, '"one"' if number == 0 else ""))
    with FileServer(serve) as server:
        told = Told()
        assert whole(puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin", known=False), told))
        check_nothing_lost(told)


@pytest.mark.parametrize("tag", ["", '"b"'])
def test_two_files_behind_one_address_are_never_mixed(tmp_path: Path, tag: str) -> None:
    """Of the same size, with no hash; one of them without a tag, or both with one."""

    def serve(number: int, ask: Ask) -> Reply:
        return tagged(ask, *((DATA, '"a"') if number % 3 == 0 else (OTHER, tag)))

    with FileServer(Counted(serve)) as server:
        fetched = puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin", known=False))
        assert fetched.model.read_bytes() in (DATA, OTHER)


def test_what_came_under_no_tag_is_not_gone_on_with_another_time(tmp_path: Path) -> None:
    """A stream that a stop ends in the middle: nothing tells of which version its bytes are."""
    stays = False
    one = Counted(lambda number, ask: tagged(ask, DATA, f'"{number}"'))

    def serve(ask: Ask) -> Reply:
        return tagged(ask, OTHER, '"new"') if stays else dataclasses.replace(one(ask), per_s=20e6)

    with FileServer(serve) as server:
        plan, told = plan_for(f"{server.origin}/model.bin", known=False), Told()

        def stop() -> bool:
            """In the middle of a stream."""
            return any(ask.span is None for ask in server.asked) and SIZE / 3 < told[-1].done_bytes < SIZE

        with pytest.raises(FetchStopped):
            puller(tmp_path).fetch(plan, told, stop=stop)
        assert (tmp_path / "web/files/.model.bin.part").stat().st_size > SIZE / 3
        stays = True
        assert whole(puller(tmp_path).fetch(plan), OTHER)
