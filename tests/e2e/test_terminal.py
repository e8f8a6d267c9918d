"""The sender on a terminal: log records stay whole above the status line, which is gone at the end."""

import os
import pty
import re
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.e2e.daemons import receiver

RECORD = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} sender WARNING sender\.capture\.images: image skipped: .*")
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
IMAGES = 128


def photos(folder: Path) -> Path:
    """Images, every second of which cannot be read; sending them takes longer than the status line needs to appear."""
    folder.mkdir()
    for number in range(0, IMAGES, 2):
        Image.fromarray(np.full((64, 64, 3), 128, np.uint8)).save(folder / f"{number:03d}.png")
        (folder / f"{number + 1:03d}.png").write_bytes(b"no image")
    return folder


def on_terminal(arguments: Sequence[str]) -> tuple[int, str]:
    """Exit code of a sender on a terminal of 80 columns, and all that was written to it."""
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-m", "sender", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env={**environment, "TERM": "xterm-256color"},
    )
    os.close(theirs)
    output = b""
    with suppress(OSError):  # the program has closed the terminal
        while data := os.read(ours, 65536):
            output += data
    os.close(ours)
    return process.wait(), output.decode()


@pytest.mark.slow
def test_records_stay_whole_above_the_status_line(tmp_path: Path) -> None:
    with receiver(tmp_path / "out", "--meshes", "surfaces") as running:
        code, output = on_terminal(("--camera", str(photos(tmp_path / "photos")), "--peer", running.address))
    assert code == 0
    assert re.search(r"\d/\d\d+ frames", output)
    assert "\x1b[?25l" not in output  # the cursor was never hidden
    # What a line feed or a carriage return ends is overwritten or left.
    rows = [CONTROL.sub("", row) for row in re.split(r"[\r\n]+", output)]
    records = [row for row in rows if "WARNING" in row]
    assert len(records) == IMAGES // 2 + 1
    assert all(RECORD.fullmatch(row) for row in records[:-1]), records
    # The status line is erased before the summary.
    last = output[output.rindex("sender  ") :]
    assert "\x1b[2K" in last and f"sent {IMAGES // 2} frames" in last
