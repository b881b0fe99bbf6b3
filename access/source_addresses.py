"""Determines the client address of a request for rate limits, and recognises trusted proxies.

An IPv6 address counts as its /64, because one customer usually has a whole /64.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

_IPV6_PREFIX = 64
UNKNOWN = "unknown"

Network = IPv4Network | IPv6Network


def parse_networks(text: str) -> tuple[Network, ...]:
    """Return the addresses and networks of a comma-separated list. Raises ValueError."""
    return tuple(ip_network(one) for one in text.split(",")) if text else ()


def is_within(host: str, networks: Sequence[Network]) -> bool:
    """Return whether the address is in one of the networks. A text that is not an address is in none."""
    if not networks:
        return False
    try:
        address = _plain(host)
    except ValueError:
        return False
    return any(address in network for network in networks)


def _plain(host: str) -> IPv4Address | IPv6Address:
    """Parse an address. An IPv4 address written as IPv6 becomes IPv4. Raises ValueError."""
    address = ip_address(host)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def stated_address(text: str) -> str:
    """Return the IP address that a client or proxy stated, or "unknown" if the text is not an address.

    The text comes from outside and may, for example, contain a NUL, which PostgreSQL cannot store."""
    try:
        return str(ip_address(text))
    except ValueError:
        return UNKNOWN


def counted_as(host: str) -> str:
    """Return the address, or the /64 of an IPv6 address, or "unknown" if the text is not an address."""
    try:
        address = _plain(host)
    except ValueError:
        return UNKNOWN
    if not isinstance(address, IPv6Address):
        return str(address)
    return str(ip_network((int(address), _IPV6_PREFIX), strict=False))
