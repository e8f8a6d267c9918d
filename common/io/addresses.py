"""Network addresses as text: `127.0.0.1:50051`, `studio.example:9100`, `[::1]:50051`."""

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import Self

_PATTERN = re.compile(r"(?:\[(?P<ipv6>[^\[\]]+)\]|(?P<host>[^:\[\]]*))(?::(?P<port>[0-9]{1,5}))?")
_IPV6_PREFIX = 64
# What is longer is no IP address.
_MOST_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Address:
    """A host name or IP address and a TCP port; when listening, port 0 lets the system choose."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, default: Self | None = None) -> Self:
        """Parses `host:port`; an IPv6 address needs brackets.

        Args:
            default: completes `host` and `:port`; without it both parts are required.

        Raises:
            ValueError: no host, no port, a port outside 0…65535, or several addresses.
        """
        if "," in text:
            raise ValueError(f"{text!r}: give one address, such as 127.0.0.1:50051")
        match = _PATTERN.fullmatch(text.strip())
        if match is None and text.count(":") > 1 and "[" not in text:
            raise ValueError(f"{text!r}: write an IPv6 address in brackets, [::1]:50051")
        host, port = (match["ipv6"] or match["host"], match["port"]) if match else ("", None)
        if default is not None and (port or host) and not host.isdigit():
            host, port = host or default.host, port or str(default.port)
        if not host or not port or int(port) > 65535:
            raise ValueError(f"{text!r} is not host:port, such as 127.0.0.1:50051")
        try:
            host.encode("idna")
        except UnicodeError as error:
            raise ValueError(f"{text!r}: no host has this name ({error})") from error
        return cls(host, int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether it is a loopback address; names other than `localhost` are not resolved."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"

    @property
    def is_ip(self) -> bool:
        """Whether the host is an IP address, maybe with its interface, and no name."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def bound_socket(address: Address, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """A socket of TCP, or UDP, bound to an address, of the first family that its host has; it does not listen yet.

    Connections of the past do not keep the address busy, a server that listens on it does.

    Raises:
        OSError: the host is unknown, or the address is in use or may not be used.
    """
    found = socket.getaddrinfo(address.host, address.port, type=kind, flags=socket.AI_PASSIVE)
    family, _, protocol, _, place = found[0]
    bound = socket.socket(family, kind, protocol)
    try:
        # Of UDP, two sockets could have it then.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(kind is socket.SOCK_STREAM))
        bound.bind(place)
    except BaseException:
        bound.close()
        raise
    return bound


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
