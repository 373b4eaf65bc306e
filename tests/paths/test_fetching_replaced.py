"""A file whose address has another one by now, of the same size: it is replaced, whatever ends that midway."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from corral.contracts.fetching import Plan
from corral.domain.errors import StoreFailed
from corral.domain.references import WebReference, parse
from corral.store.fetch.rules import WebRules
from corral.store.fetch.web import Web
from corral.store.sources import web as addresses
from tests.file_server import Ask, FileServer, Reply, of_file
from tests.models import ADA, model
from tests.paths.fetching_kit import puller, whole

ONE = model(ADA).read_bytes()
OTHER = ONE[:-1] + bytes([ONE[-1] ^ 1])
THIRD = ONE[:-1] + bytes([ONE[-1] ^ 2])


class Address:
    """A server with one file, whose uploads follow each other."""

    def __init__(self) -> None:
        self.data, self.etag = ONE, '"one"'

    def __call__(self, ask: Ask) -> Reply:
        return of_file(ask, self.data, etag=self.etag)

    def upload(self, data: bytes) -> None:
        self.data, self.etag = data, f'"{data[-1]}"'


def planned(server: FileServer) -> Plan:
    web = Web(WebRules(insecure=True, private=True))
    reference = parse(f"{server.origin}/m.gguf")
    assert isinstance(reference, WebReference)
    return addresses.plan(web, reference)


def failing(root: Path, plan: Plan, point: str, number: int = 1) -> None:
    """A fetch that ends where it comes to this point."""
    left = number

    def fault(now: str) -> None:
        nonlocal left
        left -= now == point
        if now == point and not left:
            raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(StoreFailed):
        puller(root, fault=fault).fetch(plan)


@pytest.mark.parametrize("point", ["origin.remove", "part.rename", "origin.write", "origin.rename", "folder.sync"])
def test_what_is_there_is_not_taken_for_what_was_to_replace_it(tmp_path: Path, point: str) -> None:
    address = Address()
    with FileServer(address) as server:
        puller(tmp_path).fetch(planned(server))
        address.upload(OTHER)
        failing(tmp_path, planned(server), point)
        sent = server.sent_bytes
        assert whole(puller(tmp_path).fetch(planned(server)), OTHER)
        assert server.sent_bytes - sent < 1000, "all of it had come"
        address.upload(THIRD)
        assert whole(puller(tmp_path).fetch(planned(server)), THIRD)


@pytest.mark.parametrize("point", ["part.rename", "origin.write"])
def test_what_was_replaced_midway_and_has_changed_again_is_fetched(tmp_path: Path, point: str) -> None:
    address = Address()
    with FileServer(address) as server:
        puller(tmp_path).fetch(planned(server))
        address.upload(OTHER)
        failing(tmp_path, planned(server), point)
        address.upload(THIRD)
        assert whole(puller(tmp_path).fetch(planned(server)), THIRD)


def test_what_somebody_has_put_there_is_taken_where_nothing_else_is_coming(tmp_path: Path) -> None:
    with FileServer(Address()) as server:
        plan = planned(server)
        place = tmp_path / plan.files[0].path
        place.parent.mkdir(parents=True)
        place.write_bytes(OTHER)
        puller(tmp_path).fetch(plan)
        assert place.read_bytes() == OTHER
        journal = place.with_name(".m.gguf.part.json")
        journal.write_text("{}")
        puller(tmp_path).fetch(plan)
        assert place.read_bytes() == OTHER and not journal.exists()
