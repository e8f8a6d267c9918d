"""Certificates and keys in PEM files: read, checked, and read again when they change, without a restart."""

import errno
import ipaddress
import logging
import os
import re
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from common.errors import UsageError
from common.io.regular_file import read_regular

logger = logging.getLogger(__name__)

CERTIFICATE_REQUIRED = "a certificate is required: give --tls-cert and --tls-key"
CERTIFICATE_NOT_TRUSTED = "--tls-cert is not valid: it expired, or another authority signed it"
"""Why a receiver refuses a sender; the same words over gRPC and QUIC."""
_MAX_BYTES = 1_000_000
_RETRY_S = 60.0
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
# Tags of ASN.1: the explicit version of a certificate, and the two kinds of time.
_VERSION, _UTC_TIME, _GENERALIZED_TIME = 0xA0, 0x17, 0x18
# Object identifier 2.5.29.17, and what its value consists of.
_SUBJECT_ALTERNATIVE_NAME, _BOOLEAN, _DNS_NAME, _IP_ADDRESS = b"\x06\x03\x55\x1d\x11", 0x01, 0x82, 0x87
# How a key or certificate begins that is not PEM: a SEQUENCE of more than 127 bytes.
_DER_SEQUENCES = (b"\x30\x81", b"\x30\x82")


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
        monotonic: seconds.
    """

    def __init__(
        self,
        certificate: Path | None,
        key: Path | None,
        authority: Path | None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        check_pair(certificate, key)
        self._certificate, self._key, self._authority = certificate, key, authority
        self._now, self._monotonic = now, monotonic
        self._retry_s = float("inf")
        self._stamps: tuple[object, ...] | None = None
        self._valid: Certificates | None = None

    def read(self) -> Certificates:
        """Reads and checks the files.

        Raises:
            UsageError: a file cannot be read, is damaged or encrypted, has expired, or does not fit the other one.
        """
        self._stamps, self._retry_s = self._current_stamps(), float("inf")
        now = self._now()
        certificate = read_pem(self._certificate, "--tls-cert") if self._certificate else None
        key = read_pem(self._key, "--tls-key") if self._key else None
        authority = read_pem(self._authority, "--tls-ca") if self._authority else None
        if certificate is not None and key is not None:
            name = f"--tls-cert: {self._certificate}"
            own = certificates_in(certificate, name)
            _check_key_fits(own, key, name, f"--tls-key: {self._key}")
            _check_valid(own[:1], now, name)
        if authority is not None:
            name = f"--tls-ca: {self._authority}"
            _check_valid(certificates_in(authority, name), now, name)
        self._valid = Certificates(certificate, key, authority)
        return self._valid

    def current(self) -> Certificates:
        """The newest valid content: the same object until a file changes.

        A change to something invalid is logged once, and the content before it stays.  It is tried again every minute:
        a certificate may be invalid because the clock is wrong.

        Raises:
            UsageError: as `read`, if there was no valid content yet.
        """
        if self._valid is None:
            return self.read()
        changed = self._current_stamps() != self._stamps
        if changed or self._monotonic() >= self._retry_s:
            try:
                return self.read()
            except (OSError, UsageError) as error:
                level = logging.WARNING if changed else logging.DEBUG
                logger.log(level, "the certificates before the change stay in use: %s", error)
                self._retry_s = self._monotonic() + _RETRY_S
        return self._valid

    def _current_stamps(self) -> tuple[object, ...]:
        return tuple(_stamp(path) for path in (self._certificate, self._key, self._authority))


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
    if text.startswith(_DER_SEQUENCES):
        raise UsageError(
            f"{flag}: {path} is DER, not a PEM file: convert it with openssl x509 (a key: openssl pkey) "
            f"-inform der -in {path} -out FILE"
        )
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


def validity(certificate_der: bytes) -> tuple[datetime, datetime]:
    """The times before and after which a certificate is not valid (RFC 5280, section 4.1.2.5).

    Raises:
        ValueError: the bytes are not a certificate.
    """
    try:
        _, at, _ = _element(certificate_der, 0)
        _, at, _ = _element(certificate_der, at)
        tag, _, end = _element(certificate_der, at)
        # Serial number, algorithm and issuer precede the validity; the version before them is optional.
        for _ in range(3 if tag == _VERSION else 2):
            _, _, end = _element(certificate_der, end)
        _, at, _ = _element(certificate_der, end)
        not_before, at = _time(certificate_der, at)
        not_after, _ = _time(certificate_der, at)
    except IndexError:
        raise ValueError("truncated") from None
    return not_before, not_after


def subject_names(certificate_der: bytes) -> list[str]:
    """The host names and addresses that a certificate is for (RFC 5280, section 4.2.1.6); none if it names none."""
    at = certificate_der.find(_SUBJECT_ALTERNATIVE_NAME)
    try:
        if at < 0:
            return []
        tag, start, end = _element(certificate_der, at + len(_SUBJECT_ALTERNATIVE_NAME))
        if tag == _BOOLEAN:  # whether it is critical
            _, start, _ = _element(certificate_der, end)
        _, start, end = _element(certificate_der, start)
        names = []
        while start < end:
            tag, first, start = _element(certificate_der, start)
            if tag == _DNS_NAME:
                names.append(certificate_der[first:start].decode("ascii"))
            elif tag == _IP_ADDRESS:
                names.append(str(ipaddress.ip_address(certificate_der[first:start])))
        return names
    except (IndexError, ValueError):
        return []


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """Tag of the ASN.1 element at an offset, and where its content starts and ends."""
    tag, length, start = der[at], der[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        length, start = int.from_bytes(der[start : start + size]), start + size
    if start + length > len(der):
        raise IndexError
    return tag, start, start + length


def _time(der: bytes, at: int) -> tuple[datetime, int]:
    tag, start, end = _element(der, at)
    text = der[start:end].decode("ascii")
    if tag == _UTC_TIME:
        # RFC 5280: years from 50 on belong to the last century.
        text = ("19" if text >= "50" else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("no time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC), end


def certificates_in(text: bytes, name: str) -> list[bytes]:
    """The certificates of a PEM file, DER. Raises UsageError if there is none, or one is damaged."""
    blocks = _CERTIFICATE.findall(text)
    if not blocks and b"PRIVATE KEY-----" in text:
        raise UsageError(f"{name} is a private key, not a certificate: give the certificate")
    if not blocks:
        raise UsageError(f"{name} contains no complete certificate: copy or issue it again")
    try:
        found = [ssl.PEM_cert_to_DER_cert(block.decode("ascii")) for block in blocks]
        for certificate in found:
            ssl.create_default_context(cadata=certificate)
            validity(certificate)
    except (ValueError, ssl.SSLError) as error:
        raise UsageError(f"{name} is damaged: copy or issue it again") from error
    return found


def _check_valid(certificates: list[bytes], now: datetime, name: str) -> None:
    """Refuses certificates none of which is valid now; of the authorities in a file, some may be of the past."""
    periods = [validity(certificate) for certificate in certificates]
    if any(not_before <= now <= not_after for not_before, not_after in periods):
        return
    not_before, not_after = periods[0]
    if now > not_after:
        raise UsageError(f"{name} expired on {not_after:%Y-%m-%d %H:%M} UTC: issue a new one")
    raise UsageError(
        f"{name} is not valid before {not_before:%Y-%m-%d %H:%M} UTC: check the clock of this machine, "
        "or issue a new one"
    )


def _check_key_fits(certificates: list[bytes], key: bytes, certificate_name: str, key_name: str) -> None:
    """Refuses a key that is encrypted or damaged, and certificates the first of which belongs to another key."""
    if b"PRIVATE KEY-----" not in key:
        raise UsageError(f"{key_name} contains no private key: give the key of --tls-cert")
    if b"ENCRYPTED" in key:
        raise UsageError(f"{key_name} is encrypted: decrypt it with openssl pkey -in KEY -out FILE")
    mismatch = _mismatch(certificates[0], key)
    if mismatch is None:
        return
    if mismatch != "KEY_VALUES_MISMATCH":
        raise UsageError(f"{key_name} is damaged: copy it again, or issue a new certificate")
    if any(_mismatch(certificate, key) is None for certificate in certificates[1:]):
        raise UsageError(
            f"{certificate_name} has its certificates in the wrong order: the one of --tls-key has to be the first"
        )
    raise UsageError(f"{key_name} is not the key of --tls-cert: give the two files that were issued together")


def _mismatch(certificate: bytes, key: bytes) -> str | None:
    """Why OpenSSL does not take a certificate, DER, with a key, PEM; None if it does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # The check is on the pair: gRPC decides which sizes of keys it accepts.
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    pem = ssl.DER_cert_to_PEM_cert(certificate).encode()
    try:
        load_chain(context, pem, key)
    except ssl.SSLError as error:
        return error.reason or "unknown"
    return None


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


def _stamp(path: Path | None) -> object:
    """What changes when a file is replaced or written; None if it cannot be read."""
    try:
        status = path.stat() if path else None
    except OSError:
        return None
    return status and (status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev)
