"""The daemons on a terminal: log records stay whole above the status line, which is gone at the end."""

import re
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.e2e.daemons import receiver
from tests.support.terminal_process import on_terminal

RECORD = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} sender WARNING sender\.capture\.images: image skipped: .*")
IMAGES = 128


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Images, every second of which cannot be read; sending them takes longer than the status line needs to appear."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(0, IMAGES, 2):
        Image.fromarray(np.full((64, 64, 3), 128, np.uint8)).save(folder / f"{number:03d}.png")
        (folder / f"{number + 1:03d}.png").write_bytes(b"no image")
    return folder


def test_records_stay_whole_above_the_status_line(tmp_path: Path, photos: Path) -> None:
    with receiver(tmp_path / "out", "--no-body") as running:
        flags = ("--camera", str(photos), "--peer", running.address)
        with on_terminal("sender", *flags, width=200) as sender:
            sender.until(lambda rows: rows[-1].startswith("sender  connected"))
            assert sender.wait() == 0
    assert re.search(r"\d/\d\d+ frames", sender.output)
    assert "\x1b[?25l" not in sender.output  # the cursor was never hidden
    records = [row for row in sender.rows if "WARNING" in row]
    assert len(records) == IMAGES // 2 + 1
    assert all(RECORD.fullmatch(row) for row in records[:-1]), records
    # Nothing is left of the status line.
    assert sender.rows[-1].startswith(f"sent {IMAGES // 2} frames")
    assert not any(row.startswith("sender  ") for row in sender.rows)


def test_receiver_is_narrowed_and_interrupted(tmp_path: Path) -> None:
    flags = ("--listen", "127.0.0.1:0", "--out", str(tmp_path / "out"))
    with on_terminal("receiver", *flags, width=300) as shown:
        shown.until(lambda rows: re.fullmatch(r"receiver  0 sessions · .* · [0-9.]+ GB free", rows[-1]) is not None)
        assert shown.rows[0].startswith("listening on 127.0.0.1:")
        shown.resize(30)
        shown.until(lambda rows: rows[-1] == "receiver  0 sessions")
        shown.process.send_signal(signal.SIGINT)
        assert shown.wait() == 0
    assert not any(row.startswith("receiver  ") for row in shown.rows)


@pytest.mark.slow
def test_terminal_that_cannot_move_its_cursor(tmp_path: Path, photos: Path) -> None:
    with receiver(tmp_path / "out", "--no-body") as running:
        command = ("sender", "--camera", str(photos), "--peer", running.address)
        with on_terminal(*command, width=80, TERM="dumb") as sender:
            assert sender.wait() == 0
    assert "\x1b" not in sender.output
    assert "sender  " not in sender.output
    assert " WARNING " in sender.output
