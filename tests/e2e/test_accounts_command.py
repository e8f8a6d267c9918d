"""`receiver accounts` as a process."""

import subprocess
import sys
from pathlib import Path

from tests.e2e.daemons import TIMEOUT_S


def accounts(out: Path, *arguments: str, password: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "receiver", "accounts", "--out", str(out), *arguments]
    return subprocess.run(command, input=password, capture_output=True, text=True, timeout=TIMEOUT_S)


def test_account_is_made_from_standard_input(tmp_path: Path) -> None:
    made = accounts(tmp_path, "add", "Anna", password="correct horse battery\n")
    assert (made.returncode, made.stdout, made.stderr) == (0, "added Anna\n", "")
    token = accounts(tmp_path, "token", "Anna")
    assert token.returncode == 0 and token.stdout.startswith("bw_") and token.stderr == ""
    weak = accounts(tmp_path, "add", "Bert", password="password123\n")
    assert weak.returncode == 2 and weak.stdout == "" and len(weak.stderr.splitlines()) == 1
    assert accounts(tmp_path, "--help").returncode == 0
