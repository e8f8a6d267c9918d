import re
from pathlib import Path

import pytest

from common.io.addresses import Address
from receiver import ports
from receiver.config import SecurityConfig
from receiver.ports import host_names, reached_as, startup_line
from tests.support.link.certificate_authority import Authority

PEM = Path("receiver.pem")
TLS = SecurityConfig(tls_cert=PEM, tls_key=PEM)


@pytest.fixture(autouse=True)
def fixed_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "host_names", lambda: ["192.168.1.7", "studio"])


def test_loopback_names_the_flags_for_other_machines() -> None:
    line = startup_line(Address("127.0.0.1", 50051), SecurityConfig())
    assert line.startswith("listening on 127.0.0.1:50051 (this machine only); ")
    for expected in ("--listen 0.0.0.0:50051", "--tls-cert", "--tls-key", "--insecure", "docs/security.md"):
        assert expected in line


def test_line_names_the_senders_command_at_all_interfaces_or_at_one() -> None:
    everywhere = startup_line(Address("0.0.0.0", 7), SecurityConfig(insecure=True))
    assert everywhere.startswith("listening on 0.0.0.0:7 (no certificates); ")
    assert "sender --camera 0 --peer 192.168.1.7:7 --insecure (also reachable as studio:7)" in everywhere
    one = startup_line(Address("10.0.0.5", 7), SecurityConfig(insecure=True))
    assert "sender --camera 0 --peer 10.0.0.5:7 --insecure" in one and "studio" not in one


def test_encrypted_receiver_names_what_the_sender_must_show() -> None:
    mutual = SecurityConfig(tls_cert=PEM, tls_key=PEM, tls_ca=PEM, tokens=Path("tokens.toml"))
    for security, more in ((TLS, ""), (mutual, " --tls-cert NAME.pem --tls-key NAME.key --token-file FILE")):
        line = startup_line(Address("0.0.0.0", 7), security)
        assert "(encrypted)" in line and "insecure" not in line
        assert f"--peer 192.168.1.7:7 --tls-ca ca.pem{more} (also" in line


def test_names_are_those_that_the_certificate_covers(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path / "certs")
    for hosts, names in (
        (("studio", "10.0.0.5"), ["studio"]),
        (("studio.example", "10.0.0.5"), ["studio.example", "10.0.0.5", "receiver"]),
        (("192.168.1.7", "other"), ["192.168.1.7"]),
    ):
        certificate, _ = authority.issue("receiver", *hosts)
        assert reached_as("0.0.0.0", certificate) == names
        assert reached_as("0.0.0.0", None) == ["192.168.1.7", "studio"]
    security = SecurityConfig(tls_cert=certificate, tls_key=certificate)
    assert "--peer 192.168.1.7:7 --tls-ca ca.pem" in startup_line(Address("0.0.0.0", 7), security)
    assert reached_as("10.0.0.5", PEM) == ["10.0.0.5"]


def test_host_names_are_an_address_and_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    names = host_names()
    assert all(names)
    assert all(re.fullmatch(r"[\d.]+", name) for name in names[:-1])
