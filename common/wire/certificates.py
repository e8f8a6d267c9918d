"""Certificates and keys in PEM files: read, checked, and read again when they change, without a restart."""

import errno
import logging
import os
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UsageError
from common.io.files import read_regular, stamp_of

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

logger = logging.getLogger(__name__)

CERTIFICATE_REQUIRED = "a certificate is required: give --tls-cert and --tls-key"
CERTIFICATE_NOT_TRUSTED = "--tls-cert is not valid: it expired, or another authority signed it"
"""Why a receiver refuses a sender; the same words over gRPC and QUIC."""
OWN_CERTIFICATE_KEY, OWN_CERTIFICATE_NAME = "bodywire-certificate-bin", "bodywire"
"""Of the certificate that a receiver makes for itself: the key under which it is told over gRPC, and its name."""
_MAX_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM content of one end's files, checked; None for a file that is not given.

    Args:
        certificate: of this end, followed by those of intermediate authorities.
        key: private key of the first certificate.
        authority: certificates of the authorities that are trusted.
    """

    certificate: bytes | None
    key: bytes | None
    authority: bytes | None


class CertificateFiles:
    """Certificate, key and authority on disk.

    Args:
        certificate, key, authority: the values of `--tls-cert`, `--tls-key` and `--tls-ca`.
        now: the time at which certificates have to be valid.
    """

    def __init__(
        self,
        certificate: Path | None,
        key: Path | None,
        authority: Path | None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        check_pair(certificate, key)
        self._certificate, self._key, self._authority = certificate, key, authority
        self._now = now
        self._stamps: tuple[object, ...] | None = None
        self._valid: Certificates | None = None

    def read(self) -> Certificates:
        """Reads and checks the files.

        Raises:
            UsageError: a file cannot be read, is damaged or encrypted, has expired, or does not fit the other one.
        """
        self._stamps = self._current_stamps()
        now = self._now()
        certificate = read_pem(self._certificate, "--tls-cert") if self._certificate else None
        key = read_pem(self._key, "--tls-key") if self._key else None
        authority = read_pem(self._authority, "--tls-ca") if self._authority else None
        if certificate is not None and key is not None:
            name = f"--tls-cert: {self._certificate}"
            own = certificates_in(certificate, name)
            _check_key_fits(own[0], key, f"--tls-key: {self._key}")
            _check_valid(own[:1], now, name)
        if authority is not None:
            name = f"--tls-ca: {self._authority}"
            _check_valid(certificates_in(authority, name), now, name)
        self._valid = Certificates(certificate, key, authority)
        return self._valid

    def current(self) -> Certificates:
        """The newest valid content: the same object until a file changes.

        A change to something invalid is logged once, and the content before it stays.

        Raises:
            UsageError: as `read`, if there was no valid content yet.
        """
        if self._valid is None:
            return self.read()
        if self._current_stamps() != self._stamps:
            try:
                return self.read()
            except (OSError, UsageError) as error:
                logger.warning("the certificates before the change stay in use: %s", error)
        return self._valid

    def _current_stamps(self) -> tuple[object, ...]:
        return tuple(path and stamp_of(path) for path in (self._certificate, self._key, self._authority))


def read_pem(path: Path, flag: str) -> bytes:
    """Reads a certificate or key file.

    Args:
        flag: the flag that names it, for the error message.

    Raises:
        UsageError: the file cannot be read, or is not a PEM file.
    """
    try:
        text = read_regular(path, _MAX_BYTES, follow_links=True)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EFBIG):
            raise UsageError(f"{flag}: {path} is not a file of at most {_MAX_BYTES} bytes: give a PEM file") from error
        raise UsageError(f"{flag}: cannot read {path}: {error.strerror}") from error
    if not text.strip():
        raise UsageError(f"{flag}: {path} is empty; deploy/certs/issue.sh makes a PEM file")
    if b"-----BEGIN " not in text:
        raise UsageError(f"{flag}: {path} is not a PEM file; deploy/certs/issue.sh makes one")
    return text


def check_pair(certificate: Path | None, key: Path | None) -> None:
    """Refuses a certificate without its key, and a key without its certificate.

    Raises:
        ValueError: one of the two is missing.
    """
    if (certificate is None) != (key is None):
        raise ValueError("--tls-cert and --tls-key belong together: give both or neither")


def subject_names(certificate: "Certificate") -> list[str]:
    """The host names and addresses that a certificate is for; none if it names none."""
    from cryptography.x509 import DNSName, ExtensionNotFound, IPAddress, SubjectAlternativeName

    try:
        names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    except (ExtensionNotFound, ValueError):
        return []
    return [*names.get_values_for_type(DNSName), *map(str, names.get_values_for_type(IPAddress))]


def certificates_in(text: bytes, name: str) -> "list[Certificate]":
    """The certificates of a PEM file. Raises UsageError if there is none, or one is damaged."""
    from cryptography.x509 import load_pem_x509_certificates  # takes a tenth of a second

    if b"-----END CERTIFICATE-----" not in text:
        if b"PRIVATE KEY-----" in text:
            raise UsageError(f"{name} is a private key, not a certificate: give the certificate")
        raise UsageError(f"{name} contains no complete certificate: copy or issue it again")
    try:
        return load_pem_x509_certificates(text)
    except ValueError as error:
        raise UsageError(f"{name} is damaged: copy or issue it again") from error


def _check_valid(certificates: "list[Certificate]", now: datetime, name: str) -> None:
    """Refuses certificates none of which is valid now; of the authorities in a file, some may be of the past."""
    if any(each.not_valid_before_utc <= now <= each.not_valid_after_utc for each in certificates):
        return
    first = certificates[0]
    if now > first.not_valid_after_utc:
        raise UsageError(f"{name} expired on {first.not_valid_after_utc:%Y-%m-%d %H:%M} UTC: issue a new one")
    raise UsageError(
        f"{name} is not valid before {first.not_valid_before_utc:%Y-%m-%d %H:%M} UTC: check the clock of this machine, "
        "or issue a new one"
    )


def _check_key_fits(certificate: "Certificate", key: bytes, name: str) -> None:
    """Refuses a key that is encrypted or damaged, or of another certificate."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    if b"PRIVATE KEY-----" not in key:
        raise UsageError(f"{name} contains no private key: give the key of --tls-cert")
    try:
        fits = load_pem_private_key(key, None).public_key() == certificate.public_key()
    except TypeError as error:  # a password is missing
        raise UsageError(f"{name} is encrypted: decrypt it with openssl pkey -in KEY -out FILE") from error
    except ValueError as error:
        raise UsageError(f"{name} is damaged: copy it again, or issue a new certificate") from error
    if not fits:
        raise UsageError(
            f"{name} is not the key of --tls-cert: give the two files that were issued together, its certificate first"
        )


def load_chain(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Gives a context certificate and key as PEM, which Python's TLS reads from files only.

    Raises:
        ssl.SSLError: they do not fit, or are damaged or encrypted.
    """
    with _in_memory(certificate) as certificate_path, _in_memory(key) as key_path:
        context.load_cert_chain(certificate_path, key_path, password=lambda: b"")


@contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """A path under which content can be read that is on no disk; without Linux, a file of this user alone."""
    if not hasattr(os, "memfd_create"):
        with tempfile.NamedTemporaryFile() as kept:
            kept.write(content)
            kept.flush()
            yield kept.name
        return
    with open(os.memfd_create("pem"), "wb") as file:
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"
