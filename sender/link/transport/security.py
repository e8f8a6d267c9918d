"""How the sender makes sure of the receiver, and the receiver of the sender: TLS, certificates, tokens.

On this machine's loopback nothing is encrypted unless asked for; to any other machine everything is, but for
`--insecure`.
"""

from dataclasses import dataclass
from pathlib import Path

from common.errors import UsageError
from common.io.addresses import Address
from common.io.configuration import option
from common.wire.certificates import check_pair, read_pem

_MAX_TOKEN = 512


@dataclass(frozen=True, slots=True)
class SecurityConfig:
    """Whom to trust, and what to show."""

    insecure: bool = option(False, help="send to another machine without encryption")
    tls_ca: Path | None = option(
        None, help="authority that signed the receiver's certificate; else those of the system"
    )
    tls_cert: Path | None = option(None, help="certificate to show to the receiver")
    tls_key: Path | None = option(None, help="its key")
    tls_name: str | None = option(None, help="name in the receiver's certificate, where --peer has another")
    token_file: Path | None = option(None, help="file with the token to show to the receiver")

    def __post_init__(self) -> None:
        check_pair(self.tls_cert, self.tls_key)
        if self.insecure and (self.tls_ca or self.tls_cert):
            raise ValueError("--tls-ca and --tls-cert ask for the encryption that --insecure leaves out: choose")

    def encrypts(self, peer: Address) -> bool:
        """Whether the link to a receiver is encrypted."""
        return not self.insecure and not (peer.is_loopback and self.tls_ca is None and self.tls_cert is None)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What one connection is made with; PEM, as gRPC wants it.

    Args:
        authority: certificates of authorities to trust, or None for the system's.
        certificate, key: to show, or None.
        name: to expect in the receiver's certificate, or None for the host's.
    """

    authority: bytes | None
    certificate: bytes | None
    key: bytes | None
    name: str | None


def read_credentials(config: SecurityConfig, peer: Address) -> Credentials | None:
    """For a connection that begins now; None if it is not encrypted.

    Raises:
        UsageError: a file cannot be read.
    """
    if not config.encrypts(peer):
        return None
    authority, certificate, key = (
        read_pem(path, flag) if path else None
        for path, flag in (
            (config.tls_ca, "--tls-ca"),
            (config.tls_cert, "--tls-cert"),
            (config.tls_key, "--tls-key"),
        )
    )
    return Credentials(authority, certificate, key, config.tls_name)


def read_token(config: SecurityConfig, peer: Address) -> str | None:
    """The token to show, if there is one.

    Raises:
        UsageError: it cannot be read, is no token, or would be there for all to read on its way.
    """
    path = config.token_file
    if path is None:
        return None
    try:
        token = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise UsageError(f"--token-file: cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        token = ""
    if not token.isprintable() or not 0 < len(token) <= _MAX_TOKEN or " " in token:
        raise UsageError(f"--token-file: {path} holds no token; python -m receiver.link.auth.tokens makes one")
    if not config.encrypts(peer) and not peer.is_loopback:
        raise UsageError(f"the token would go to {peer} for all to read: leave out --insecure, or --token-file")
    return token
