import re
from pathlib import Path

import pytest

from common.io.addresses import Address
from receiver.link import startup_line as module
from receiver.link.config import SecurityConfig
from receiver.link.startup_line import host_names, startup_line

PEM = Path("receiver.pem")
TLS = SecurityConfig(tls_cert=PEM, tls_key=PEM)


@pytest.fixture(autouse=True)
def fixed_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "host_names", lambda: ["192.168.1.7", "studio"])


def test_loopback_names_the_flags_for_other_machines() -> None:
    line = startup_line(Address("127.0.0.1", 50051), SecurityConfig())
    assert line.startswith("listening on 127.0.0.1:50051 (this machine only); ")
    for expected in ("--listen 0.0.0.0:50051", "--tls-cert", "--tls-key", "--insecure", "docs/security.md"):
        assert expected in line


def test_all_interfaces_name_the_senders_command() -> None:
    line = startup_line(Address("0.0.0.0", 7), SecurityConfig(insecure=True))
    assert line.startswith("listening on 0.0.0.0:7 (not encrypted); ")
    assert "sender --camera 0 --peer 192.168.1.7:7 --insecure (also reachable as studio:7)" in line


def test_one_interface_is_the_peer() -> None:
    line = startup_line(Address("10.0.0.5", 7), SecurityConfig(insecure=True))
    assert "sender --camera 0 --peer 10.0.0.5:7 --insecure" in line
    assert "studio" not in line


@pytest.mark.parametrize(
    ("security", "flags"),
    [
        (TLS, "--tls-ca ca.pem"),
        (
            SecurityConfig(tls_cert=PEM, tls_key=PEM, tls_ca=PEM, tokens=Path("tokens.toml")),
            "--tls-ca ca.pem --tls-cert NAME.pem --tls-key NAME.key --token-file FILE",
        ),
    ],
)
def test_encrypted_receiver_names_what_the_sender_must_show(security: SecurityConfig, flags: str) -> None:
    line = startup_line(Address("0.0.0.0", 7), security)
    assert "(encrypted)" in line
    assert f"--peer 192.168.1.7:7 {flags} (also" in line
    assert "insecure" not in line


def test_host_names_are_an_address_and_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    names = host_names()
    assert all(names)
    assert all(re.fullmatch(r"[\d.]+", name) for name in names[:-1])
