"""Whose address it is that is counted: of an IPv6 one its /64, since that is what one customer holds."""

from ipaddress import IPv6Address, ip_address, ip_network

_IPV6_PREFIX = 64


def counted_as(host: str) -> str:
    """The address, or the /64 of an IPv6 one; what is no address counts as one and the same."""
    try:
        address = ip_address(host)
    except ValueError:
        return "unknown"
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ip_network((int(address), _IPV6_PREFIX), strict=False))
