"""Certificates and keys that cannot be used are refused in one line that names the file and what to do."""

import logging
import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from common.errors import UsageError
from common.io.addresses import Address
from common.wire.certificates import CertificateFiles, certificates_in, subject_names
from receiver.config import SecurityConfig as ReceiverSecurity
from sender.link.diagnosis import CredentialFiles
from sender.link.diagnosis import SecurityConfig as SenderSecurity
from tests.support.link.certificate_authority import Authority

NOW = datetime.now(UTC)
Pair = tuple[Path, Path]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    authority = Authority.make(tmp_path_factory.mktemp("authority") / "certs")
    authority.issue("receiver", "127.0.0.1")
    authority.issue("other", "127.0.0.1")
    return authority


@pytest.fixture
def pair(authority: Authority) -> Pair:
    return authority.folder / "receiver.pem", authority.folder / "receiver.key"


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def spoilt(path: Path, begin: int) -> bytes:
    content = bytearray(path.read_bytes())
    content[begin : begin + 40] = b"A" * 40
    return bytes(content)


def openssl(out: Path, *arguments: str | Path) -> Path:
    subprocess.run(["openssl", *map(str, arguments), "-out", str(out)], check=True, capture_output=True)
    return out


def fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


# What becomes of certificate and key in a folder, and the error.
UNUSABLE: list[tuple[Callable[[Path, Path, Path], Pair], str]] = [
    (
        lambda folder, cert, key: (cert, cert.with_name("other.key")),
        r"other\.key is not the key of --tls-cert: give the two files that were issued together",
    ),
    (
        lambda folder, cert, key: (key, cert),
        r"--tls-cert: .*receiver\.key is a private key, not a certificate: give the certificate",
    ),
    (lambda folder, cert, key: (cert, cert), r"--tls-key: .*receiver\.pem contains no private key"),
    (
        lambda folder, cert, key: (
            written(folder / "chain.pem", cert.with_name("ca.pem").read_bytes() + cert.read_bytes()),
            key,
        ),
        r"--tls-key: .*receiver\.key is not the key of --tls-cert",
    ),
    (
        lambda folder, cert, key: (written(folder / "cut.pem", cert.read_bytes()[:300]), key),
        r"--tls-cert: .*cut\.pem contains no complete certificate",
    ),
    (
        lambda folder, cert, key: (written(folder / "damaged.pem", spoilt(cert, 300)), key),
        r"--tls-cert: .*damaged\.pem is damaged",
    ),
    (
        lambda folder, cert, key: (cert, written(folder / "damaged.key", spoilt(key, 60))),
        r"--tls-key: .*damaged\.key is damaged",
    ),
    (lambda folder, cert, key: (written(folder / "empty.pem", b""), key), r"--tls-cert: .*empty\.pem is empty"),
    (lambda folder, cert, key: (folder, key), "--tls-cert: cannot read .*: Is a directory"),
    (lambda folder, cert, key: (fifo(folder / "fifo.pem"), key), r"--tls-cert: .*fifo\.pem is not a file"),
    (lambda folder, cert, key: (Path("/dev/zero"), key), "--tls-cert: /dev/zero is not a file"),
    (
        lambda folder, cert, key: (openssl(folder / "a.der", "x509", "-in", cert, "-outform", "der"), key),
        r"--tls-cert: .*a\.der is not a PEM file",
    ),
    (
        lambda folder, cert, key: (
            cert,
            openssl(folder / "encrypted.key", "pkey", "-in", key, "-aes256", "-passout", "pass:x"),
        ),
        r"--tls-key: .*encrypted\.key is encrypted: decrypt it with openssl pkey",
    ),
]


def test_unusable_pair_is_refused_at_both_ends(pair: Pair, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for make, message in UNUSABLE:
        certificate, key = make(tmp_path, *pair)
        with pytest.raises(UsageError, match=message):
            ReceiverSecurity(tls_cert=certificate, tls_key=key).check(Address("127.0.0.1", 0))
        with pytest.raises(UsageError, match=message) as caught:
            CredentialFiles(SenderSecurity(tls_cert=certificate, tls_key=key)).check(Address("127.0.0.1", 1))
        assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_unreadable_file(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("common.wire.certificates.os.open", refuse)
    with pytest.raises(UsageError, match=r"--tls-cert: cannot read .*receiver\.pem: Permission denied"):
        CertificateFiles(*pair, None).read()


def test_certificate_or_authority_that_cannot_be_used(authority: Authority, pair: Pair) -> None:
    ca, (certificate, key) = authority.certificate, pair
    cases: list[tuple[Path | None, Path | None, Path | None, int, str]] = [
        (certificate, key, None, 2, r"--tls-cert: .*receiver\.pem expired on 20..-..-.. ..:.. UTC: issue a new one"),
        (certificate, key, None, -2, r"--tls-cert: .*receiver\.pem is not valid before .*check the cl"),
        (None, None, ca, 4000, r"--tls-ca: .*ca\.pem expired on"),
        (None, None, key, 0, r"--tls-ca: .*receiver\.key is a private key, not a certificate"),
    ]
    for certificate_path, key_path, trusted, days, message in cases:
        now = NOW + timedelta(days=days)
        with pytest.raises(UsageError, match=message):
            CertificateFiles(certificate_path, key_path, trusted, lambda now=now: now).read()  # type: ignore[misc]


def test_chain_in_the_right_order_is_valid(authority: Authority, pair: Pair, tmp_path: Path) -> None:
    chain = tmp_path / "chain.pem"
    chain.write_bytes(b"a comment\n" + pair[0].read_bytes() + authority.certificate.read_bytes())
    found = CertificateFiles(chain, pair[1], authority.certificate).read()
    assert (found.certificate, found.key) == (chain.read_bytes(), pair[1].read_bytes())
    assert found.authority == authority.certificate.read_bytes()


def test_host_names_and_addresses_that_a_certificate_is_for(authority: Authority) -> None:
    path, _ = authority.issue("named", "studio.example", "127.0.0.1", days=1)
    names = subject_names(certificates_in(path.read_bytes(), "--tls-cert")[0])
    assert {"studio.example", "127.0.0.1"} <= set(names)
    assert subject_names(certificates_in(authority.certificate.read_bytes(), "--tls-ca")[0]) == []


def test_broken_change_is_logged_once_and_mended_change_applies(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificate, key = tmp_path / "a.pem", tmp_path / "a.key"

    def copy(name: str, *suffixes: str) -> None:
        for suffix in suffixes:
            (tmp_path / f"new{suffix}").write_bytes((authority.folder / f"{name}{suffix}").read_bytes())
            (tmp_path / f"new{suffix}").replace(tmp_path / f"a{suffix}")

    copy("receiver", ".pem", ".key")
    files = CertificateFiles(certificate, key, None)
    first = files.current()
    with caplog.at_level(logging.WARNING):
        assert files.current() is first
        copy("other", ".key")
        assert files.current() is first
        assert files.current() is first
        assert len(caplog.records) == 1
        assert "stay in use: --tls-key" in caplog.text
        certificate.unlink()
        assert files.current() is first
        assert len(caplog.records) == 2
        copy("other", ".pem")
        assert files.current().key == key.read_bytes() != first.key
    assert len(caplog.records) == 2
