"""Atomic replacement of files: complete content, permissions, no leftovers."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import OutputError
from common.io import files
from common.io.addresses import Address, bound_socket
from common.io.files import (
    PrivateFolder,
    atomic_replacement,
    atomic_write,
    cache_directory,
    read_regular,
    remove_partial_files,
)
from common.io.recent import RecentRate


def test_new_content_replaces_the_old(tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    for content in (b"first", b"second, longer", b""):
        atomic_write(path, content, synced=content != b"first")
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_error_while_writing_keeps_the_old_content_and_leaves_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), atomic_replacement(path) as partial:
        partial.write_bytes(b"half of the n")
        assert path.read_bytes() == b"old"
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OSError, match="No such file"):
        atomic_write(tmp_path / "nowhere" / "index.json", b"content")


def test_partial_files_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    for name in (".index.json.01234567.partial", "index.json", ".hidden", "a.partial"):
        (tmp_path / name).touch()
    remove_partial_files(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".hidden", "a.partial", "index.json"]


_KILLED = """
import os, signal
from common.io.files import PrivateFolder
path = PrivateFolder().path
(path / "token").write_text("secret")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_folder_of_a_killed_process_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    subprocess.run([sys.executable, "-c", _KILLED], env=os.environ | {"TMPDIR": str(tmp_path)}, check=False)
    (left,) = tmp_path.iterdir()
    assert (left / "token").exists() and left.stat().st_mode & 0o777 == 0o700
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "bodywire-run-link").symlink_to(tmp_path / "elsewhere")
    first, second = PrivateFolder(), PrivateFolder()
    assert not left.exists() and first.path.exists() and second.path.exists()
    for folder in (first, second, first):
        folder.remove()
    assert sorted(os.listdir(tmp_path)) == ["bodywire-run-link", "elsewhere"]


def test_folder_of_another_user_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "bodywire-run-theirs").mkdir()
    monkeypatch.setattr("os.geteuid", lambda: 12345)
    PrivateFolder().remove()
    assert os.listdir(tmp_path) == ["bodywire-run-theirs"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


def test_link_is_followed_on_demand_only(folder: Path) -> None:
    assert read_regular(folder / "link", 7, follow_links=True) == b"content"
    with pytest.raises(OSError, match="it is a link"):
        read_regular(folder / "link", 7)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("pipe", errno.EINVAL),
        ("/dev/zero", errno.EINVAL),
        ("", errno.EISDIR),
        ("loop", errno.ELOOP),
        ("file", errno.EFBIG),
    ],
)
def test_anything_else_is_refused_at_once(folder: Path, name: str, code: int) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError) as refused:
        read_regular(folder / name, 6, follow_links=True)
    assert refused.value.errno == code
    assert len(os.listdir("/proc/self/fd")) == before


def test_file_whose_size_is_unknown_is_read_to_the_limit_only() -> None:
    # Files of /proc say that they are empty.
    with pytest.raises(OSError, match="more than 100 bytes"):
        read_regular(Path("/proc/self/maps"), 100)


def test_user_without_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("BODYWIRE_CACHE", raising=False)
    monkeypatch.setattr(Path, "expanduser", unknown)
    with pytest.raises(OutputError, match="there is no directory for a cache: set HOME or BODYWIRE_CACHE"):
        cache_directory()


@pytest.mark.parametrize(
    ("of_folder", "of_file", "trusted"),
    [(0o755, 0o644, True), (0o1777, 0o644, True), (0o777, 0o644, False), (0o755, 0o666, False)],
)
def test_file_that_others_can_write_or_replace_is_not_trusted(
    tmp_path: Path, of_folder: int, of_file: int, trusted: bool
) -> None:
    path = tmp_path / "cache" / "file"
    path.parent.mkdir()
    path.write_text("content")
    path.parent.chmod(of_folder)
    path.chmod(of_file)
    with open(path, "rb") as file:
        assert files.is_trusted(file, path) is trusted


def test_file_of_another_user_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_text("content")
    with open(path, "rb") as file:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
        monkeypatch.setattr(os, "fstat", lambda _: os.stat_result((0o100644, 0, 0, 1, 54321, 0, 7, 0, 0, 0)))
        assert not files.is_trusted(file, path)


def test_rate_of_the_window() -> None:
    rate = RecentRate(window_s=2.0)
    for tenth in range(100):
        rate.add(3.0, tenth / 10)
    assert rate.per_second(9.9) == pytest.approx(30.0, rel=0.06)
    assert rate.mean(9.9) == 3.0


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:50051", "127.0.0.1", 50051), ("studio.example:0", "studio.example", 0), ("[::1]:9100", "::1", 9100)],
)
def test_parse_and_str_round_trip(text: str, host: str, port: int) -> None:
    address = Address.parse(text)
    assert address == Address(host, port)
    assert str(address) == text


def test_malformed_text_is_refused_with_and_without_a_default() -> None:
    for text in ("", ":", "[]", "[]:1", "[::1]1", "[::1", "::1", "::1:50051", ":x", "host:65536", "host:x", "host:²"):
        for default in (None, Address("127.0.0.1", 50051)):
            with pytest.raises(ValueError, match=r"host:port|brackets"):
                Address.parse(text, default)


def test_incomplete_addresses_and_impossible_names_are_refused() -> None:
    for text in ("host", ":1", "host:"):
        with pytest.raises(ValueError, match="host:port"):
            Address.parse(text)
    for host in ("a" * 64, "studio..example"):
        with pytest.raises(ValueError, match="no host has this name"):
            Address.parse(f"{host}:50051")


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("0.0.0.0", "0.0.0.0", 50051),
        ("studio", "studio", 50051),
        (":9100", "127.0.0.1", 9100),
        ("[::]", "::", 50051),
        ("studio:0", "studio", 0),
    ],
)
def test_default_completes_host_or_port(text: str, host: str, port: int) -> None:
    assert Address.parse(text, Address("127.0.0.1", 50051)) == Address(host, port)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_bound_socket_finds_an_address_busy_while_a_server_listens(host: str) -> None:
    with bound_socket(Address(host, 0)) as first:
        address = Address(host, first.getsockname()[1])
        first.listen()
        with pytest.raises(OSError) as caught:
            bound_socket(address)
        assert caught.value.errno == errno.EADDRINUSE
    bound_socket(address).close()


def test_several_addresses_are_refused() -> None:
    for text in ("a:1,b:2", "a,b", "a:1,", "[::1]:1,[::1]:2"):
        with pytest.raises(ValueError, match="give one address, such as"):
            Address.parse(text, Address("127.0.0.1", 50051))


def test_addresses_of_ip_and_names() -> None:
    found = [
        Address(host, 1).is_ip for host in ("10.0.0.7", "::1", "fe80::7%eth0", "localhost", "10.0.0", "studio.local")
    ]
    assert found == [True] * 3 + [False] * 3
