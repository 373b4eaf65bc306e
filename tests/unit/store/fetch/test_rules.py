"""Where a fetch may go, told from addresses alone."""

from __future__ import annotations

import ipaddress

import pytest

from corral.domain.errors import FetchRefused
from corral.store.fetch.rules import WebRules, check_address, check_target, origin_of, shown, target_of


@pytest.mark.parametrize("address", ["127.0.0.1", "192.168.1.1", "169.254.169.254", "::1", "fe80::1%eth0", "fc00::1"])
def test_addresses_of_this_machine_and_its_networks_need_leave(address: str) -> None:
    with pytest.raises(FetchRefused, match="not a public address"):
        check_address(WebRules(), target_of("https://somewhere.example/x"), ipaddress.ip_address(address))
    check_address(WebRules(private=True), target_of("https://somewhere.example/x"), ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x", "http://2130706433/x", "http://[::1]/x", "http://localhost/x", "http://a.localhost:80/x",
        "http://127.0.0.1./x", "https://[::ffff:10.0.0.1]/x",
    ],
)  # fmt: skip
def test_literal_addresses_are_refused_before_anything_is_looked_up(url: str) -> None:
    with pytest.raises(FetchRefused):
        check_target(WebRules(insecure=True), target_of(url))


@pytest.mark.parametrize(
    "host", ["2130706433", "127.1", "0x7f.1", "127.0.0.01", "0177.0.0.1", "8", "\uff11\uff12\uff17.1"]
)
def test_old_spellings_of_addresses_are_never_meant(host: str) -> None:
    rules = WebRules(insecure=True, private=True, trusted=frozenset({f"https://{host}"}))
    with pytest.raises(FetchRefused, match="old spelling"):
        check_target(rules, target_of(f"https://{host}/x"))


def test_http_needs_leave() -> None:
    with pytest.raises(FetchRefused, match="http lets anybody") as refused:
        check_target(WebRules(), target_of("http://files.example/x?token=secret"))
    assert "--insecure" in refused.value.hint
    assert "secret" not in refused.value.sentence()
    check_target(WebRules(insecure=True), target_of("http://files.example/x"))


def test_an_origin_that_the_operator_named_may_be_private_and_plain_and_no_other_port_of_it() -> None:
    rules = WebRules(trusted=frozenset({"http://127.0.0.1:8080"}))
    check_target(rules, target_of("http://127.0.0.1:8080/x"))
    for url in ("http://127.0.0.1:8081/x", "http://127.0.0.1/x", "https://127.0.0.1:8080/x"):
        with pytest.raises(FetchRefused):
            check_target(rules, target_of(url))


def test_offline_nothing_is_fetched() -> None:
    with pytest.raises(FetchRefused, match="offline"):
        check_target(WebRules(offline=True, trusted=frozenset({"https://a.example"})), target_of("https://a.example/"))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.example/x", "file:///etc/passwd", "https:///x", "https://a.example:99999/", "https://[::1/x", "x",
        "https://" + "a" * 300 + ".example/", "https://a..example/x",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(FetchRefused):
        target_of(url)


def test_an_address_is_taken_apart_as_it_will_be_sent() -> None:
    target = target_of("https://Bücher.example:443/ä b/%20?x=1&y=ü#frag")
    assert target.host == "xn--bcher-kva.example" and target.authority == target.host
    assert target.path == "/%C3%A4%20b/%20?x=1&y=%C3%BC"
    assert target.shown == "https://xn--bcher-kva.example/%C3%A4%20b/%20"
    assert origin_of("http://[::1]:80/x") == "http://[::1]"


def test_secrets_of_an_address_are_not_shown() -> None:
    url = "https://me:secret1@a.example/f.gguf?sig=secret2#secret3"
    assert "secret" not in shown(url) and "secret" not in repr(target_of("https://me:secret1@a.example/f.gguf"))
    assert "secret" not in target_of(url).shown and target_of(url).user == "me:secret1"
    assert "secret" not in repr(WebRules(tokens={"a": "secret"}))
