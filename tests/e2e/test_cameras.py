"""Several cameras of one sender process: each has a session of its own."""

import json
import re
import signal
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from common.wire.pictures import PictureAccepted, PictureHeader
from tests.e2e.daemons import TIMEOUT_S, receiver, run
from tests.e2e.test_pictures import ask
from tests.support.demo_clip import beginning, demo_picture
from tests.support.forked_program import ForkedProgram
from tests.support.free_port import free_port

FRAMES = {"a.mp4": 4, "b.mp4": 9}
PUBLISH = ("--no-body", "--mesh-every", "100")


def sequences(out: Path) -> dict[tuple[int, str], list[int]]:
    """Of the frames of each session and source, in the order of their lines."""
    found: dict[tuple[int, str], list[int]] = {}
    lines: list[dict[str, Any]] = [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]
    for line in lines:
        found.setdefault((line["session"], line["source"]), []).append(line["seq"])
    return found


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    return [beginning(tmp_path / name, frames) for name, frames in FRAMES.items()]


@pytest.mark.slow
def test_camera_that_fails_leaves_the_others_complete(tmp_path: Path, clips: list[Path]) -> None:
    out, record, broken = tmp_path / "out", tmp_path / "talk.bw", tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    cameras = [flag for path in (clips[0], broken, clips[1]) for flag in ("--camera", str(path))]
    spool = ("--delivery", "complete", "--spool", str(tmp_path / "spool"))
    with receiver(out, *PUBLISH) as running:
        done = run("sender", *cameras, *spool, "--record", str(record), "--peer", running.address)
        _, log = running.terminate()
    assert done.returncode == 3, done.stderr
    assert sorted(sequences(out).values()) == [list(range(frames)) for frames in FRAMES.values()]
    assert len({session for session, _ in sequences(out)}) == 2
    for number, name in ((1, "a.mp4"), (3, "b.mp4")):
        assert re.search(rf"^{number} \({name}\): sent {FRAMES[name]} frames: ", done.stdout, re.MULTILINE)
        assert (tmp_path / f"talk-{number}.bw").exists() and (tmp_path / "spool" / str(number) / "lock").exists()
        assert f"{number} ({name}) begins at frame 0" in log, "the receiver tells them apart"
    assert done.stdout.endswith(f"sent {sum(FRAMES.values())} frames of 3 cameras\n")
    assert "2 (broken.png): this camera's session has ended: " in done.stderr
    assert done.stderr.splitlines()[-1].startswith("sender: ")


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_signal_ends_all_cameras_in_good_order(tmp_path: Path, number: signal.Signals) -> None:
    out, port, sockets = tmp_path / "out", free_port(), [tmp_path / "a.sock", tmp_path / "b.sock"]
    missing = ("--camera", "rtsp://127.0.0.1:9/missing")
    cameras = [flag for path in sockets for flag in ("--camera", f"socket+live:{path}")]
    with receiver(out, *PUBLISH) as running:
        flags = [*cameras, *missing, "--peer", running.address, "--metrics", f"127.0.0.1:{port}"]
        process = ForkedProgram("sender", flags)
        try:
            for path in sockets:
                assert ask(process, path, PictureHeader(path.name), demo_picture()) == PictureAccepted(
                    path.name, 640, 480
                )
            deadline_s = time.monotonic() + TIMEOUT_S
            while len(sequences(out)) < 2:
                assert process.poll() is None and time.monotonic() < deadline_s
                time.sleep(0.05)
            metrics = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
            process.send_signal(number)
            output, errors = process.communicate(timeout=TIMEOUT_S)
        finally:
            process.kill()
        assert process.returncode == 0, errors
    assert 'bodywire_sender_frames_total{fate="offered"} 2.0' in metrics
    assert "bodywire_sender_connected 1.0" in metrics and "bodywire_sender_camera_up 0.0" in metrics
    assert [line.partition(":")[0] for line in output.splitlines() if "sent 1 frames" in line] == [
        "1 (a.sock)",
        "2 (b.sock)",
    ]
    assert "rtsp://127.0.0.1:9/missing is missing" in errors
    assert not any(path.exists() for path in sockets)
