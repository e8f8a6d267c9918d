"""`--delivery complete` between the daemons: every frame is recorded once across kills and restarts."""

import json
import re
import signal
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.e2e.daemons import TIMEOUT_S, receiver, run
from tests.support.processes.demo_clip import beginning
from tests.support.processes.forked_program import ForkedProgram

FRAMES = 120


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The beginning of the demo clip."""
    return beginning(tmp_path_factory.mktemp("clip") / "short.mp4", FRAMES)


def count(out: Path) -> int:
    lines = out / "frames.jsonl"
    return len(lines.read_bytes().splitlines()) if lines.exists() else 0


def until(out: Path, frames: int) -> None:
    deadline_s = time.monotonic() + TIMEOUT_S
    while count(out) < frames:
        assert time.monotonic() < deadline_s, f"{count(out)} frames of {frames}"
        time.sleep(0.05)


@pytest.mark.slow
def test_kills_and_restarts_of_both_daemons(tmp_path: Path, clip: Path) -> None:
    out, spool = tmp_path / "out", tmp_path / "spool"
    flags = ["--camera", str(clip), "--delivery", "complete", "--spool", str(spool)]
    publish = ("--mesh-every", "100", "--meshes", "surfaces")
    with receiver(out, *publish) as first:
        address = first.address
        sending = ForkedProgram("sender", [*flags, "--peer", address])
        until(out, 25)
        first.process.send_signal(signal.SIGKILL)
        first.process.communicate()
    with receiver(out, *publish, listen=address) as second:
        until(out, 50)
        sending.send_signal(signal.SIGKILL)
        sending.communicate()
        done = run("sender", *flags, "--peer", address)
        assert done.returncode == 0, done.stderr
        sent = re.search(r"sent (\d+) frames", done.stdout)
        assert sent is not None
        assert 0 < int(sent[1]) <= FRAMES - 50
        assert second.terminate()[0] == 0
    lines = [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]
    assert [(line["session"], line["seq"]) for line in lines] == [(1, number) for number in range(FRAMES)]
    assert {path.name for path in spool.iterdir()} == {"lock"}


def test_stopped_sender_keeps_undelivered_frames(tmp_path: Path, clip: Path) -> None:
    spool = tmp_path / "spool"
    flags = ["--camera", str(clip), "--delivery", "complete", "--spool", str(spool), "--peer", "127.0.0.1:9"]
    sending = ForkedProgram("sender", flags)
    deadline_s = time.monotonic() + TIMEOUT_S
    # The file is there before the networks; with a frame, it is larger.
    sizes: set[int] = set()
    while len(sizes) < 2:
        assert time.monotonic() < deadline_s
        sizes.update({path.stat().st_size for path in spool.glob("*.bw")} - {0})
        time.sleep(0.05)
    if find_spec("openvino"):  # whose libraries also have a say in how signals are handled
        assert "libopenvino" in Path(f"/proc/{sending.pid}/maps").read_text()
    sending.terminate()
    output, errors = sending.communicate(timeout=TIMEOUT_S)
    assert sending.returncode == 0, errors
    waiting = rf"\d+ frames? waits? in {re.escape(str(spool))} and will be sent when the sender is started again"
    assert re.search(waiting, output)
