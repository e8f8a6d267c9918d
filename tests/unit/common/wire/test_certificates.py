"""Certificates and keys that cannot be used are refused in one line that names the file and what to do."""

import logging
import os
import ssl
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from common.errors import UsageError
from common.io.addresses import Address
from common.wire.certificates import CertificateFiles, validity
from receiver.link.auth.config import SecurityConfig as ReceiverSecurity
from sender.link.transport.security import SecurityConfig as SenderSecurity
from sender.link.transport.transport import Transport
from tests.support.certificate_authority import Authority

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


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def other_key(folder: Path, pair: Pair) -> Pair:
    return pair[0], pair[0].with_name("other.key")


def swapped(folder: Path, pair: Pair) -> Pair:
    return pair[1], pair[0]


def certificate_as_key(folder: Path, pair: Pair) -> Pair:
    return pair[0], pair[0]


def wrong_order(folder: Path, pair: Pair) -> Pair:
    path = folder / "chain.pem"
    path.write_bytes(pair[0].with_name("ca.pem").read_bytes() + pair[0].read_bytes())
    return path, pair[1]


def truncated(folder: Path, pair: Pair) -> Pair:
    path = folder / "cut.pem"
    path.write_bytes(pair[0].read_bytes()[:300])
    return path, pair[1]


def damaged(folder: Path, pair: Pair) -> Pair:
    path, content = folder / "damaged.pem", bytearray(pair[0].read_bytes())
    content[300:340] = b"A" * 40
    path.write_bytes(content)
    return path, pair[1]


def damaged_key(folder: Path, pair: Pair) -> Pair:
    path, content = folder / "damaged.key", bytearray(pair[1].read_bytes())
    content[60:100] = b"A" * 40
    path.write_bytes(content)
    return pair[0], path


def empty(folder: Path, pair: Pair) -> Pair:
    path = folder / "empty.pem"
    path.touch()
    return path, pair[1]


def folder_instead(folder: Path, pair: Pair) -> Pair:
    return folder, pair[1]


def fifo(folder: Path, pair: Pair) -> Pair:
    os.mkfifo(folder / "fifo.pem")
    return folder / "fifo.pem", pair[1]


def endless(folder: Path, pair: Pair) -> Pair:
    return Path("/dev/zero"), pair[1]


def der(folder: Path, pair: Pair) -> Pair:
    openssl("x509", "-in", pair[0], "-outform", "der", "-out", folder / "a.der")
    return folder / "a.der", pair[1]


def encrypted(folder: Path, pair: Pair) -> Pair:
    openssl("pkey", "-in", pair[1], "-aes256", "-passout", "pass:x", "-out", folder / "encrypted.key")
    return pair[0], folder / "encrypted.key"


UNUSABLE: list[tuple[Callable[[Path, Pair], Pair], str]] = [
    (other_key, r"other\.key is not the key of --tls-cert: give the two files that were issued together"),
    (swapped, r"--tls-cert: .*receiver\.key is a private key, not a certificate: give the certificate"),
    (certificate_as_key, r"--tls-key: .*receiver\.pem contains no private key"),
    (wrong_order, r"--tls-cert: .*chain\.pem has its certificates in the wrong order: the one of --tls-key"),
    (truncated, r"--tls-cert: .*cut\.pem contains no complete certificate"),
    (damaged, r"--tls-cert: .*damaged\.pem is damaged"),
    (damaged_key, r"--tls-key: .*damaged\.key is damaged"),
    (empty, r"--tls-cert: .*empty\.pem is empty"),
    (folder_instead, "--tls-cert: cannot read .*: Is a directory"),
    (fifo, r"--tls-cert: .*fifo\.pem is not a file"),
    (endless, "--tls-cert: /dev/zero is not a file"),
    (der, r"--tls-cert: .*a\.der is DER, not a PEM file: convert it with openssl x509"),
    (encrypted, r"--tls-key: .*encrypted\.key is encrypted: decrypt it with openssl pkey"),
]


@pytest.mark.parametrize(("make", "message"), UNUSABLE, ids=[make.__name__ for make, _ in UNUSABLE])
def test_unusable_pair_is_refused_at_both_ends(
    make: Callable[[Path, Pair], Pair],
    message: str,
    authority: Authority,
    pair: Pair,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    certificate, key = make(tmp_path, pair)
    with pytest.raises(UsageError, match=message):
        ReceiverSecurity(tls_cert=certificate, tls_key=key).check(Address("127.0.0.1", 0))
    with pytest.raises(UsageError, match=message) as caught:
        Transport(SenderSecurity(tls_cert=certificate, tls_key=key)).check(Address("127.0.0.1", 1))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_unreadable_file(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("common.wire.certificates.os.open", refuse)
    with pytest.raises(UsageError, match=r"--tls-cert: cannot read .*receiver\.pem: Permission denied"):
        CertificateFiles(*pair, None).read()


@pytest.mark.parametrize(
    ("days", "message"),
    [
        (2, r"receiver\.pem expired on 20..-..-.. ..:.. UTC: issue a new one"),
        (-2, "is not valid before .*check the cl"),
    ],
)
def test_certificate_outside_its_validity(pair: Pair, days: int, message: str) -> None:
    with pytest.raises(UsageError, match=f"--tls-cert: .*{message}"):
        CertificateFiles(*pair, None, lambda: NOW + timedelta(days=days)).read()


def test_authority_outside_its_validity(authority: Authority) -> None:
    with pytest.raises(UsageError, match=r"--tls-ca: .*ca\.pem expired on"):
        CertificateFiles(None, None, authority.certificate, lambda: NOW + timedelta(days=4000)).read()


def test_key_is_no_authority(authority: Authority, pair: Pair) -> None:
    with pytest.raises(UsageError, match=r"--tls-ca: .*receiver\.key is a private key, not a certificate"):
        CertificateFiles(None, None, pair[1]).read()


def test_chain_in_the_right_order_is_valid(authority: Authority, pair: Pair, tmp_path: Path) -> None:
    chain = tmp_path / "chain.pem"
    chain.write_bytes(b"a comment\n" + pair[0].read_bytes() + authority.certificate.read_bytes())
    found = CertificateFiles(chain, pair[1], authority.certificate).read()
    assert (found.certificate, found.key) == (chain.read_bytes(), pair[1].read_bytes())
    assert found.authority == authority.certificate.read_bytes()


def test_validity_is_that_of_openssl(pair: Pair) -> None:
    not_before, not_after = validity(ssl.PEM_cert_to_DER_cert(pair[0].read_text()))
    printed = subprocess.run(
        ["openssl", "x509", "-in", str(pair[0]), "-noout", "-dates"], check=True, capture_output=True, text=True
    ).stdout
    assert [int(not_before.timestamp()), int(not_after.timestamp())] == [
        ssl.cert_time_to_seconds(line.partition("=")[2]) for line in printed.splitlines()
    ]


@pytest.mark.parametrize("kept", [0, 1, 3, 20, 60])
def test_validity_of_truncated_certificate(pair: Pair, kept: int) -> None:
    with pytest.raises(ValueError, match="truncated"):
        validity(ssl.PEM_cert_to_DER_cert(pair[0].read_text())[:kept])


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
