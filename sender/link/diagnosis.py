"""Security of the sender's connections, and what is wrong where none can be made.

Without certificates of an authority, which are needed for other machines unless `--insecure` is given, gRPC is not
encrypted, and QUIC trusts the certificate that the receiver tells there.
"""

import asyncio
import logging
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from common.errors import UsageError
from common.io.addresses import Address
from common.io.command_line import option
from common.wire.certificates import (
    CERTIFICATE_NOT_TRUSTED,
    CERTIFICATE_REQUIRED,
    CertificateFiles,
    check_pair,
    load_chain,
)

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

    def check(self, peer: Address) -> None:
        """Reads everything that connections to a receiver need."""
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


_TIMEOUT_S = 0.5
_BANNER_BYTES = 64
_ALPN = "h2"
# HTTP/2 begins with a SETTINGS frame shorter than 64 kB.
_HTTP2_PREFIX = b"\x00\x00"
_PROXY_VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy", "all_proxy")


class _Answer(NamedTuple):
    """A server's reaction to a request in a protocol other than gRPC."""

    banner: bytes
    hung_up: bool

    @property
    def speaks_http2(self) -> bool:
        return self.banner.startswith(_HTTP2_PREFIX)


def refusal(peer: Address, reason: str) -> str:
    """What a user reads whose sender a receiver refuses."""
    return f"the receiver at {peer} refused the connection: {reason}"


def unreachable(place: str, reason: str) -> str:
    """What a user reads who reaches no receiver; where there is a proxy, that none is used."""
    names = [name for name in os.environ if name.lower() in _PROXY_VARIABLES and os.environ[name]]
    proxy = f"; {names[0]} is set, but senders use no proxy" if names else ""
    return f"no receiver at {place} {reason}: start it, or check --peer{proxy}"


async def diagnose_clear(peer: Address, at: Address) -> str | None:
    """What is wrong with the server of a peer, at an IP address, for an unencrypted connection; None if nothing."""
    answer = await _request(at, None)
    if answer is None or answer.speaks_http2:
        return None
    if answer.hung_up and not answer.banner and await _speaks_tls(at):
        return f"the receiver at {peer} encrypts: leave out --insecure, and give --tls-ca"
    return _not_a_receiver(peer, answer.banner)


async def diagnose_encrypted(peer: Address, at: Address, credentials: Credentials) -> str | None:
    """What is wrong with the server of a peer, at an IP address, for an encrypted connection; None if nothing."""
    try:
        answer = await _request(at, _context(credentials), credentials.name or peer.host)
    except ssl.SSLCertVerificationError as error:
        return f"the certificate of the receiver at {peer} is not valid: {_verification_failure(error)}"
    except ssl.SSLError as error:
        if error.reason == "WRONG_VERSION_NUMBER":
            return f"the server at {peer} does not encrypt: give it a certificate, or --insecure here if you must"
        return f"no encrypted connection to {peer}: {error.reason or error}"
    if answer is None or answer.speaks_http2:
        return None
    if answer.hung_up and not answer.banner:
        # TLS 1.3: the server verifies our certificate after the handshake, and gRPC hangs up without a message.
        reason = CERTIFICATE_REQUIRED if credentials.certificate is None else CERTIFICATE_NOT_TRUSTED
        return refusal(peer, reason)
    return _not_a_receiver(peer, answer.banner)


def _context(credentials: Credentials) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=credentials.authority.decode() if credentials.authority else None)
    context.set_alpn_protocols([_ALPN])
    if credentials.certificate and credentials.key:
        load_chain(context, credentials.certificate, credentials.key)
    return context


def _verification_failure(error: ssl.SSLCertVerificationError) -> str:
    message = error.verify_message.rstrip(".")
    if "mismatch" in message:
        return f"{message}; issue one for that name, or give --tls-name"
    if "expired" in message or "not yet valid" in message:
        return f"{message}; issue a new one, or set the clock"
    return f"{message}; give the authority that signed it as --tls-ca"


async def _request(at: Address, context: ssl.SSLContext | None, name: str | None = None) -> _Answer | None:
    """Sends an HTTP/1.0 request (nothing under TLS, to a server of this name); None if no connection is accepted.

    Raises:
        ssl.SSLError: the TLS handshake failed.
    """
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(at.host, at.port, ssl=context, server_hostname=name)
    except ssl.SSLError:
        raise
    except (OSError, TimeoutError):
        return None
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            if context is None:
                writer.write(b"GET / HTTP/1.0\r\n\r\n")
            banner = await reader.read(_BANNER_BYTES)
        return _Answer(banner, hung_up=not banner)
    except TimeoutError:
        return _Answer(b"", hung_up=False)
    except OSError:
        return _Answer(b"", hung_up=True)
    finally:
        writer.close()


async def _speaks_tls(at: Address) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([_ALPN])
    try:
        return await _request(at, context, at.host) is not None
    except ssl.SSLError:
        return False


def _not_a_receiver(peer: Address, banner: bytes) -> str:
    text = banner.decode("ascii", errors="replace").splitlines()
    printable = "".join(character for character in text[0] if character.isprintable()) if text else ""
    answer = f"answered {printable!r}" if printable else "accepts connections but does not answer"
    return f"the server at {peer} is not a Bodywire receiver (it {answer}): check --peer"
