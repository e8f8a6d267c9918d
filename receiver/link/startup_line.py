"""The first line that the receiver prints: where it listens, and how a sender reaches it."""

import socket
from dataclasses import replace

from common.io.addresses import Address
from receiver.link.config import SecurityConfig

_ALL_INTERFACES = ("0.0.0.0", "::")
# An address for documentation (RFC 5737): connecting a UDP socket to it sends nothing but selects the interface.
_ELSEWHERE = ("192.0.2.1", 9)


def startup_line(bound: Address, security: SecurityConfig) -> str:
    """The address, whom it serves, and what to run next."""
    if bound.is_loopback:
        return (
            f"listening on {bound} (this machine only); to take senders from other machines: "
            "receiver --listen 0.0.0.0:50051 with --tls-cert and --tls-key (see docs/security.md), or with --insecure"
        )
    protection = "encrypted" if security.tls_cert else "not encrypted"
    names = host_names() if bound.host in _ALL_INTERFACES else [bound.host]
    reached = [str(replace(bound, host=name)) for name in names]
    also = f" (also reachable as {', '.join(reached[1:])})" if reached[1:] else ""
    return (
        f"listening on {bound} ({protection}); to send from another machine: "
        f"sender --camera 0 --peer {reached[0]}{_sender_flags(security)}{also}"
    )


def _sender_flags(security: SecurityConfig) -> str:
    if security.tls_cert is None:
        return " --insecure"
    flags = " --tls-ca ca.pem"
    if security.tls_ca:
        flags += " --tls-cert NAME.pem --tls-key NAME.key"
    return flags + (" --token-file FILE" if security.tokens else "")


def host_names() -> list[str]:
    """This machine's address on the network that leads outside, if there is one, and its host name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_ELSEWHERE)
            addresses = [str(probe.getsockname()[0])]
        except OSError:
            addresses = []
    return [*addresses, socket.gethostname()]
