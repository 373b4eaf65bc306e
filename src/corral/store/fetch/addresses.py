"""
Which addresses are public: those that IANA has given out to anybody, less its special-purpose ones.

Python's own tables are those of its release, and the registries grow; what may be reached must not hang on that. From
the IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890) and the IPv6 Global Unicast registry, as of 2025. What
those say no word about (`Globally Reachable` N/A) is not public.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from corral.domain.hosts import IpAddress

_SPECIAL_4: Final = tuple(
    ipaddress.IPv4Network(each)
    for each in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared by customers of a carrier
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local; the metadata of clouds
        "172.16.0.0/12",
        "192.0.0.0/24",  # IETF protocols
        "192.0.2.0/24",  # documentation, as the two below
        "192.88.99.0/24",  # 6to4 relays, given up
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_REACHABLE_4: Final = tuple(
    ipaddress.IPv4Network(each)
    for each in ("192.0.0.9/32", "192.0.0.10/32")  # port control, TURN: anycast
)
_GIVEN_OUT_6: Final = ipaddress.IPv6Network("2000::/3")  # outside: loopback, link-local, private, multicast, 5f00::/16
_SPECIAL_6: Final = tuple(
    ipaddress.IPv6Network(each)
    for each in (
        "2001::/23",  # IETF protocols: benchmarks (2001:2::/48) and ORCHID (2001:10::/28) among them
        "2001:db8::/32",  # documentation
        "3fff::/20",  # documentation
    )
)
_REACHABLE_6: Final = tuple(
    ipaddress.IPv6Network(each)
    for each in (
        "2001:1::1/128",  # port control, TURN, DNS-SD registration: anycast
        "2001:1::2/128",
        "2001:1::3/128",
        "2001:3::/32",  # AMT
        "2001:4:112::/48",  # AS112
        "2001:20::/28",  # ORCHIDv2
        "2001:30::/28",  # drones
    )
)
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(address: IpAddress) -> bool:
    """Whether anybody on the internet could reach it; an IPv4 address inside of an IPv6 one counts as itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return _any(address, _REACHABLE_4) or not _any(address, _SPECIAL_4)
    inside = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
    if address in _NAT64:
        inside = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if inside is not None:
        return is_public(inside)
    if _any(address, _REACHABLE_6):
        return True
    return address in _GIVEN_OUT_6 and not _any(address, _SPECIAL_6)


def _any(address: IpAddress, networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]) -> bool:
    return any(address in network for network in networks)
