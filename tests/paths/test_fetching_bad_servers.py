"""Fetching from servers that lie, change, hang and break: the file is right, or absent, or goes on later."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from corral.domain.errors import FetchFailed, FetchRefused, FetchStopped, WrongContent
from corral.store.fetch.denial import TooBusy
from corral.store.fetch.patience import Patience
from corral.store.fetch.pulling import Pulling
from corral.store.fetch.rules import WebRules
from corral.store.fetch.web import Web
from corral.store.fetch.wire import Interrupted
from tests.file_server import Ask, FileServer, Reply, of_file
from tests.paths.fetching_kit import DATA, SIZE, Hurried, Told, data_of, left, plan_for, puller, whole

OTHER = data_of(9)


class Counted:
    """Calls of a handler by number, from 0, over all threads."""

    def __init__(self, handle: Callable[[int, Ask], Reply]) -> None:
        self._handle, self._lock, self._count = handle, threading.Lock(), 0

    def __call__(self, ask: Ask) -> Reply:
        with self._lock:
            number, self._count = self._count, self._count + 1
        return self._handle(number, ask)


def begun(tmp_path: Path, server: FileServer) -> None:
    """A third of the file is there."""
    told = Told()
    with pytest.raises(FetchStopped):
        puller(tmp_path).fetch(
            plan_for(f"{server.origin}/model.bin"), told, stop=lambda: bool(told) and told[-1].done_bytes > SIZE / 3
        )
    assert left(tmp_path) == [".model.bin.part", ".model.bin.part.json"]


@pytest.mark.parametrize(
    "bad",
    [
        lambda data: Reply(206, data.headers, data.body, cut=300_000),
        lambda data: Reply(206, data.headers, data.body, cut=300_000, reset=True),
        lambda data: Reply(206, data.headers, data.body, cut=300_000, hang=True),
        lambda data: Reply(503, {"Retry-After": "1"}),
        lambda data: Reply(429),
        lambda data: Reply(reset=True),
        lambda data: Reply(raw=b"\x16\x03\x01 what?\r\n\r\n"),
        lambda data: Reply(206, data.headers, data.body[:200_000]),  # less than was asked for, and right about it
    ],
)
def test_every_other_answer_is_bad_and_the_file_is_right(tmp_path: Path, bad: Callable[[Reply], Reply]) -> None:
    serve = Counted(lambda number, ask: bad(of_file(ask, DATA)) if number % 2 == 0 else of_file(ask, DATA))
    with FileServer(serve) as server:
        assert whole(puller(tmp_path, timeout_s=0.4).fetch(plan_for(f"{server.origin}/model.bin")))
        assert server.sent_bytes < 1.5 * SIZE


def test_a_stream_without_ranges_that_breaks_begins_again(tmp_path: Path) -> None:
    def serve(number: int, ask: Ask) -> Reply:
        reply = of_file(ask, DATA, ranges=False)
        return dataclasses.replace(reply, cut=SIZE // 2) if number < 2 else reply

    with FileServer(Counted(serve)) as server:
        assert whole(puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin")))
        assert len(server.asked) == 3


def test_a_stream_that_breaks_every_time_is_given_up(tmp_path: Path) -> None:
    broken = dataclasses.replace(of_file(Ask("GET", "/", {}), DATA), cut=SIZE // 2)
    with FileServer(lambda ask: broken) as server:
        with pytest.raises(FetchFailed, match=r"never came whole: .* early"):
            puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin"))
        assert len(server.asked) <= 6


def test_flipped_bits_are_found_and_nothing_is_kept(tmp_path: Path) -> None:
    flipped = bytearray(DATA)
    flipped[SIZE // 2] ^= 1
    with FileServer(lambda ask: of_file(ask, bytes(flipped))) as server:
        with pytest.raises(WrongContent, match="SHA-256"):
            puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin"))
        assert server.sent_bytes == SIZE
    assert left(tmp_path) == []


def test_damage_in_what_came_earlier_costs_one_more_fetch_and_no_more(tmp_path: Path) -> None:
    with FileServer(lambda ask: of_file(ask, DATA, per_s=5e6)) as server:
        begun(tmp_path, server)
        part = tmp_path / "web/files/.model.bin.part"
        with part.open("r+b") as file:
            file.seek(1000)
            file.write(b"\xff\x00\xff\x00")
        sent = server.sent_bytes
        assert whole(puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin")))
        assert server.sent_bytes - sent < 2 * SIZE


@pytest.mark.parametrize("journal", [b"", b"{", b"[1]", b'{"version":1}', b"\0" * 100])
def test_a_torn_journal_is_none(tmp_path: Path, journal: bytes) -> None:
    with FileServer(lambda ask: of_file(ask, DATA, per_s=5e6)) as server:
        begun(tmp_path, server)
        (tmp_path / "web/files/.model.bin.part.json").write_bytes(journal)
        assert whole(puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin")))


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("polite", [True, False])
def test_another_etag_midway_begins_again(tmp_path: Path, polite: bool, known: bool) -> None:
    """A polite server answers If-Range with all of the new file, another one just sends its part of it."""

    def serve(number: int, ask: Ask) -> Reply:
        if number < 2:
            return of_file(ask, OTHER, etag='"old"')
        if polite:
            return of_file(ask, DATA, etag='"new"')
        headers = {name: value for name, value in ask.headers.items() if name != "if-range"}
        return of_file(dataclasses.replace(ask, headers=headers), DATA, etag='"new"')

    with FileServer(Counted(serve)) as server:
        plan = plan_for(f"{server.origin}/model.bin", known=known)
        assert whole(puller(tmp_path).fetch(plan))


def test_another_file_of_another_size_since_it_was_begun(tmp_path: Path) -> None:
    url_plan = None
    data, etag = OTHER, '"old"'
    with FileServer(lambda ask: of_file(ask, data, etag=etag, per_s=5e6)) as server:
        url_plan = plan_for(f"{server.origin}/model.bin", known=False)
        told = Told()
        with pytest.raises(FetchStopped):
            puller(tmp_path).fetch(url_plan, told, stop=lambda: bool(told) and told[-1].done_bytes > SIZE / 3)
        data, etag = DATA[:1_000_000], '"new"'
        assert whole(puller(tmp_path).fetch(url_plan), data)


def test_a_file_that_never_stays_the_same_is_given_up(tmp_path: Path) -> None:
    def serve(number: int, ask: Ask) -> Reply:
        return dataclasses.replace(of_file(ask, data_of(number), etag=f'"{number}"', ranges=False), cut=SIZE // 2)

    with FileServer(Counted(serve)) as server:
        with pytest.raises(FetchFailed, match="begun 4 times and never came whole: what has come is of another"):
            puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin", known=False))
        assert len(server.asked) < 15


def test_servers_whose_tags_differ_do_not_matter_where_a_hash_decides(tmp_path: Path) -> None:
    serve = Counted(
        lambda number, ask: of_file(
            dataclasses.replace(ask, headers={"range": ask.headers["range"]}), DATA, etag=f'"{number}"'
        )
    )
    with FileServer(serve) as server:
        assert whole(puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin")))


@pytest.mark.parametrize("fresh", ['"another node"', ""])
def test_what_has_come_is_gone_on_with_from_a_server_that_tags_it_otherwise(tmp_path: Path, fresh: str) -> None:
    etag = '"one node"'
    with FileServer(lambda ask: of_file(ask, DATA, etag=etag, per_s=5e6)) as server:
        begun(tmp_path, server)
        etag, sent = fresh, server.sent_bytes
        assert whole(puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin")))
        assert server.sent_bytes - sent < 0.8 * SIZE, "what had come was thrown away"


def test_parts_of_several_files_are_fetched_anew_once_and_no_more(tmp_path: Path) -> None:
    serve = Counted(lambda number, ask: of_file(ask, (DATA, OTHER)[number % 2], etag=f'"{number % 2}"'))
    with FileServer(serve) as server:
        with pytest.raises(WrongContent, match="SHA-256"):
            puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin"))
        assert server.sent_bytes == 2 * SIZE
    assert left(tmp_path) == []


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"x", b""])
def test_a_file_of_another_length_than_promised_is_refused(tmp_path: Path, data: bytes, ranges: bool) -> None:
    with FileServer(lambda ask: of_file(ask, data, ranges=ranges)) as server:
        with pytest.raises(WrongContent, match=f"has .*not {SIZE:,}|more than the {SIZE:,}|has no such part"):
            puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin"))
    assert left(tmp_path) == []


def test_more_or_less_than_the_length_that_was_declared(tmp_path: Path) -> None:
    long = {"ETag": '"one"', "Content-Length": str(SIZE), "Connection": "close"}
    with FileServer(lambda ask: Reply(200, long, DATA + b"more")) as server:
        assert whole(puller(tmp_path / "a").fetch(plan_for(f"{server.origin}/model.bin")))
    with FileServer(lambda ask: Reply(200, {**long, "Content-Length": str(SIZE + 9)}, DATA)) as server:
        with pytest.raises(WrongContent, match=f"{SIZE + 9:,} bytes, not"):
            puller(tmp_path / "b").fetch(plan_for(f"{server.origin}/model.bin"))
    with FileServer(lambda ask: Reply(200, {"Connection": "close"}, DATA[:-5])) as server:  # its end says nothing
        with pytest.raises(WrongContent, match=f"{SIZE - 5:,} bytes, not"):
            puller(tmp_path / "c").fetch(plan_for(f"{server.origin}/model.bin"))
        with pytest.raises(WrongContent, match="nothing tells whether it is whole"):
            puller(tmp_path / "d").fetch(plan_for(f"{server.origin}/model.bin", known=False))


def test_another_part_than_was_asked_for_is_not_written(tmp_path: Path) -> None:
    def serve(number: int, ask: Ask) -> Reply:
        reply = of_file(ask, DATA)
        span = ask.span
        if number % 2 or span is None or not span[1]:
            return reply
        shifted = {**reply.headers, "Content-Range": f"bytes {span[0] + 7}-{span[1] - 1}/{SIZE}"}
        return dataclasses.replace(reply, headers=shifted)

    with FileServer(Counted(serve)) as server:
        assert whole(puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin")))


@pytest.mark.parametrize("path", ["web/h/model.gguf", "web/h/model.bin"])
def test_a_page_where_a_file_was_expected(tmp_path: Path, path: str) -> None:
    page = Reply(200, {"Content-Type": "text/html; charset=utf-8"}, b"<!doctype html><p>Log in first")
    with FileServer(lambda ask: page) as server:
        with pytest.raises(WrongContent, match="a page for people") as refused:
            puller(tmp_path).fetch(plan_for(f"{server.origin}/m?sig=secret", path=path))
        assert "token" in refused.value.hint and "secret" not in refused.value.sentence()
    assert left(tmp_path) == []


def test_a_page_midway_does_not_cost_what_has_come(tmp_path: Path) -> None:
    page = False
    login = Reply(200, {"Content-Type": "text/html"}, b"<p>Log in")
    with FileServer(lambda ask: login if page else of_file(ask, DATA, per_s=5e6)) as server:
        begun(tmp_path, server)
        page = True
        with pytest.raises(WrongContent, match="a page for people"):
            puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin"))
        page = False
        told = Told()
        assert whole(puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin"), told))
        assert told[0].done_bytes > SIZE / 3


def test_what_is_no_gguf_file_is_refused_by_its_first_bytes(tmp_path: Path) -> None:
    with FileServer(lambda ask: of_file(ask, b"PK\3\4" + DATA)) as server:
        with pytest.raises(WrongContent, match=r"begins with b'PK"):
            puller(tmp_path).fetch(plan_for(f"{server.origin}/m.gguf", b"PK\3\4" + DATA, path="web/h/m.gguf"))
        assert server.sent_bytes < SIZE
    assert left(tmp_path) == []


def test_redirects_to_private_addresses_and_tokens_to_others_stay_impossible_in_a_fetch(tmp_path: Path) -> None:
    with FileServer(lambda ask: of_file(ask, DATA)) as other:
        with FileServer(lambda ask: Reply(302, {"Location": f"{other.origin}/x"})) as hub:
            rules = WebRules(trusted=frozenset({hub.origin}), tokens={f"127.0.0.1:{hub.port}": "hf_secret"})
            with pytest.raises(FetchRefused, match="http lets anybody"):
                Pulling(tmp_path, Web(rules)).fetch(plan_for(f"{hub.origin}/model.bin"))
            assert other.asked == []
            rules = dataclasses.replace(rules, insecure=True, private=True)
            assert whole(Pulling(tmp_path, Web(rules)).fetch(plan_for(f"{hub.origin}/model.bin")))
            assert hub.asked[0].headers["authorization"] == "Bearer hf_secret"
            assert "secret" not in str(other.asked)


def test_a_server_that_allows_one_connection_at_a_time_gets_one(tmp_path: Path) -> None:
    lock, now, most = threading.Lock(), 0, 0

    def serve(ask: Ask) -> Reply:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
            allowed = now <= 1
        try:
            time.sleep(0.15 if allowed else 0)
            return of_file(ask, DATA) if allowed else Reply(429)
        finally:
            with lock:
                now -= 1

    hurried = Hurried().patience()
    web = Web(WebRules(insecure=True, private=True, retries=0), patience=hurried)
    with FileServer(serve) as server:
        assert whole(Pulling(tmp_path, web, patience=hurried).fetch(plan_for(f"{server.origin}/model.bin")))
    assert most > 1


@pytest.mark.parametrize(
    "reply", [Reply(503), Reply(reset=True), Reply(206, {"Content-Length": "9"}, cut=0, hang=True)]
)
def test_a_bad_day_that_does_not_end_is_told_and_what_came_is_kept(tmp_path: Path, reply: Reply) -> None:
    bad = False
    with FileServer(lambda ask: reply if bad else of_file(ask, DATA, per_s=5e6)) as server:
        begun(tmp_path, server)
        bad = True
        with pytest.raises((TooBusy, Interrupted, WrongContent)):
            puller(tmp_path, timeout_s=0.3).fetch(plan_for(f"{server.origin}/model.bin"))
        bad = False
        told = Told()
        assert whole(puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin"), told))
        assert told[0].done_bytes > SIZE / 3


def test_a_server_that_hangs_is_left_at_once_when_the_fetch_is_stopped(tmp_path: Path) -> None:
    hang = dataclasses.replace(of_file(Ask("GET", "/", {}), DATA), cut=1_000_000, hang=True)
    with FileServer(lambda ask: hang) as server:
        end = time.monotonic() + 0.5
        with pytest.raises(FetchStopped):
            puller(tmp_path, timeout_s=30).fetch(plan_for(f"{server.origin}/x"), stop=lambda: time.monotonic() > end)
        assert time.monotonic() - end < 1.0


class Fast:
    """A clock of which a second takes a hundredth of one; waits for servers take no time."""

    def patience(self) -> Patience:
        return Patience(sleep=lambda seconds: time.sleep(seconds / 100), now=lambda: 100 * time.monotonic())


def test_a_server_that_drips_is_left_for_another_connection(tmp_path: Path) -> None:
    """A byte now and then keeps a connection from being silent, for ever."""

    def serve(number: int, ask: Ask) -> Reply:
        reply = of_file(ask, DATA)
        return dataclasses.replace(reply, drip=True) if number % 2 == 0 else reply

    patience = Fast().patience()
    web = Web(WebRules(insecure=True, private=True), patience=patience)
    with FileServer(Counted(serve)) as server:
        assert whole(Pulling(tmp_path, web, patience=patience).fetch(plan_for(f"{server.origin}/model.bin")))


@pytest.mark.parametrize("ranges", [True, False])
def test_a_server_that_only_drips_is_given_up_and_what_came_is_kept(tmp_path: Path, ranges: bool) -> None:
    drips = False
    with FileServer(
        lambda ask: dataclasses.replace(of_file(ask, DATA, ranges=ranges or not drips, per_s=5e6), drip=drips)
    ) as server:
        begun(tmp_path, server)
        drips = True
        patience = Fast().patience()
        web = Web(WebRules(insecure=True, private=True, retries=1), patience=patience)
        with pytest.raises(FetchFailed, match="it brings less than 1,024 bytes a second"):
            Pulling(tmp_path, web, patience=patience).fetch(plan_for(f"{server.origin}/model.bin"))
        drips = False
        told = Told()
        assert whole(puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin"), told))
        assert told[0].done_bytes > SIZE / 3
