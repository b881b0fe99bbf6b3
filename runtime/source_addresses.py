"""Whose address it is that is counted: of an IPv6 one its /64, since that is what one customer holds."""

from ipaddress import IPv6Address, ip_address, ip_network

_IPV6_PREFIX = 64


UNKNOWN = "unknown"


def stated_address(text: str) -> str:
    """Return the IP address that a peer or proxy stated, or "unknown" if the text is none.

    The text comes from outside: it may hold a NUL, which PostgreSQL stores in no text."""
    try:
        return str(ip_address(text))
    except ValueError:
        return UNKNOWN


def counted_as(host: str) -> str:
    """Return the address, or the /64 of an IPv6 one; whatever is no address counts as "unknown"."""
    try:
        address = ip_address(host)
    except ValueError:
        return UNKNOWN
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ip_network((int(address), _IPV6_PREFIX), strict=False))
