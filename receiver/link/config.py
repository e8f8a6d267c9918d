"""Options of the link: address, security, limits."""

from dataclasses import dataclass
from pathlib import Path

from common.errors import UsageError
from common.io.addresses import Address
from common.io.command_line import option
from common.wire.certificates import CertificateFiles, check_pair

_MOST_SESSIONS = 100_000
# Each session may have two connections while its sender reconnects; there is room for others that are about to end.
_CONNECTIONS_PER_SESSION, _OTHER_CONNECTIONS = 2, 384


@dataclass(frozen=True, slots=True)
class ListenConfig:
    """Where senders connect, and what the receiver tolerates."""

    listen: Address = option(Address("127.0.0.1", 50051), help="address to listen on; port 0 picks a free one")
    quic: bool = option(True, help="take senders over QUIC too, on the UDP port of the same number", advanced=True)
    drain_timeout: float = option(10.0, help="seconds to finish frames that have arrived when stopping", advanced=True)

    def __post_init__(self) -> None:
        if self.drain_timeout <= 0:
            raise ValueError(f"drain_timeout must be above 0, got {self.drain_timeout:g}")


@dataclass(frozen=True, slots=True)
class SecurityConfig:
    """Which senders are admitted, and how much each may consume."""

    insecure: bool = option(False, help="listen for other machines without certificates")
    tls_cert: Path | None = option(None, help="certificate of the receiver; deploy/certs makes one")
    tls_key: Path | None = option(None, help="private key of --tls-cert")
    tls_ca: Path | None = option(None, help="senders need a certificate of this authority", advanced=True)
    tokens: Path | None = option(None, help="senders need a token of this file (python -m receiver.link.auth.tokens)")
    max_sessions: int = option(64, help="most sessions; above, senders with few go first", advanced=True)
    # Most sessions of one sender at a time: as many as there are, since shares are fair when they run out.
    peer_sessions: int = 64
    # Of a stream, above which it is read more slowly: a hundred times the largest budget of labels and blobs.
    peer_bytes_per_second: float = 4e6
    # Of a stream; an address may have three times that. 30 frames a second have fewer than 100, with chunks of blobs.
    peer_messages_per_second: float = 1000.0

    def __post_init__(self) -> None:
        check_pair(self.tls_cert, self.tls_key)
        if self.insecure and self.tls_cert:
            raise ValueError("--tls-cert asks for encryption, --insecure turns it off: leave one out")
        if self.tls_ca and not self.tls_cert:
            raise ValueError("--tls-ca asks senders for certificates, which needs --tls-cert and --tls-key too")
        if not 1 <= self.max_sessions <= _MOST_SESSIONS:
            raise ValueError(f"max_sessions must lie in 1…{_MOST_SESSIONS}, got {self.max_sessions}")

    def check(self, listen: Address) -> None:
        """Checks the certificates. Raises UsageError also if other machines could connect unencrypted by accident."""
        CertificateFiles(self.tls_cert, self.tls_key, self.tls_ca).read()
        if listen.is_loopback or self.tls_cert:
            return
        if not self.insecure:
            raise UsageError(
                f"other machines can reach {listen}: give --tls-cert and --tls-key (sh deploy/certs/make-ca.sh and "
                "issue.sh make them), or --insecure"
            )
        if self.tokens:
            raise UsageError("with --insecure the tokens would be sent unencrypted: leave out --insecure or --tokens")


def most_connections_of(max_sessions: int) -> int:
    """How many connections the port of senders should take."""
    return _CONNECTIONS_PER_SESSION * max_sessions + _OTHER_CONNECTIONS
