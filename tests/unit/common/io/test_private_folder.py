import os
import subprocess
import sys
from pathlib import Path

import pytest

from common.io.files import PrivateFolder

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
