"""Fetching files on days when servers and disks do what they should."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from corral.contracts.fetching import Plan, Progress, RemoteFile
from corral.domain.errors import FetchStopped, NoSpace, NotThere, StoreFailed, WrongContent
from corral.store.fetch.disk import Beside, Disk
from corral.store.fetch.lock import lock
from tests.file_server import Ask, FileServer, Reply, of_file
from tests.models import ADA, model
from tests.paths.fetching_kit import DATA, PATH, SIZE, Told, data_of, left, plan_for, puller, sha256, whole


def good(ask: Ask) -> Reply:
    return of_file(ask, DATA)


def test_a_file_comes_in_segments_over_several_connections_and_each_byte_once(tmp_path: Path) -> None:
    told = Told()
    with FileServer(good) as server:
        fetched = puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin"), told)
        assert whole(fetched) and fetched.model == tmp_path / PATH
        assert server.sent_bytes == SIZE
        spans = sorted(ask.span or (0, None) for ask in server.asked)
        assert len(spans) == 3 and spans[0][0] == 0 and spans[-1][1] == SIZE
    assert told[-1].done_bytes == told[-1].total_bytes == SIZE and told[-1].files_done == 1
    assert all(a.done_bytes <= b.done_bytes for a, b in pairwise(told))
    origin = json.loads((tmp_path / "web/files/.model.bin.origin.json").read_text())
    assert (origin["size"], origin["sha256"], origin["etag"]) == (SIZE, sha256(DATA), '"one"')


def test_what_is_there_is_not_asked_for_again(tmp_path: Path) -> None:
    with FileServer(good) as server:
        plan = plan_for(f"{server.origin}/model.bin")
        puller(tmp_path).fetch(plan)
        asked = len(server.asked)
        assert whole(puller(tmp_path).fetch(plan))
        (tmp_path / "web/files/.model.bin.origin.json").unlink()  # then it is hashed, and its origin said anew
        told = Told()
        assert whole(puller(tmp_path).fetch(plan, told))
        assert {each.doing for each in told[:-1]} == {"verifying"}
        assert len(server.asked) == asked


@pytest.mark.parametrize("held", [False, True], ids=["another came and went", "another is at it"])
def test_what_is_put_there_while_the_old_is_hashed_is_not_vouched_for(tmp_path: Path, held: bool) -> None:
    """Who hashes without the lock must not write over what its holder says of another file."""
    new, place = data_of(2), tmp_path / PATH
    said = place.with_name(f".{place.name}.origin.json")
    with FileServer(good) as server, contextlib.ExitStack() as others:
        plan = plan_for(f"{server.origin}/model.bin")
        puller(tmp_path).fetch(plan)
        said.unlink()
        seen: list[str] = []

        def told(progress: Progress) -> None:
            if progress.doing == "verifying" and not seen:
                if held:
                    folder = others.enter_context(Disk().folder(tmp_path, ("web", "files"), make=False))
                    assert others.enter_context(lock(folder, Beside.of(place.name)))
                else:
                    place.with_name("new").write_bytes(new)
                    place.with_name("new").rename(place)
                    said.write_text("{}")
                seen.append("once")
            elif progress.doing != "verifying" and len(seen) == 1:
                seen.append(said.read_text() if said.exists() else "nothing")

        fetched = puller(tmp_path).fetch(plan, told)
        assert seen == ["once", "nothing" if held else "{}"]
        others.close()
        assert fetched.model.read_bytes() == DATA
        assert whole(puller(tmp_path).fetch(plan))


def test_another_version_at_the_source_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    new = data_of(2)
    with FileServer(lambda ask: of_file(ask, new if ask.path == "/new" else DATA)) as server:
        puller(tmp_path).fetch(plan_for(f"{server.origin}/old"))
        assert whole(puller(tmp_path).fetch(plan_for(f"{server.origin}/new", new)), new)


def test_a_file_of_which_nothing_is_known_beforehand(tmp_path: Path) -> None:
    with FileServer(good) as server:
        url = f"http://me:secret@127.0.0.1:{server.port}/model.bin?sig=secret"
        assert whole(puller(tmp_path).fetch(plan_for(url, known=False)))
        assert len(server.asked) > 1 and all("authorization" in ask.headers for ask in server.asked)
    assert "secret" not in (tmp_path / "web/files/.model.bin.origin.json").read_text()


def test_an_empty_file(tmp_path: Path) -> None:
    with FileServer(lambda ask: of_file(ask, b"")) as server:
        for name, known in (("known", True), ("unknown", False)):
            plan = plan_for(f"{server.origin}/{name}", b"", path=f"web/{name}/empty", known=known)
            assert whole(puller(tmp_path).fetch(plan), b"")


@pytest.mark.parametrize("etag", ['"one"', ""])
@pytest.mark.parametrize("known", [True, False])
def test_a_server_without_ranges_gives_it_as_one_stream(tmp_path: Path, known: bool, etag: str) -> None:
    with FileServer(lambda ask: of_file(ask, DATA, ranges=False, etag=etag)) as server:
        assert whole(puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin", known=known)))
        assert len(server.asked) == 1


def test_without_hash_and_etag_it_comes_as_one_stream_even_where_there_are_ranges(tmp_path: Path) -> None:
    with FileServer(lambda ask: of_file(ask, DATA, etag="")) as server:
        assert whole(puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin", known=False)))
        assert [ask.span for ask in server.asked][1:] == [None]


def test_segments_go_where_the_first_redirect_led_and_back_when_that_has_run_out(tmp_path: Path) -> None:
    calls = iter(range(1000))

    def cdn(ask: Ask) -> Reply:
        return Reply(403) if next(calls) == 1 else good(ask)  # a signed address runs out

    with FileServer(cdn) as blobs:
        with FileServer(lambda ask: Reply(302, {"Location": f"{blobs.origin}/blob?sig=1"})) as hub:
            assert whole(puller(tmp_path, connections=1).fetch(plan_for(f"{hub.origin}/model.bin")))
            assert len(hub.asked) == 2 < len(blobs.asked)


def test_all_files_of_a_model_come_and_the_first_one_last(tmp_path: Path) -> None:
    seen: list[list[str]] = []
    parts = {f"/m-0000{n}-of-00003.gguf": b"GGUF" + data_of(n, 1_000_000) for n in (1, 2, 3)}

    def serve(ask: Ask) -> Reply:
        seen.append([name for name in left(tmp_path) if not name.startswith(".")])
        return of_file(ask, parts[ask.path])

    with FileServer(serve) as server:
        files = tuple(
            RemoteFile(server.origin + path, f"hf/o/r{path}", size_bytes=len(body), sha256=sha256(body))
            for path, body in parts.items()
        )
        plan = Plan(plan_for(server.origin).reference, files)
        told = Told()
        fetched = puller(tmp_path).fetch(plan, told)
        assert [path.read_bytes() for path in fetched.paths] == list(parts.values())
        assert fetched.model.name == "m-00001-of-00003.gguf"
    assert seen == [[], ["m-00002-of-00003.gguf"], ["m-00002-of-00003.gguf", "m-00003-of-00003.gguf"]]
    assert (told[-1].files_done, told[-1].files, told[-1].share) == (3, 3, 1.0)


def test_a_gguf_file_without_a_hash_is_looked_into(tmp_path: Path) -> None:
    body = model(ADA).read_bytes()
    with FileServer(lambda ask: of_file(ask, body[:-1000] if "short" in ask.path else body)) as server:
        good_plan = plan_for(f"{server.origin}/ada.gguf", path="web/h/ada.gguf", known=False)
        assert whole(puller(tmp_path).fetch(good_plan), body)
        short = plan_for(f"{server.origin}/short.gguf", path="web/s/short.gguf", known=False)
        with pytest.raises(WrongContent, match=r"short\.gguf is not complete.*Nothing of it is kept"):
            puller(tmp_path).fetch(short)
    assert left(tmp_path / "web/s") == []


@pytest.mark.parametrize("name", ["ada.gguf", "ADA.GGUF", "Ada.Gguf"])
def test_every_gguf_file_is_looked_into_however_its_name_is_written(tmp_path: Path, name: str) -> None:
    body = model(ADA).read_bytes()
    with FileServer(lambda ask: of_file(ask, body[:-1000] if "short" in ask.path else b"PK\3\4" + body)) as server:
        for bad in ("short", "other"):
            with pytest.raises(WrongContent, match=r"not complete|no GGUF file"):
                puller(tmp_path).fetch(plan_for(f"{server.origin}/{bad}", path=f"web/h/{name}", known=False))
    assert left(tmp_path) == []


def test_another_file_under_the_same_address_is_told_by_its_etag(tmp_path: Path) -> None:
    new, etag = data_of(2), '"one"'
    with FileServer(lambda ask: of_file(ask, new if etag == '"two"' else DATA, etag=etag)) as server:
        plan = plan_for(f"{server.origin}/model.bin", known=False)
        for etag, data in (('"one"', DATA), ('"two"', new)):
            said = Plan(plan.reference, (replace(plan.files[0], size_bytes=SIZE, etag=etag),))
            assert whole(puller(tmp_path).fetch(said), data)
        asked = len(server.asked)
        assert whole(puller(tmp_path).fetch(said), new) and len(server.asked) == asked
        assert whole(puller(tmp_path).fetch(plan), new) and len(server.asked) == asked, "where it says nothing"


def test_what_comes_is_on_the_disk_before_it_is_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    did: list[str] = []
    fsync, rename = os.fsync, os.rename

    def synced(fd: int) -> None:
        did.append(f"flush {Path(os.readlink(f'/proc/self/fd/{fd}')).name}")
        fsync(fd)

    def renamed(old: str, new: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        did.append(f"{old} -> {new}")
        rename(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    with FileServer(good) as server:
        assert whole(puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin")))
    assert [each for each in did if ".part.json" not in each] == [
        "flush .model.bin.part",
        ".model.bin.part -> model.bin",
        "flush .model.bin.origin.json.new",
        ".model.bin.origin.json.new -> .model.bin.origin.json",
        "flush files",
    ]


def test_there_must_be_room_for_all_files_before_a_byte_is_fetched(tmp_path: Path) -> None:
    with FileServer(good) as server:
        plan = plan_for(f"{server.origin}/a")
        huge = replace(plan.files[0], path="web/files/b.bin", size_bytes=1 << 60)
        with pytest.raises(NoSpace, match=r"needs 1048576.0 TiB more, and .* has .* free"):
            puller(tmp_path).fetch(Plan(plan.reference, (*plan.files, huge)))
        assert server.asked == []
        small = replace(puller(tmp_path), free_bytes=lambda fd: SIZE - 1)
        with pytest.raises(NoSpace, match=r"needs 11\.8 MiB more"):  # the size is the server's word alone
            small.fetch(plan_for(f"{server.origin}/c", known=False))
        assert left(tmp_path) == []


def test_a_fetch_that_is_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    slow = True
    with FileServer(lambda ask: of_file(ask, DATA, per_s=4e6 if slow else 0)) as server:
        plan = plan_for(f"{server.origin}/model.bin")
        told = Told()
        with pytest.raises(FetchStopped):
            puller(tmp_path).fetch(plan, told, stop=lambda: bool(told) and told[-1].done_bytes > SIZE / 3)
        assert left(tmp_path) == [".model.bin.part", ".model.bin.part.json"]
        slow = False
        told = Told()
        assert whole(puller(tmp_path).fetch(plan, told))
        assert told[0].done_bytes > SIZE / 3
        assert server.sent_bytes < 1.3 * SIZE


def test_the_speed_is_of_what_comes_and_not_of_what_was_here(tmp_path: Path) -> None:
    """Of five files four are here, one of them with nobody to vouch for it, and half of the fifth is."""
    stop_at = SIZE // 2
    with FileServer(lambda ask: of_file(ask, DATA, per_s=4e6 / 2)) as server:
        plan = plan_for(f"{server.origin}/model.bin")
        told = Told()
        with pytest.raises(FetchStopped):
            puller(tmp_path).fetch(plan, told, stop=lambda: bool(told) and told[-1].done_bytes > stop_at)
        others = [replace(plan.files[0], path=f"web/{n}/model.bin") for n in range(4)]
        for each in others:
            place = tmp_path / each.path
            place.parent.mkdir()
            place.write_bytes(DATA)
        puller(tmp_path).fetch(replace(plan, files=tuple(others[:3])))  # by hashing them
        told = Told()
        puller(tmp_path, connections=2).fetch(replace(plan, files=(*plan.files, *others)), told)
    assert max(progress.done_bytes for progress in told) == 5 * SIZE
    assert 0 < max(progress.per_s for progress in told) < 8e6


def test_many_who_want_the_same_file_get_it_by_one_fetch(tmp_path: Path) -> None:
    told = [Told() for _ in range(5)]
    results: list[bool] = []
    with FileServer(lambda ask: of_file(ask, DATA, per_s=8e6)) as server:
        plan = plan_for(f"{server.origin}/model.bin")

        def fetch(told: Told) -> None:
            results.append(puller(tmp_path).fetch(plan, told).model.exists())

        each = [threading.Thread(target=fetch, args=(one,)) for one in told]
        for thread in each:
            thread.start()
        for thread in each:
            thread.join(30)
        assert results == [True] * 5 and server.sent_bytes == SIZE
    waiting = [progress for t in told for progress in t if progress.doing == "waiting"]
    assert any(0 < progress.done_bytes < SIZE and progress.total_bytes == SIZE for progress in waiting)


def test_what_is_not_there_leaves_nothing(tmp_path: Path) -> None:
    with FileServer(lambda ask: Reply(404)) as server, pytest.raises(NotThere):
        puller(tmp_path).fetch(plan_for(f"{server.origin}/model.bin"))
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    "path", ["../x", "a/../../x", "/etc/x", "a//b", "a/./b", "", "a\\b", "a\nb", "x" * 256, ".hidden", "a/.part"]
)
def test_no_name_leads_out_of_the_store(tmp_path: Path, path: str) -> None:
    with FileServer(good) as server, pytest.raises(StoreFailed, match="cannot be"):
        puller(tmp_path / "store").fetch(plan_for(f"{server.origin}/x", path=path))
    assert left(tmp_path) == []


@pytest.mark.parametrize("name", ["x" * 255, "ä" * 127, "x" * 250 + ".gguf", "模型 mit Leer.bin"])
def test_names_that_are_long_or_foreign(tmp_path: Path, name: str) -> None:
    data = b"GGUF" + DATA
    with FileServer(lambda ask: of_file(ask, data)) as server:
        fetched = puller(tmp_path).fetch(plan_for(f"{server.origin}/x", data, path=f"web/h/{name}"))
        assert fetched.model.read_bytes() == data and fetched.model.name == name


@pytest.mark.parametrize(
    "where", ["web", "web/files", "web/files/model.bin", "web/files/.model.bin.part", "web/files/.model.bin.lock"]
)
@pytest.mark.parametrize("dangling", [False, True])
def test_no_link_leads_out_of_the_store(tmp_path: Path, where: str, dangling: bool) -> None:
    outside, store = tmp_path / "outside", tmp_path / "store"
    link = store / where
    link.parent.mkdir(parents=True)
    if not dangling and where.endswith(("web", "files")):
        outside.mkdir()
    elif not dangling:
        outside.write_bytes(b"mine")
    link.symlink_to(outside)
    with FileServer(good) as server, pytest.raises(StoreFailed, match="link"):
        puller(store).fetch(plan_for(f"{server.origin}/x"))
    if dangling:
        assert not outside.exists()
    else:
        assert outside.read_bytes() == b"mine" if outside.is_file() else list(outside.iterdir()) == []


def test_the_store_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "store").symlink_to(tmp_path / "disk")
    with FileServer(good) as server:
        assert whole(puller(tmp_path / "store").fetch(plan_for(f"{server.origin}/x")))
    assert (tmp_path / "disk" / PATH).exists()
