"""What an answer makes of what is known of a file: gone on with, begun anew, asked for again, or refused."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pytest

from corral.contracts.fetching import RemoteFile
from corral.domain.errors import WrongContent
from corral.store.fetch.journal import Identity
from corral.store.fetch.promise import Broken, Changed, Promise, Unparted, Untagged, Worthless
from corral.store.fetch.rules import target_of

URL = "https://a.example/m.gguf?secret=1"
HASHED = Promise.of(RemoteFile(URL, "web/a/m.gguf", size_bytes=100, sha256="aa"))
BARE = Promise.of(RemoteFile(URL, "web/a/m.gguf"))


@dataclass
class Heard:
    """An answer, by what it says."""

    status: int = 206
    etag: str = '"t"'
    whole_bytes: int | None = 100
    first_byte: int = 0
    framed: bool = True
    is_page: bool = False

    def __post_init__(self) -> None:
        self.target = target_of(URL)


def test_the_first_answer_tells_size_and_tag() -> None:
    opened = BARE.opened(Heard(), begun=False)
    assert opened.identity == Identity("https://a.example/m.gguf", 100, "", '"t"')
    assert opened.in_parts and opened.headers == {"If-Range": '"t"'}
    assert not BARE.opened(Heard(etag=""), begun=False).in_parts  # parts could be of two files
    assert not BARE.opened(Heard(whole_bytes=None), begun=False).in_parts
    assert HASHED.opened(Heard(etag=""), begun=False).in_parts


def test_another_size_than_the_source_promised_is_another_file() -> None:
    with pytest.raises(Worthless, match="it has 99 bytes, not 100"):
        HASHED.opened(Heard(whole_bytes=99), begun=False)
    known = BARE.opened(Heard(), begun=False)
    with pytest.raises(Changed, match="size"):  # only the server said so, and it may change its mind
        known.opened(Heard(whole_bytes=99), begun=False)


def test_all_of_it_instead_of_the_rest_is_a_stream_once_it_was_shown_twice() -> None:
    fresh = BARE.opened(Heard(200), begun=False)
    assert fresh.size == 100 and not fresh.streams
    once = HASHED.opened(Heard(), begun=False).opened(Heard(200), begun=True)
    assert not once.streams and once.opened(Heard(200), begun=True).streams
    assert fresh.opened(Heard(200, etag="", whole_bytes=None), begun=True).streams, "saying less is not saying no"
    parts = once.opened(Heard(206), begun=True)
    assert not parts.opened(Heard(200), begun=True).streams, "another server of several: it gives parts after all"


def test_all_of_another_version_is_a_new_beginning() -> None:
    with pytest.raises(Changed, match="ETag"):
        BARE.opened(Heard(), begun=False).opened(Heard(200, etag='"u"'), begun=True)


@pytest.mark.parametrize("status", [200, 206])
def test_where_a_hash_is_known_another_tag_is_no_other_file(status: int) -> None:
    """Mirrors and the nodes of one network tag the same content each in its own way."""
    resumed = HASHED.resumed(Identity("https://mirror/m.gguf", 100, "aa", '"t"'))
    assert resumed is not None and not resumed.headers, "a server that compares tags would send all of it"
    heard = Heard(status, etag='"of another node"', first_byte=10)
    again = resumed.opened(heard, begun=True)
    assert again.identity == resumed.identity and again.other_tag(heard)
    again.check_part(dataclasses.replace(heard, status=206), 10)
    assert not again.other_tag(Heard(etag="")) and not again.other_tag(Heard())


@pytest.mark.parametrize("status", [200, 206])
def test_another_length_does_not_cost_what_has_come(status: int) -> None:
    """A page of something in between, a server with another file: it is asked again, and in the end refused."""
    with pytest.raises(Broken, match=r"it has 99 bytes, not 100\. What came before is kept") as caught:
        HASHED.opened(Heard(status, whole_bytes=99, etag='"u"'), begun=True)
    assert isinstance(caught.value.error, WrongContent) and not isinstance(caught.value.error, Worthless)


def test_a_length_that_only_the_server_told_may_change_with_the_tag() -> None:
    known = BARE.opened(Heard(), begun=False)
    with pytest.raises(Changed, match="size"):
        known.opened(Heard(200, whole_bytes=99, etag='"u"'), begun=True)
    for tag in ("", '"t"'):
        with pytest.raises(Broken, match="99 bytes"):
            known.opened(Heard(200, whole_bytes=99, etag=tag), begun=True)


def test_a_stream_that_begins_otherwise() -> None:
    known = HASHED.opened(Heard(), begun=False)
    assert isinstance(known.differing(Heard(200)), Changed)
    other = known.differing(Heard(200, whole_bytes=None))
    assert isinstance(other, Broken) and not isinstance(other.error, Worthless), "it may be a page of a proxy"


def test_a_page_to_log_in_is_no_reason_to_throw_away_what_has_come() -> None:
    with pytest.raises(WrongContent, match="a page for people") as caught:
        HASHED.opened(Heard(is_page=True), begun=False)
    assert not isinstance(caught.value, Worthless)
    with pytest.raises(Broken, match="a page for people"):
        HASHED.opened(Heard(is_page=True), begun=True)
    with pytest.raises(Broken, match="a page for people"):
        HASHED.check_part(Heard(200, is_page=True, whole_bytes=9), 10)
    page = Promise.of(RemoteFile(URL, "web/a/readme.html"))
    assert page.opened(Heard(is_page=True), begun=False).size == 100


@pytest.mark.parametrize("heard", [Heard(200), Heard(200, etag=""), Heard(200, whole_bytes=None)])
def test_all_of_it_instead_of_a_part_is_asked_for_again(heard: Heard) -> None:
    with pytest.raises(Unparted, match="all of the file instead of a part"):
        HASHED.opened(Heard(), begun=False).check_part(heard, 10)


@pytest.mark.parametrize("heard", [Heard(etag='"u"', first_byte=10), Heard(200, etag='"u"')])
def test_a_part_of_another_file_is_a_new_beginning(heard: Heard) -> None:
    known = BARE.opened(Heard(), begun=False)
    with pytest.raises(Changed, match="ETag"):
        known.check_part(heard, 10)


def test_a_part_without_a_tag_may_be_of_another_file_where_only_tags_tell() -> None:
    silent = Heard(etag="", first_byte=10)
    with pytest.raises(Untagged, match="which version"):
        BARE.opened(Heard(), begun=False).check_part(silent, 10)
    HASHED.opened(Heard(), begun=False).check_part(silent, 10)


def test_a_file_whose_tags_say_nothing_comes_as_one() -> None:
    one = BARE.opened(Heard(), begun=False).as_one()
    assert one.identity == Identity("https://a.example/m.gguf", 100) and not one.headers
    for tag in ('"u"', '"v"', ""):
        one = one.opened(Heard(etag=tag), begun=True)
        assert not one.in_parts and not one.identity.told, "what stands in its journal is nothing to go on with"


def test_a_part_of_a_file_of_another_size() -> None:
    heard = Heard(whole_bytes=99, first_byte=10)
    with pytest.raises(Broken, match="99 bytes, not 100"):
        HASHED.opened(Heard(), begun=False).check_part(heard, 10)
    with pytest.raises(Changed, match="size"):  # only the server had said so
        BARE.opened(Heard(), begun=False).check_part(heard, 10)


def test_another_part_than_was_asked_for_is_asked_for_again() -> None:
    known = HASHED.opened(Heard(), begun=False)
    known.check_part(Heard(first_byte=10), 10)
    with pytest.raises(Broken, match=r"a\.example/m\.gguf sent another part"):
        known.check_part(Heard(first_byte=11), 10)


def test_what_an_earlier_fetch_knew() -> None:
    found = Identity("https://mirror/m.gguf", None, "aa", '"u"')
    resumed = HASHED.resumed(found)
    assert resumed is not None and resumed.identity == Identity("https://mirror/m.gguf", 100, "aa", '"u"')
    assert HASHED.resumed(Identity("https://a.example/m.gguf", 100, "bb", '"t"')) is None
    assert BARE.resumed(Identity("https://a.example/m.gguf", 100, "", '"t"')) is not None
    assert BARE.resumed(Identity("https://a.example/m.gguf", 100)) is None  # nothing tells whose bytes these are


def test_bytes_that_cannot_be_of_it() -> None:
    HASHED.check_bytes(memoryview(b"GGUF...."), 0)
    HASHED.check_bytes(memoryview(b"GG"), 0)
    HASHED.check_bytes(memoryview(b"anything"), 92)
    with pytest.raises(Worthless, match="no GGUF file"):
        HASHED.check_bytes(memoryview(b"<html>"), 0)
    with pytest.raises(Worthless, match="more than the 100 bytes"):
        HASHED.check_bytes(memoryview(b"anything"), 93)
    with pytest.raises(Worthless, match=r"https://a\.example/m\.gguf is not .* it has 99 bytes, not 100"):
        HASHED.check_length(99)


def test_a_stream_needs_something_that_tells_its_end() -> None:
    HASHED.check_stream(Heard(200, framed=False))
    BARE.check_stream(Heard(200, framed=False))  # a GGUF header says how long it must be
    text = Promise.of(RemoteFile(URL, "web/a/notes.txt"))
    text.check_stream(Heard(200))
    with pytest.raises(Worthless, match="nothing tells whether it is whole"):
        text.check_stream(Heard(200, framed=False))
