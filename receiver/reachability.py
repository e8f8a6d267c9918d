"""Where a receiver is reached, and what senders and browsers have to be given for it."""

import socket
from dataclasses import replace
from pathlib import Path

from common.errors import UsageError
from common.io.addresses import Address
from common.wire.certificates import certificates_in, read_pem, subject_names
from receiver.config import SecurityConfig

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
    protection = "encrypted" if security.tls_cert else "no certificates"
    names = reached_as(bound.host, security.tls_cert)
    reached = [str(replace(bound, host=name)) for name in names]
    also = f" (also reachable as {', '.join(reached[1:])})" if reached[1:] else ""
    return (
        f"listening on {bound} ({protection}); to send from another machine: "
        f"sender --camera 0 --peer {reached[0]}{sender_flags(security)}{also}"
    )


def reached_as(host: str, certificate: Path | None) -> list[str]:
    """The names by which others reach an address that is listened on.

    Those that the certificate covers come before those of this machine, because a sender or browser refuses others.
    """
    names = host_names() if host in _ALL_INTERFACES else [host]
    if certificate is None:
        return names
    try:
        own = subject_names(certificates_in(read_pem(certificate, "--tls-cert"), "--tls-cert")[0])
    except UsageError:
        return names
    wildcards = tuple(name.removeprefix("*") for name in own if name.startswith("*."))
    fitting = [name for name in names if name in own or ("." in name and name[name.index(".") :] in wildcards)]
    # The first may be the name of the certificate, which has no dot.
    return fitting or sorted((name for name in own if "*" not in name), key=lambda name: "." not in name) or names


def sender_flags(security: SecurityConfig) -> str:
    """What a sender of another machine has to be given beside the address."""
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
