"""How the findings of a doctor are shown, and what both doctors check."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.doctor import Check, Doubt, check_expiry, check_free, check_makeable, doctor_program, run_doctor
from common.errors import OutputError, PeerError
from common.io.addresses import Address
from sender.config import SenderConfig
from tests.support.link.certificate_authority import Authority

PROGRAM = doctor_program("sender", "everything", (("sender doctor", "check"),))


def raises(error: Exception) -> Callable[[], str]:
    def check() -> str:
        raise error

    return check


def listed(*checks: Callable[[], str]) -> Callable[[SenderConfig], Iterator[Check]]:
    return lambda config: ((f"check {number}", check) for number, check in enumerate(checks))


def test_each_finding_is_a_line_and_the_exit_code_that_of_the_first_problem(
    capsys: pytest.CaptureFixture[str],
) -> None:
    checks = listed(
        lambda: "fine",
        raises(Doubt("not encrypted:\n see docs")),
        raises(OutputError("full: make room")),
        raises(PeerError("away")),
        raises(ZeroDivisionError("a strange machine")),
    )
    assert run_doctor(PROGRAM, SenderConfig, checks, []) == 5
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "ok       check 0: fine",
        "warning  check 1: not encrypted: see docs",
        "problem  check 2: full: make room",
        "problem  check 3: away",
        "warning  check 4: cannot be checked (ZeroDivisionError: a strange machine)",
        "the sender would end with exit code 5",
    ]
    assert captured.err == ""


def test_certificate_that_expires_soon(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path / "certs")
    assert check_expiry(None, None, None) == "no certificates"
    assert "--tls-cert valid until" in check_expiry(*authority.issue("receiver", days=30), authority.certificate)
    with pytest.raises(Doubt, match=r"--tls-cert expires on .*: issue a new one"):
        check_expiry(*authority.issue("soon", days=3), authority.certificate)


def test_folder_that_can_be_made_or_not(tmp_path: Path) -> None:
    assert "can be made" in check_makeable(tmp_path / "a" / "b", "--out")
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot be made in .*file: choose another --out"):
        check_makeable(tmp_path / "file" / "b", "--out")


def test_address_that_is_free_or_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = Address(*server.getsockname())
        with pytest.raises(OutputError, match="give --metrics a free host:port"):
            check_free(address, "--metrics")
    assert "is free" in check_free(address, "--metrics")
