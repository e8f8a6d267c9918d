"""Where a receiver is reached: its ports, how many connections strangers may hold, and what they have to be given.

The ports of senders and of the page are taken before networks are loaded. No sender can connect before the server
starts; browsers that connect wait. Descriptors for the output are kept free, whatever others do:

those of the process = output, database, log, own processes + metrics + senders + page
"""

import socket
from dataclasses import dataclass, replace
from pathlib import Path

from common.errors import OutputError, UsageError
from common.io.addresses import Address, bound_socket
from common.io.startup import raise_descriptor_limit
from common.io.telemetry import MOST_REQUESTS
from common.wire.certificates import certificates_in, read_pem, subject_names
from receiver.config import DEFAULT_PAGE, ListenConfig, ReceiverConfig, SecurityConfig, WebConfig, most_connections_of

BACKLOG = 128
_ATTEMPTS = 8


class LinkPorts:
    """A port of TCP and, with QUIC, the one of UDP of the same number.

    The system chooses a number (port 0) for TCP, and it may be taken for UDP: then it chooses again.

    Attributes:
        address: with the number.

    Raises:
        OutputError: one cannot be used.
    """

    def __init__(self, config: ListenConfig) -> None:
        self._udp: socket.socket | None = None
        attempts = _ATTEMPTS if config.listen.port == 0 else 1
        while True:
            attempts -= 1
            # Before UDP: of another receiver, both are busy, and going without QUIC would be no remedy.
            self._tcp = _bound(config.listen, socket.SOCK_STREAM, "give --listen a free host:port")
            self.address = replace(config.listen, port=int(self._tcp.getsockname()[1]))
            try:
                if config.quic:
                    self._udp = _bound(self.address, socket.SOCK_DGRAM, "give --listen another port, or --no-quic")
                return
            except OutputError:
                self._tcp.close()
                if attempts <= 0:
                    raise

    def take_udp(self) -> socket.socket:
        """Hands the port over, on which packets wait."""
        assert self._udp is not None
        taken, self._udp = self._udp, None
        return taken

    def close(self) -> None:
        """Frees what was not taken; gRPC opens the port of TCP itself. Safe to call twice."""
        self._tcp.close()
        if self._udp is not None:
            self._udp.close()


def page_socket(config: WebConfig) -> socket.socket:
    """The listening socket; the default port may be replaced by a free one. Raises OutputError if it cannot be used."""
    wanted = [config.address] if config.http is not None else [config.address, Address(DEFAULT_PAGE.host, 0)]
    for address in wanted:
        try:
            listener = bound_socket(address)
            try:
                listener.listen(BACKLOG)
                listener.setblocking(False)
            except BaseException:
                listener.close()
                raise
            return listener
        except OSError as error:
            failure = error
    raise OutputError(
        f"cannot serve the page on {config.address} ({failure.strerror}): give --http a free host:port, or --no-page"
    ) from failure


def _bound(address: Address, kind: socket.SocketKind, remedy: str) -> socket.socket:
    try:
        return bound_socket(address, kind)
    except OSError as error:
        place = f"UDP {address}" if kind == socket.SOCK_DGRAM else str(address)
        raise OutputError(f"cannot listen on {place} ({error.strerror}): {remedy}") from error


# Meshes, database, logs, uploads and downloads in threads, own processes with their pipes; 30 to 60 are in use.
_KEPT_FREE = 160
# A connection of the page may have a file or two open that it reads.
_OF_PAGE_CONNECTION = 3
_LEAST = 16
MOST_OF_PAGE = 256
"""Connections of the page, where descriptors allow them."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Connections at a time.

    Args:
        descriptors: that the process may have.
        senders: to the port of senders, over TCP; those over QUIC need no descriptors.
        page: to the page.
        enough: whether there are as many as wanted.
    """

    descriptors: int
    senders: int
    page: int
    enough: bool

    @property
    def kept_free_from(self) -> int:
        """Descriptors from this number on are not for connections."""
        return self.descriptors - _KEPT_FREE

    def __str__(self) -> str:
        lack = "" if self.enough else ", fewer than are wanted: raise the hard limit of open files"
        connections = f"{self.senders} connections of senders, {self.page} of the page"
        return f"{self.descriptors} files may be open: {connections}{lack}"


def limits_of(config: ReceiverConfig) -> ConnectionLimits:
    """The limits of a receiver. Raises UsageError if the system lets it open too few files."""
    page = MOST_OF_PAGE if config.web.page else 0
    return connection_limits(raise_descriptor_limit(), most_connections_of(config.security.max_sessions), page)


def connection_limits(descriptors: int, senders: int, page: int) -> ConnectionLimits:
    """As many connections as wanted, or as descriptors allow.

    Args:
        descriptors: how many the process may have.
        senders, page: how many connections are wanted; 0 for none.

    Raises:
        UsageError: there are too few descriptors.
    """
    left = descriptors - _KEPT_FREE - MOST_REQUESTS
    share = min(left / (senders + _OF_PAGE_CONNECTION * page), 1.0)
    limits = ConnectionLimits(descriptors, int(share * senders), int(share * page), share == 1.0)
    if limits.senders < _LEAST or limits.page < min(_LEAST, page):
        raise UsageError(
            f"the system lets this process open {descriptors} files, which is too few: raise its limit with "
            "ulimit -n 4096, LimitNOFILE=4096 in a systemd unit, or --ulimit nofile=4096 of a container"
        )
    return limits


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
