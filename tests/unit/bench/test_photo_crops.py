"""Keypoints of people in their annotated boxes, of perception and of another program on the same crops."""

import sys
from pathlib import Path

import numpy as np
import pytest

from common.errors import UsageError
from common.frames import Camera
from sender.capture.source import CapturedFrame
from sender.perception.inference.predictor import Perception
from sender.perception.network.network import PerceptionConfig, PerceptionNet
from tests.bench import photo_crops
from tests.bench.photo_crops import BoxedPeople
from tests.bench.photo_scores import AnnotatedPerson

ECHO = """
import io, sys
import numpy as np
crops = np.load(io.BytesIO(sys.stdin.buffer.read()))["crops"]
keypoints = np.full((len(crops), 17, 2), 0.5, np.float32)
keypoints[crops.mean(axis=(1, 2, 3)) < 1] = np.nan
output = io.BytesIO()
np.savez(output, keypoints=keypoints)
sys.stdout.buffer.write(output.getvalue())
"""


def people(brightness: int = 90) -> BoxedPeople:
    """Two people in a picture of 200 × 200, whose keypoints lie on a diagonal through the middle of the box."""
    image = np.full((200, 200, 3), brightness, np.uint8)
    annotated = []
    for left in (20, 120):
        line = np.linspace(0, 60, 17)
        keypoints = np.stack([left + line, 60 + line], axis=1)
        box = np.array([left, 60, left + 60, 120], np.float32)
        annotated.append(AnnotatedPerson(keypoints, np.arange(17) != 3, box))
    frame = CapturedFrame(0, "photo_000012.jpg", 0.0, 0.0, image, Camera(200, 200, 240.0))
    return BoxedPeople([frame], {12: annotated})


def test_pck_and_its_standard_error() -> None:
    boxed = people()
    true = [person.keypoints.astype(np.float32) for _, _, person in boxed._people]
    assert boxed.figures(true)["pck05"] == 1.0
    shifted = [true[0], true[1] + np.array([0.07 * 60, 0], np.float32)]
    figures = boxed.figures(shifted)
    assert (figures["people"], figures["pck05"], figures["pck10"]) == (2, 0.5, 1.0)
    # The mean of one person with all keypoints and one with none.
    assert figures["pck05_standard_error"] == pytest.approx(0.5, abs=0.01)
    assert figures["pck10_standard_error"] == 0
    assert boxed.figures([true[0], np.full((17, 2), np.nan, np.float32)])["pck20"] == 0.5


def test_peer_gets_the_crops_and_its_keypoints_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "echo.py").write_text(ECHO)
    monkeypatch.setattr(photo_crops, "_PEER", tmp_path / "echo.py")
    found = people().of_peer(Path(sys.executable))
    assert found[0][0] == pytest.approx([50, 90], abs=1)
    assert found[1][16] == pytest.approx([150, 90], abs=1)
    dark = people(brightness=0)
    assert np.isnan(dark.of_peer(Path(sys.executable))[0]).all()
    assert dark.figures(dark.of_peer(Path(sys.executable)))["pck20"] == 0


def test_peer_that_cannot_be_run_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"--peer .*missing.*pip install mediapipe"):
        people().of_peer(tmp_path / "missing")
    (tmp_path / "echo.py").write_text("raise SystemExit(3)")
    monkeypatch.setattr(photo_crops, "_PEER", tmp_path / "echo.py")
    with pytest.raises(UsageError, match="exit status 3"):
        people().of_peer(Path(sys.executable))


def test_perception_sees_each_person_in_the_crop_around_the_box() -> None:
    perception = Perception(PerceptionNet(PerceptionConfig(size=32, width=24, depth=2, quarter=16, eighth=16)))
    found = people().perceived(perception)
    for keypoints, left in zip(found, (20, 120), strict=True):
        middle = keypoints.mean(axis=0)
        assert left - 10 < middle[0] < left + 70 and 50 < middle[1] < 130
