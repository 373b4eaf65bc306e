"""Which addresses anybody could reach: every line of IANA's registries, whatever this Python's own tables say."""

from __future__ import annotations

import ipaddress

import pytest

from corral.domain.hosts import IpAddress
from corral.store.fetch.addresses import is_public

SPECIAL = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/29",
    "192.0.0.8/32", "192.0.0.11/32", "192.0.0.170/32", "192.0.0.171/32", "192.0.2.0/24", "192.88.99.0/24",
    "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    "255.255.255.255/32",
    "::/128", "::1/128", "::/96", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001:2::/48", "2001:10::/28",
    "2001:1::/128", "2001:1::4/128", "2001:40::/26", "2001:db8::/32", "3fff::/20", "5f00::/16", "4000::/3", "e000::/4",
    "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "fe80::1%eth0/128",
]  # fmt: skip
PUBLIC = [
    "1.0.0.0/8", "8.8.8.8/32", "9.0.0.0/8", "11.0.0.0/8", "100.63.255.255/32", "100.128.0.0/32", "172.15.0.0/16",
    "172.32.0.0/16", "192.0.0.9/32", "192.0.0.10/32", "192.0.1.0/24", "192.31.196.0/24", "192.52.193.0/24",
    "192.175.48.0/24", "198.17.0.0/16", "198.20.0.0/16", "223.255.255.255/32",
    "2001:1::1/128", "2001:1::2/128", "2001:1::3/128", "2001:3::/32", "2001:4:112::/48", "2001:20::/28", "2001:30::/28",
    "2001:200::/23", "2001:db7::/32", "2001:db9::/32", "2606:4700::1111/128", "2620:4f:8000::/48", "2a00::/12",
    "3ffe::/16", "3fff:1000::/20",
]  # fmt: skip


def ends(network: str) -> list[IpAddress]:
    address, _, length = network.partition("/")
    if "%" in address:
        return [ipaddress.ip_address(address)]
    found = ipaddress.ip_network(f"{address}/{length}")
    return [found[0], found[-1]]


@pytest.mark.parametrize("network", SPECIAL)
def test_special_ranges_are_not_public(network: str) -> None:
    assert not any(is_public(each) for each in ends(network))


@pytest.mark.parametrize("network", PUBLIC)
def test_what_is_beside_them_is(network: str) -> None:
    assert all(is_public(each) for each in ends(network))


@pytest.mark.parametrize(
    ("inside", "public"),
    [("8.8.8.8", True), ("127.0.0.1", False), ("10.0.0.1", False), ("192.0.0.8", False), ("198.18.0.1", False)],
)
def test_an_address_inside_of_another_counts_as_itself(inside: str, public: bool) -> None:
    number = int(ipaddress.IPv4Address(inside))
    forms = {
        "mapped": 0xFFFF << 32 | number,
        "6to4": 0x2002 << 112 | number << 80,
        "NAT64": int(ipaddress.IPv6Address("64:ff9b::")) | number,
        "Teredo": 0x20010000 << 96 | number ^ 0xFFFFFFFF,
    }
    assert {name: is_public(ipaddress.IPv6Address(each)) for name, each in forms.items()} == dict.fromkeys(
        forms, public
    )


def test_no_table_of_python_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (ipaddress.IPv4Address, ipaddress.IPv6Address):
        for name in ("is_global", "is_private", "is_reserved", "is_multicast"):
            monkeypatch.delattr(kind, name)
    assert is_public(ipaddress.ip_address("8.8.8.8")) and not is_public(ipaddress.ip_address("3fff::1"))
