"""A session over a simulated channel: pictures arrive beside the meshes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.e2e.daemons import RunningReceiver, receiver, run
from tests.support.processes.demo_clip import beginning

# Without an estimate of the capacity, which a loaded machine may not give in two seconds.
FLAGS = ("--policy", "fixed", "--no-colours")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return beginning(tmp_path_factory.mktemp("clip") / "beginning.mp4", frames=60)


def send(clip: Path, to: RunningReceiver, *flags: str) -> str:
    """What the sender prints at its end."""
    done = run("sender", "--camera", str(clip), "--peer", to.address, *FLAGS, *flags)
    assert done.returncode == 0, done.stderr
    return done.stdout


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_session_over_a_channel(clip: Path, tmp_path: Path) -> None:
    with receiver(tmp_path / "out") as peer:
        send(clip, peer, "--channel", "awgn:4dB")
        send(clip, peer, "--channel", "rayleigh:4dB", "--channel-rate", "1/24")
        code, _ = peer.terminate()
    assert code == 0
    frames, channel = lines(tmp_path / "out/frames.jsonl"), tmp_path / "out/channel"
    assert sum(frame["session"] == 1 and len(frame["people"]) == 1 for frame in frames) == 60
    for number, kind, ratio in ((1, "awgn", 1 / 16), (2, "rayleigh", 1 / 24)):
        arrived = lines(channel / f"s{number}.jsonl")
        assert all((line["channel"], line["snr_db"]) == (kind, 4.0) for line in arrived)
        assert all(0.9 * ratio < line["channel_uses"] / (3 * 256**2) <= ratio for line in arrived)
        picture = np.asarray(Image.open(channel / arrived[0]["picture"]))
        assert picture.shape == (256, 256, 3) and picture.std() > 10
