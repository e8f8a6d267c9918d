"""Kills: that a fault of complete delivery would be noticed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.netlab.faults.audit import rows_in
from tests.netlab.faults.durable_receiver import BUGS


@pytest.mark.slow
def test_kills_lose_nothing_and_deliberate_bugs_are_found(tmp_path: Path) -> None:
    def kills(most: int, *flags: str) -> tuple[int, str, int]:
        state = tmp_path / "-".join(("state", *flags))
        command = [sys.executable, "-m", "tests.bench.kills", "--kills", str(most), "--state", str(state), *flags]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TMPDIR": str(tmp_path)})
        rows = rows_in(state)
        # Episodes that run beside the one with the fault end after it.
        until = next((number for number, row in enumerate(rows, 1) if row["failure"]), len(rows))
        return done.returncode, done.stderr, sum(row["kills"] for row in rows[:until])

    code, errors, done = kills(200)
    assert code == 0 and done >= 200, errors
    for bug in BUGS:
        code, errors, done = kills(200, "--bug", bug)
        assert code == 1 and "lost" in errors and done <= 250
