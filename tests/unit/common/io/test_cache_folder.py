"""The folder of what is computed once: only where no other user can write."""

import os
from pathlib import Path

import pytest

from common.errors import OutputError
from common.io import files
from common.io.files import cache_directory


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
