"""What happens to a server in the hours that a large file takes: it restarts, its addresses and its tokens expire."""

from __future__ import annotations

import dataclasses
import json
import socket
from pathlib import Path

import pytest

from corral.domain.errors import NotThere
from corral.domain.references import parse
from corral.domain.storage import StoreSpec
from corral.store.fetch.patience import Patience
from corral.store.fetch.pulling import Pulling
from corral.store.fetch.rules import WebRules
from corral.store.fetch.web import Web
from corral.store.fetch.wire import Interrupted
from corral.store.fetches import StoreFetches
from tests.file_server import Ask, FileServer, Reply, of_file
from tests.paths.fetching_kit import DATA, SIZE, Hurried, left, plan_for, puller, sha256, whole

CUT = SIZE // 3


class Restarting:
    """Looks names up: `away` times after the first, the host has no address, or nobody listens there."""

    def __init__(self, away: int, first: int = 1, *, refused: bool) -> None:
        self.calls, self._away, self._first, self._refused = 0, away, first, refused

    def __call__(self, host: str, port: int) -> list[str]:
        self.calls += 1
        if not self._first < self.calls <= self._first + self._away:
            return ["127.0.0.1"]
        if not self._refused:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return ["127.0.0.9"]

    def pulling(self, root: Path) -> Pulling:
        patience = Hurried().patience()
        rules = WebRules(insecure=True, private=True, timeout_s=3)
        return Pulling(root, Web(rules, patience=patience, resolve=self), 1, patience=patience)


@pytest.mark.parametrize("refused", [True, False], ids=["nobody listens", "no address"])
@pytest.mark.parametrize("ranges", [True, False], ids=["in parts", "as a stream"])
def test_a_server_that_is_away_for_some_seconds_midway_is_waited_for(
    tmp_path: Path, ranges: bool, refused: bool
) -> None:
    def cut(ask: Ask) -> Reply:
        reply = of_file(ask, DATA, ranges=ranges)
        return dataclasses.replace(reply, cut=CUT) if len(server.asked) == 1 else reply

    names = Restarting(4, refused=refused)
    with FileServer(cut) as server:
        plan = plan_for(f"http://files.example:{server.port}/model.bin")
        assert whole(names.pulling(tmp_path).fetch(plan))
    assert names.calls == 6


def test_a_server_that_was_never_there_is_not_waited_for(tmp_path: Path) -> None:
    names = Restarting(100, first=0, refused=True)
    with FileServer(lambda ask: of_file(ask, DATA)) as server:
        with pytest.raises(Interrupted, match="cannot be reached"):
            names.pulling(tmp_path).fetch(plan_for(f"http://files.example:{server.port}/model.bin"))
    assert names.calls <= 3


def test_a_server_that_does_not_come_back_is_given_up_and_what_came_is_kept(tmp_path: Path) -> None:
    names = Restarting(100, refused=True)
    with FileServer(lambda ask: dataclasses.replace(of_file(ask, DATA), cut=CUT)) as server:
        with pytest.raises(Interrupted, match="cannot be reached"):
            names.pulling(tmp_path).fetch(plan_for(f"http://files.example:{server.port}/model.bin"))
    assert names.calls <= 7
    assert left(tmp_path) == [".model.bin.part", ".model.bin.part.json"]


@pytest.mark.parametrize("gone", [Reply(400), Reply(403), Reply(500), Reply(reset=True)])
def test_a_signed_address_that_has_expired_is_asked_for_anew_whatever_its_server_says(
    tmp_path: Path, gone: Reply
) -> None:
    """Each is good for one answer."""
    signed: list[str] = []
    used: list[str] = []

    def sign(ask: Ask) -> Reply:
        signed.append(f"/blob?sig={len(signed)}")
        return Reply(302, {"Location": f"{blobs.origin}{signed[-1]}"})

    def blob(ask: Ask) -> Reply:
        if ask.path in used:
            return gone
        used.append(ask.path)
        return of_file(ask, DATA)

    with FileServer(blob) as blobs, FileServer(sign) as hub:
        assert whole(puller(tmp_path, connections=1).fetch(plan_for(f"{hub.origin}/model.bin")))
        assert len(signed) == len(used) > 1


MODEL = b"GGUF" + DATA[4:]


class Registry:
    """Of one model; each token is good for one answer with its bytes, but for those after the `last`."""

    def __init__(self, last: int = 1000) -> None:
        self._last, self._used = last, False
        self.tokens = 0

    def __call__(self, ask: Ask) -> Reply:
        if ask.path.startswith("/token"):
            self.tokens, self._used = self.tokens + 1, False
            return Reply(body=json.dumps({"token": f"t{self.tokens}"}).encode())
        good = ask.headers.get("authorization") == f"Bearer t{self.tokens}" and self.tokens <= self._last
        if not good or self._used:
            return Reply(401, {"WWW-Authenticate": f'Bearer realm="http://{ask.headers["host"]}/token"'})
        if "/manifests/" in ask.path:
            kind = "application/vnd.ollama.image.model"
            layer = {"mediaType": kind, "size": len(MODEL), "digest": f"sha256:{sha256(MODEL)}"}
            return Reply(body=json.dumps({"layers": [layer]}).encode())
        self._used = True
        return of_file(ask, MODEL)

    def fetch(self, root: Path) -> tuple[bytes, int]:
        """What came, and in how many answers."""
        with FileServer(self) as server:
            spec = StoreSpec(str(root), trusted=frozenset({server.origin}), connections=1)
            fetches = StoreFetches(spec, {"HOME": str(root)})
            plan = fetches.plan(parse(f"ollama:127.0.0.1:{server.port}/me/tiny"))
            came = fetches.fetch(plan).model.read_bytes()
            return came, sum("/blobs/" in ask.path for ask in server.asked)


def test_a_token_that_expires_midway_is_renewed_each_time(tmp_path: Path) -> None:
    registry = Registry()
    came, asked = registry.fetch(tmp_path)
    assert came == MODEL
    renewed = asked // 2  # every other question was refused
    assert registry.tokens == 2 + renewed > 2, "one for the plan, one for the fetch, and one each time"


@pytest.mark.parametrize("last", [1, 2], ids=["before the first byte", "midway"])
def test_who_is_let_in_no_more_is_told_so_and_asks_for_one_token_more(tmp_path: Path, last: int) -> None:
    registry = Registry(last)
    with pytest.raises(NotThere, match="401"):
        registry.fetch(tmp_path)
    assert registry.tokens == last + 1


def test_a_token_that_expired_before_its_first_use_is_renewed(tmp_path: Path) -> None:
    """The fetch waited for its turn; a token that is refused at once is refused for good."""
    now_s, tokens = [0.0], iter(["new", "never"])

    def rules(token: str) -> WebRules:
        return WebRules(insecure=True, private=True, retries=0, tokens={f"127.0.0.1:{server.port}": token},
                        trusted=frozenset({server.origin}))  # fmt: skip

    def answer(ask: Ask) -> Reply:
        return Reply(body=b"it") if ask.headers.get("authorization", "").endswith("new") else Reply(401)

    with FileServer(answer) as server:
        for late, right in ((0.0, False), (3600.0, True)):
            web = Web(rules("old"), patience=Patience(now=lambda: now_s[0]), admit=lambda: rules(next(tokens)))
            now_s[0] += late
            if right:
                assert web.read(server.origin) == b"it"
            else:
                with pytest.raises(NotThere, match="401"):
                    web.read(server.origin)
