"""Atomic replacement of files: complete content, permissions, no leftovers."""

import os
from pathlib import Path

import pytest

from common.io.files import atomic_replacement, atomic_write, remove_partial_files


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
