"""Whom the receiver lets in: TLS, certificates of senders, tokens, and how much one of them may ask of it.

On this machine's loopback nothing is encrypted unless asked for; on any other address TLS is a must, or `--insecure`.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from common.clock import Clock
from common.errors import UsageError
from common.io.addresses import Address
from common.io.configuration import option
from common.wire.certificates import check_pair, read_pem
from receiver.link.auth.tokens import TokenFile, TokenRefused

_BEARER = "Bearer "


@dataclass(frozen=True, slots=True)
class SecurityConfig:
    """Who may send, and how much."""

    insecure: bool = option(False, help="listen for other machines without encryption")
    tls_cert: Path | None = option(None, help="certificate to show to senders; deploy/certs makes one")
    tls_key: Path | None = option(None, help="its key")
    tls_ca: Path | None = option(None, help="senders must show a certificate that this authority signed")
    tokens: Path | None = option(
        None, help="senders must show a token of this file (python -m receiver.link.auth.tokens)"
    )
    reflection: bool | None = option(None, help="say over gRPC what is served (default: on the loopback alone)")
    peer_sessions: int = option(64, help="sessions that one sender may have at a time")
    peer_bytes_per_second: float = option(4e6, help="what one stream may bring; beyond that it is read more slowly")

    def __post_init__(self) -> None:
        check_pair(self.tls_cert, self.tls_key)
        if self.insecure and self.tls_cert:
            raise ValueError("--insecure listens without the encryption that --tls-cert asks for: leave one out")
        if self.tls_ca and not self.tls_cert:
            raise ValueError("--tls-ca asks senders for certificates, which takes --tls-cert and --tls-key too")
        if self.peer_sessions < 1 or self.peer_bytes_per_second <= 0:
            raise ValueError("peer_sessions and peer_bytes_per_second must be above 0")

    def check(self, listen: Address) -> None:
        """Refuses to be reached by other machines in the open, and files that cannot be read.

        Raises:
            UsageError: what to do about it.
        """
        for path, flag in ((self.tls_cert, "--tls-cert"), (self.tls_key, "--tls-key"), (self.tls_ca, "--tls-ca")):
            if path:
                read_pem(path, flag)
        if listen.is_loopback or self.tls_cert:
            return
        if not self.insecure:
            raise UsageError(
                f"other machines can reach {listen}: give --tls-cert and --tls-key (sh deploy/certs/make-ca.sh and "
                "issue.sh make them), or --insecure"
            )
        if self.tokens:
            raise UsageError("--insecure lets everybody read the tokens: leave one of the two out")

    def reflects(self, listen: Address) -> bool:
        """Whether gRPC's reflection service runs."""
        return listen.is_loopback if self.reflection is None else self.reflection


def server_credentials(config: SecurityConfig) -> grpc.ServerCredentials | None:
    """What to encrypt with; None to leave it. New files on disk count from the next connection on.

    Raises:
        UsageError: a file cannot be read, or certificate and key are not each other's.
    """
    certificate, key = config.tls_cert, config.tls_key
    if certificate is None or key is None:
        return None
    files = _Files(certificate, key, config.tls_ca)
    return grpc.dynamic_ssl_server_credentials(
        files.read(), files.read_if_changed, require_client_authentication=config.tls_ca is not None
    )


class _Files:
    """Certificate, key and authority on disk, and when they were last taken from there."""

    def __init__(self, certificate: Path, key: Path, authority: Path | None) -> None:
        self._certificate, self._key, self._authority = certificate, key, authority
        self._stamp: tuple[int, ...] = ()

    def read(self) -> Any:
        """For the server to start with."""
        self._stamp = self._stamp_now()
        certificate, key = read_pem(self._certificate, "--tls-cert"), read_pem(self._key, "--tls-key")
        authority = read_pem(self._authority, "--tls-ca") if self._authority else None
        return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=authority)

    def read_if_changed(self) -> Any:
        """Called for each connection; None leaves what is in force, also while the new files cannot be read."""
        try:
            return self.read() if self._stamp_now() != self._stamp else None
        except (OSError, UsageError):
            return None

    def _stamp_now(self) -> tuple[int, ...]:
        paths = (self._certificate, self._key, self._authority)
        return tuple(path.stat().st_mtime_ns if path and path.exists() else 0 for path in paths)


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """A sender at the door.

    Args:
        name: whose token it shows; else whose certificate; else the address it comes from.
        token: what it shows, to look it up again.
        proven: the name is that of a token or certificate. An address proves nothing, and changes on the way.
    """

    name: str
    token: str | None
    proven: bool


class Authenticator:
    """Knows senders by token, certificate or address, and whether they may come in.

    Args:
        tokens: who may, or None for everybody whom TLS let through.
    """

    def __init__(self, tokens: TokenFile | None) -> None:
        self._tokens = tokens

    def authenticate(self, context: Any) -> PeerIdentity:
        """Who is at the door.

        Args:
            context: gRPC's, of the stream.

        Raises:
            TokenRefused: it shows no token where one is wanted, or one that does not hold.
        """
        if self._tokens is None:
            name = _certificate_name(context)
            return PeerIdentity(name or _machine(context.peer()), None, proven=name is not None)
        shown = dict(context.invocation_metadata() or ()).get("authorization", "")
        if not isinstance(shown, str) or not shown.startswith(_BEARER):
            raise TokenRefused("a token is wanted here: give --token-file")
        token = shown.removeprefix(_BEARER)
        return PeerIdentity(self._tokens.name_of(token), token, proven=True)

    def check(self, identity: PeerIdentity) -> None:
        """Whether a sender may stay.

        Raises:
            TokenRefused: its token has expired or was revoked since.
        """
        if self._tokens is not None and identity.token is not None:
            self._tokens.name_of(identity.token)


def _certificate_name(context: Any) -> str | None:
    names = context.auth_context().get("x509_common_name", [])
    return names[0].decode(errors="replace") if names else None


def _machine(peer: str) -> str:
    """`ipv4:10.0.0.7:40112` and `ipv6:%5B::1%5D:40112` without the port."""
    return peer.rpartition(":")[0] or peer


class RateLimiter:
    """Makes a stream wait once it has brought more than its rate allows; a burst of one second is free.

    Args:
        bytes_per_second: the rate.
        clock: tells how much time has passed.
    """

    def __init__(self, bytes_per_second: float, clock: Clock) -> None:
        self._rate, self._clock = bytes_per_second, clock
        self._credit, self._at_s = bytes_per_second, clock.monotonic()

    async def pay(self, size: int) -> None:
        """Waits until a message of so many bytes may be taken."""
        now_s = self._clock.monotonic()
        self._credit = min(self._rate, self._credit + (now_s - self._at_s) * self._rate) - size
        self._at_s = now_s
        if self._credit < 0:
            await asyncio.sleep(-self._credit / self._rate)
