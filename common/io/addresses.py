"""Network addresses as text: `127.0.0.1:50051`, `studio.example:9100`, `[::1]:50051`."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Self

_PATTERN = re.compile(r"(?:\[(?P<ipv6>[^\[\]]+)\]|(?P<host>[^:\[\]]*))(?::(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class Address:
    """A host name or IP address and a TCP port; when listening, port 0 lets the system choose."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, default: Self | None = None) -> Self:
        """Parses `host:port`; an IPv6 address needs brackets.

        Args:
            text: the address.
            default: completes `host` and `:port`; without it both parts are required.

        Raises:
            ValueError: no host, no port, or a port outside 0…65535.
        """
        match = _PATTERN.fullmatch(text.strip())
        if match is None and text.count(":") > 1 and "[" not in text:
            raise ValueError(f"{text!r}: write an IPv6 address in brackets, [::1]:50051")
        host, port = (match["ipv6"] or match["host"], match["port"]) if match else ("", None)
        if default is not None and (port or host) and not host.isdigit():
            host, port = host or default.host, port or str(default.port)
        if not host or not port or int(port) > 65535:
            raise ValueError(f"{text!r} is not host:port, such as 127.0.0.1:50051")
        return cls(host, int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether it is a loopback address; names other than `localhost` are not resolved."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
