"""Addresses of clients."""

import ipaddress

_IPV6_PREFIX = 64
# What is longer is no address.
_MOST_CHARACTERS = 64


def address_key(host: str | None) -> str:
    """What one client's addresses have in common: an IPv4 address, or the first 64 bits of an IPv6 address."""
    host = (host or "")[:_MOST_CHARACTERS]
    try:
        address = ipaddress.ip_address(unmapped(host.partition("%")[0]))
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))
    return str(address)


def unmapped(host: str) -> str:
    """The IPv4 address that an IPv6 socket shows as ::ffff:a.b.c.d; others as they are."""
    try:
        mapped = ipaddress.IPv6Address(host).ipv4_mapped
    except ValueError:
        return host
    return str(mapped) if mapped else host
