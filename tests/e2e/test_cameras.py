"""Several cameras of one sender process: each has a session of its own."""

import json
import re
import signal
import socket
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.wire.pictures import (
    ANSWER_PREFIX,
    PictureAccepted,
    PictureAnswer,
    PictureHeader,
    PictureRefused,
    decode_answer,
    encode_picture,
)
from receiver.mesh.body_file import GlbReader
from tests.e2e.daemons import TIMEOUT_S, receiver, run
from tests.support.processes.demo_clip import beginning, demo_picture
from tests.support.processes.forked_program import ForkedProgram
from tests.support.processes.free_port import free_port

FRAMES = {"a.mp4": 4, "b.mp4": 9}
PUBLISH = ("--meshes", "surfaces", "--mesh-every", "100")


def sequences(out: Path) -> dict[tuple[int, str], list[int]]:
    """Of the frames of each session and source, in the order of their lines."""
    found: dict[tuple[int, str], list[int]] = {}
    lines: list[dict[str, Any]] = [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]
    for line in lines:
        found.setdefault((line["session"], line["source"]), []).append(line["seq"])
    return found


def ask(process: ForkedProgram, path: Path, header: PictureHeader, image: bytes) -> PictureAnswer:
    """Sends a picture to the sender, once it listens."""
    while not path.exists():
        assert process.poll() is None
        time.sleep(0.05)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(str(path))
        connection.sendall(encode_picture(header, image))
        (size,) = ANSWER_PREFIX.unpack(connection.recv(ANSWER_PREFIX.size, socket.MSG_WAITALL))
        return decode_answer(connection.recv(size, socket.MSG_WAITALL))


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
        assert re.search(rf"^{number} \({name}\): sent {FRAMES[name]} frames in .*: ", done.stdout, re.MULTILINE)
        assert (tmp_path / f"talk-{number}.bw").exists() and (tmp_path / "spool" / str(number) / "lock").exists()
        assert f"{number} ({name}) begins at frame 0" in log, "the receiver tells them apart"
    assert done.stdout.endswith(f"sent {sum(FRAMES.values())} frames of 3 cameras\n")
    assert "2 (broken.png): this camera's session has ended: " in done.stderr
    assert done.stderr.splitlines()[-1].startswith("sender: ")


@pytest.mark.slow
def test_signal_ends_all_cameras_in_good_order(tmp_path: Path) -> None:
    out, port, sockets = tmp_path / "out", free_port(), [tmp_path / "a.sock", tmp_path / "b.sock"]
    sources = (f"socket:{sockets[0]}", f"socket+live:{sockets[1]}", "rtsp://127.0.0.1:9/missing")
    cameras = [flag for source in sources for flag in ("--camera", source)]
    with receiver(out, "--meshes", "surfaces") as running:
        flags = [*cameras, "--share-preview", "--peer", running.address, "--metrics", f"127.0.0.1:{port}"]
        process = ForkedProgram("sender", flags)
        try:
            for path, name in zip((sockets[0], *sockets), ("one.jpg", "two.jpg", "live.jpg"), strict=True):
                assert ask(process, path, PictureHeader(name), demo_picture(40)) == PictureAccepted(name, 640, 480)
            assert isinstance(ask(process, sockets[0], PictureHeader(), b"no picture"), PictureRefused)
            deadline_s = time.monotonic() + TIMEOUT_S
            while sum(map(len, sequences(out).values())) < 3:
                assert process.poll() is None and time.monotonic() < deadline_s
                time.sleep(0.05)
            metrics = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=TIMEOUT_S)
        finally:
            process.kill()
        assert process.returncode == 0, errors
    assert 'bodywire_sender_frames_total{fate="offered"} 3.0' in metrics
    assert "bodywire_sender_connected 1.0" in metrics and "bodywire_sender_camera_up 0.0" in metrics
    ended = [line.partition(" frame")[0] for line in output.splitlines()]
    assert {"1 (a.sock): sent 2", "2 (b.sock): sent 1"} <= set(ended), output
    assert "rtsp://127.0.0.1:9/missing is missing" in errors
    assert not any(path.exists() for path in sockets)
    assert {source: len(each) for (_, source), each in sequences(out).items()} == {
        "one.jpg": 1,
        "two.jpg": 1,
        "live.jpg": 1,
    }
    for line in map(json.loads, (out / "frames.jsonl").read_text().splitlines()):
        (person,) = line["people"]
        colours = GlbReader((out / person["surface"]).read_bytes()).mesh()[0].colours
        assert colours is not None and len(np.unique(colours, axis=0)) > 200
