"""A file that is replaced: the old content or the new, and nothing beside it."""

import stat
from pathlib import Path

import pytest

from common.io.atomic_write import atomic_replacement, atomic_write


def test_the_new_content_takes_the_place_of_the_old(tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    for content in (b"first", b"second, longer", b""):
        atomic_write(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_while_writing_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), atomic_replacement(path) as partial:
        partial.write_bytes(b"half of the n")
        assert path.read_bytes() == b"old"
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_does_not_show(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    left = tmp_path / ".tokens.toml.partial"
    left.write_bytes(b"much longer than what comes now")
    left.chmod(0o666)
    atomic_write(path, b"secret", mode=0o600)
    assert path.read_bytes() == b"secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        atomic_write(tmp_path / "nowhere" / "index.json", b"content")


@pytest.mark.parametrize("synced", [True, False])
def test_synced_or_not_the_content_is_the_same(tmp_path: Path, synced: bool) -> None:
    atomic_write(tmp_path / "a.jpg", bytes(range(256)), synced=synced)
    assert (tmp_path / "a.jpg").read_bytes() == bytes(range(256))
