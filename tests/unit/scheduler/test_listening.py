"""Sentences about where an engine listens."""

from __future__ import annotations

import pytest

from corral.domain.launch import Endpoint
from corral.scheduler.listening import elsewhere, too_open

AT = Endpoint(host="127.0.0.1", port=4242)


@pytest.mark.parametrize(
    ("places", "says"),
    [
        ((), ""),
        (("unix:/x",), ""),
        (("127.0.0.1:4242", "127.0.0.1:1"), ""),
        (("0.0.0.0:4242",), ""),
        (("127.0.0.1:8000",), "It listens on 127.0.0.1:8000, not on 127.0.0.1:4242"),
        (("127.0.0.1:14242",), "not on 127.0.0.1:4242"),
    ],
)
def test_elsewhere(places: tuple[str, ...], says: str) -> None:
    found = elsewhere(places, AT)
    assert says in found and bool(says) == bool(found)
    assert elsewhere(places, Endpoint(socket="/s")) == ""


@pytest.mark.parametrize(
    ("places", "open_"),
    [
        (("127.0.0.1:4242",), False),
        (("0.0.0.0:4242",), True),
        (("[::]:4242",), True),
        (("0.0.0.0:9",), False),
        (("[::1]:4242",), False),
    ],
)
def test_too_open(places: tuple[str, ...], open_: bool) -> None:
    assert bool(too_open(places, AT)) == open_
