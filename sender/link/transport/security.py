"""Security of the sender's connections: TLS, certificates and tokens.

Without certificates of an authority, which are needed for other machines unless `--insecure` is given, gRPC is not
encrypted, and QUIC trusts the certificate that the receiver tells there.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from common.errors import UsageError
from common.io.addresses import Address
from common.io.command_line import option
from common.wire.certificates import CertificateFiles, check_pair

logger = logging.getLogger(__name__)

_MAX_TOKEN_CHARACTERS = 512


@dataclass(frozen=True, slots=True)
class SecurityConfig:
    """Which receivers to trust, and how to authenticate to them."""

    insecure: bool = option(False, help="send to another machine without certificates")
    tls_ca: Path | None = option(None, help="authority of the receiver's certificate (default: the system's)")
    tls_cert: Path | None = option(None, help="certificate of this sender, if the receiver asks for one", advanced=True)
    tls_key: Path | None = option(None, help="private key of --tls-cert", advanced=True)
    tls_name: str | None = option(
        None, help="name in the receiver's certificate, if not the host of --peer", advanced=True
    )
    token_file: Path | None = option(None, help="file with this sender's token, if the receiver asks for one")

    def __post_init__(self) -> None:
        check_pair(self.tls_cert, self.tls_key)
        if self.insecure and (self.tls_ca or self.tls_cert):
            raise ValueError("--tls-ca and --tls-cert ask for encryption, --insecure turns it off: leave one out")

    def encrypts(self, peer: Address) -> bool:
        return not self.insecure and not (peer.is_loopback and self.tls_ca is None and self.tls_cert is None)


@dataclass(frozen=True, slots=True)
class Credentials:
    """TLS credentials of one connection, PEM.

    Args:
        authority: certificates of the authorities to trust, or None for the system's.
        certificate, key: the sender's own, or None.
        name: expected in the receiver's certificate, or None for the peer's host.
    """

    authority: bytes | None
    certificate: bytes | None
    key: bytes | None
    name: str | None


class CredentialFiles:
    """Certificates and token of the sender, read again when the files change.

    Once they were valid, a change to something invalid is logged, and the content before it stays in use.

    Raises:
        UsageError: in every method: a file cannot be read, is damaged or has expired, or a token would go unencrypted.
    """

    def __init__(self, config: SecurityConfig) -> None:
        self._config = config
        self._files = CertificateFiles(config.tls_cert, config.tls_key, config.tls_ca)
        self._token: str | None = None
        self._token_failure = ""

    def check(self, *peers: Address) -> None:
        """Reads everything that connections to some receivers need."""
        for peer in peers:
            self.credentials(peer)
            self.token(peer)

    def credentials(self, peer: Address) -> Credentials | None:
        """The credentials of a new connection; None if it is not encrypted."""
        if not self._config.encrypts(peer):
            return None
        found = self._files.current()
        return Credentials(found.authority, found.certificate, found.key, self._config.tls_name)

    def token(self, peer: Address) -> str | None:
        """The sender's token; None if it has none."""
        try:
            self._token = read_token(self._config, peer)
            self._token_failure = ""
        except UsageError as error:
            if self._token is None:
                raise
            if str(error) != self._token_failure:
                logger.warning("the token before the change stays in use: %s", error)
            self._token_failure = str(error)
        return self._token


def read_token(config: SecurityConfig, peer: Address) -> str | None:
    """Reads the sender's token; None if it has none.

    Raises:
        UsageError: the file cannot be read, contains no token, or the token would be sent unencrypted.
    """
    path = config.token_file
    if path is None:
        return None
    try:
        with open(path, encoding="ascii") as file:  # also a pipe, such as <(…) of a shell
            token = file.read(2 * _MAX_TOKEN_CHARACTERS).strip()
    except OSError as error:
        raise UsageError(f"--token-file: cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        token = ""
    if not token.isprintable() or not 0 < len(token) <= _MAX_TOKEN_CHARACTERS or " " in token:
        raise UsageError(f"--token-file: {path} contains no token; python -m receiver.link.auth.tokens makes one")
    if not config.encrypts(peer) and not peer.is_loopback:
        raise UsageError(f"the token would be sent to {peer} unencrypted: leave out --insecure or --token-file")
    return token
