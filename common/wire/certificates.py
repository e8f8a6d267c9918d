"""Certificates and keys in PEM files, which are read for every connection, so that replaced files apply at once."""

from pathlib import Path

from common.errors import UsageError


def read_pem(path: Path, flag: str) -> bytes:
    """Reads a certificate or key file.

    Args:
        flag: the flag that names it, for the error message.

    Raises:
        UsageError: the file cannot be read, or is not a PEM file.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{flag}: cannot read {path}: {error.strerror}") from error
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
