"""Security of the receiver's port: configuration, and TLS credentials.

On the loopback nothing is encrypted unless a certificate is given; any other address needs TLS or `--insecure`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from common.errors import UsageError
from common.io.addresses import Address
from common.io.options import option
from common.wire.certificates import CertificateFiles, Certificates, check_pair


@dataclass(frozen=True, slots=True)
class SecurityConfig:
    """Which senders are admitted, and how much each may consume."""

    insecure: bool = option(False, help="listen for other machines without encryption")
    tls_cert: Path | None = option(None, help="certificate of the receiver; deploy/certs makes one")
    tls_key: Path | None = option(None, help="private key of --tls-cert")
    tls_ca: Path | None = option(None, help="senders must present a certificate signed by this authority")
    tokens: Path | None = option(
        None, help="senders must present a token of this file (python -m receiver.link.auth.tokens)"
    )
    reflection: bool | None = option(
        None, help="offer the gRPC reflection service, which lists the services (default: on the loopback only)"
    )
    max_sessions: int = option(64, help="most sessions at a time; when there are more, senders with few go first")
    peer_sessions: int = option(64, help="most sessions of one sender at a time")
    peer_bytes_per_second: float = option(4e6, help="most bytes per second of one stream; more are read more slowly")
    peer_messages_per_second: float = option(
        1000.0,
        help="most messages per second of one stream; all streams from one address have three times as many together",
    )

    def __post_init__(self) -> None:
        check_pair(self.tls_cert, self.tls_key)
        if self.insecure and self.tls_cert:
            raise ValueError("--tls-cert asks for encryption, --insecure turns it off: leave one out")
        if self.tls_ca and not self.tls_cert:
            raise ValueError("--tls-ca asks senders for certificates, which needs --tls-cert and --tls-key too")
        if min(self.max_sessions, self.peer_sessions) < 1:
            raise ValueError("max_sessions and peer_sessions must be above 0")
        if min(self.peer_bytes_per_second, self.peer_messages_per_second) < 1:
            raise ValueError("peer_bytes_per_second and peer_messages_per_second must be above 1")

    def check(self, listen: Address) -> None:
        """Checks the certificates, and that other machines cannot connect unencrypted by accident.

        Raises:
            UsageError: what is wrong, and what to do about it.
        """
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

    def reflects(self, listen: Address) -> bool:
        """Whether the gRPC reflection service runs."""
        return listen.is_loopback if self.reflection is None else self.reflection


def server_credentials(config: SecurityConfig) -> grpc.ServerCredentials | None:
    """TLS credentials of the port, None for no encryption; changed files apply from the next connection on.

    Raises:
        UsageError: a file cannot be read, is damaged, has expired, or certificate and key do not match.
    """
    if config.tls_cert is None:
        return None
    files = _ServedFiles(CertificateFiles(config.tls_cert, config.tls_key, config.tls_ca))
    return grpc.dynamic_ssl_server_credentials(
        files.read(), files.read_if_changed, require_client_authentication=config.tls_ca is not None
    )


class _ServedFiles:
    """The certificate files in the form that gRPC asks for."""

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files
        self._served: Certificates | None = None

    def read(self) -> Any:
        """The files' content, for the start of the server."""
        self._served = served = self._files.current()
        return grpc.ssl_server_certificate_configuration(
            [(served.key, served.certificate)], root_certificates=served.authority
        )

    def read_if_changed(self) -> Any:
        """Called by gRPC for each connection; None keeps the present content."""
        return None if self._files.current() is self._served else self.read()
