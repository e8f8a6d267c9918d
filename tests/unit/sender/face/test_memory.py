"""What is remembered of a face, with a network that reads its first components."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from common.arrays import FloatArray
from common.body.anatomy import FACIAL_ACTIONS
from sender.face.actions import FaceActions, FaceActionsConfig
from sender.face.face_reader import FaceMemory
from sender.face.landmarks import FEATURES, AlignedFace

JAW, CLOSE, SMILE, BROW, LEFT, RIGHT = (
    FACIAL_ACTIONS.index(name)
    for name in ("jawOpen", "mouthClose", "mouthSmileLeft", "browDownLeft", "eyeBlinkLeft", "eyeBlinkRight")
)
FPS = 30


class Copying(FaceActions):
    """Readings are the first features; those of the jaw and the lids, distances as well."""

    def __init__(self) -> None:
        super().__init__(FaceActionsConfig(components=52, width=8))
        self.basis.copy_(torch.eye(FEATURES, 52))

    def forward(self, differences: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
        return differences


@pytest.fixture
def network() -> Copying:
    return Copying()


def seen(network: FaceActions, frames: list[dict[int, float]], yaw: float = 0.0, fps: int = FPS) -> list[FloatArray]:
    """The steady activations (52,) of frames with some features."""
    memory, found = FaceMemory(network.neutral), []
    rotation = Rotation.from_euler("y", yaw).as_matrix().astype(np.float32)
    for number, values in enumerate(frames):
        features = np.zeros(FEATURES, np.float32)
        features[list(values)] = list(values.values())
        closed = features[[LEFT, RIGHT]]
        face = AlignedFace(features, rotation, 1000.0, 23 * float(features[JAW]), 6.4 * (1 - closed))
        memory.read(network, face, number / fps)
        found.append(memory.activations)
    return found


def test_blink_of_three_frames_passes(network: Copying) -> None:
    lids = [frame[LEFT] for frame in seen(network, [{}] * 30 + [{LEFT: 0.9, RIGHT: 0.9}] * 3 + [{}] * 5)]
    assert max(lids[30:33]) > 0.8
    assert lids[34] < 0.1


def test_lips_that_touch_shut_the_mouth_within_a_second(network: Copying) -> None:
    """Of somebody with a long lower lip, whose landmarks are apart."""
    jaw = [frame[JAW] for frame in seen(network, [{JAW: 0.12}] * FPS)]
    assert jaw[-1] < 0.02


@pytest.mark.parametrize("action", [SMILE, BROW])
def test_what_lasts_from_the_first_second_on_is_rest(network: Copying, action: int) -> None:
    found = [frame[action] for frame in seen(network, [{action: 0.35}] * FPS + [{action: 0.8}] * 10)]
    assert found[0] > 0.2 and found[FPS - 1] < 0.05
    assert found[-1] > 0.5


def test_who_talks_from_the_first_frame_is_not_silenced(network: Copying) -> None:
    words = [{JAW: 0.25 + 0.25 * np.sin(2 * np.pi * 3 * number / FPS)} for number in range(20 * FPS)]
    jaw = np.array([frame[JAW] for frame in seen(network, words)])
    for span in (jaw[:FPS], jaw[-FPS:]):
        assert span.max() > 0.35 and span.min() < 0.05


def test_mouth_that_is_held_open_stays_open(network: Copying) -> None:
    jaw = [frame[JAW] for frame in seen(network, [{}] * FPS + [{JAW: 0.5}] * (60 * FPS))]
    assert jaw[-1] > 0.3 and max(jaw) - jaw[-1] < 0.15


def test_lids_that_are_apart_are_no_blink_whatever_the_network_reads(network: Copying) -> None:
    memory = FaceMemory(network.neutral)
    for number in range(FPS + 10):
        features = np.zeros(FEATURES, np.float32)
        features[[LEFT, RIGHT]] = 0.8 * (number >= FPS)
        face = AlignedFace(features, np.eye(3, dtype=np.float32), 1000.0, 0.0, np.full(2, 6.4, np.float32))
        memory.read(network, face, number / FPS)
        assert memory.activations[LEFT] < 0.05


@pytest.mark.parametrize("fps", [30, 240])
def test_faces_follow_as_fast_at_any_frame_rate(network: Copying, fps: int) -> None:
    smile: list[dict[int, float]] = [{}] * fps + [{SMILE: 0.15}] * fps
    found = seen(network, smile, fps=fps)
    assert found[fps + fps // 10][SMILE] == pytest.approx(0.052, abs=0.008)
