"""`--record` and `--replay` as their users run them."""

import json
from pathlib import Path

import pytest

from tests.e2e.daemons import run
from tests.support.processes.demo_clip import beginning

FRAMES = 6


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six frames of the demo clip, two a second."""
    return beginning(tmp_path_factory.mktemp("clip") / "short.mp4", FRAMES, rate=2)


def sequences(out: Path) -> list[int]:
    return [json.loads(line)["seq"] for line in (out / "frames.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_sender_records_without_a_receiver_and_the_receiver_replays(tmp_path: Path, clip: Path) -> None:
    recording = tmp_path / "talk.bw"
    recorded = run("sender", "--camera", str(clip), "--record", str(recording))
    assert recorded.returncode == 0, recorded.stderr
    assert recorded.stdout == f"recorded {FRAMES} frames, {recording.stat().st_size} bytes in {recording}\n"
    again = run("sender", "--camera", str(clip), "--record", str(recording))
    assert (again.returncode, again.stdout) == (5, "") and f"{recording} exists" in again.stderr

    # The frames have the times of the clip, however long it took to see them.
    flags = ("--replay", str(recording), "--speed", "max", "--no-page")
    replayed = run("receiver", *flags, "--out", str(tmp_path / "out"), "--from", "1.2")
    assert replayed.returncode == 0, replayed.stderr
    assert replayed.stdout.startswith(f"replaying {recording}: 2.5 s of ")
    assert "replayed 3 frames in" in replayed.stdout
    assert sequences(tmp_path / "out") == [3, 4, 5]
    late = run("receiver", *flags, "--out", str(tmp_path / "out"), "--from", "600")
    assert late.returncode == 2 and "ends after 2.5 s" in late.stderr
