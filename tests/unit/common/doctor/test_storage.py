import fcntl
import os
import socket
from pathlib import Path

import pytest

from common.doctor import storage
from common.doctor.finding import Verdict
from common.io.addresses import Address


def test_folder_that_can_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    before = tmp_path.stat().st_mtime_ns
    assert storage.check_writable("output", tmp_path, "--out").verdict is Verdict.OK
    assert list(tmp_path.iterdir()) == []
    assert tmp_path.stat().st_mtime_ns == before


def test_missing_folder_is_not_made(tmp_path: Path) -> None:
    finding = storage.check_writable("output", tmp_path / "a" / "b", "--out")
    assert finding.verdict is Verdict.OK
    assert "can be made" in finding.found
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["", "deeper"])
def test_file_in_place_of_a_folder(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    finding = storage.check_writable("output", tmp_path / "file" / below, "--out")
    assert (finding.verdict, finding.exit_code) == (Verdict.PROBLEM, 5)
    assert "not a folder" in finding.found


def test_file_system_that_cannot_be_written() -> None:
    for place in ("/proc", "/proc/deeper"):
        finding = storage.check_writable("spool", Path(place), "--spool")
        assert finding.verdict is Verdict.PROBLEM
        assert "--spool" in finding.advice


def test_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    assert not storage.is_locked(path)
    holder = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX)
        assert storage.is_locked(path)
    finally:
        os.close(holder)
    assert not storage.is_locked(path)


def test_address_that_is_used() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = Address("127.0.0.1", server.getsockname()[1])
        used = storage.check_address_free("listen", address, "--listen")
        assert (used.verdict, used.exit_code) == (Verdict.PROBLEM, 5)
        assert "Address already in use" in used.found
        # The server serves on.
        socket.create_connection(server.getsockname()).close()
    assert storage.check_address_free("listen", address, "--listen").verdict is Verdict.OK


def test_address_of_another_machine() -> None:
    finding = storage.check_address_free("listen", Address("192.0.2.1", 50051), "--listen")
    assert finding.verdict is Verdict.PROBLEM
    assert storage.check_address_free("listen", Address("192.0.2.1", 0), "--listen").verdict is Verdict.OK
