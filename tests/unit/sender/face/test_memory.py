"""What is remembered of a face, with a network that reads its first components."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from common.arrays import FloatArray
from common.body.anatomy import FACIAL_ACTIONS
from sender.face.actions import FaceActions, FaceActionsConfig
from sender.face.alignment import FEATURES, AlignedFace
from sender.face.memory import FaceMemory

JAW, LEFT, RIGHT = (FACIAL_ACTIONS.index(name) for name in ("jawOpen", "eyeBlinkLeft", "eyeBlinkRight"))
FPS = 30


class Copying(FaceActions):
    """Components and activations are the first features, and actions do what they say."""

    def __init__(self) -> None:
        super().__init__(FaceActionsConfig(components=52, width=8))
        self.basis.copy_(torch.eye(FEATURES, 52))
        self.effects.copy_(torch.eye(52))

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
        memory.read(network, AlignedFace(features, rotation, 1000.0), number / fps)
        found.append(memory.activations)
    return found


def test_blink_of_three_frames_passes(network: Copying) -> None:
    lids = [frame[LEFT] for frame in seen(network, [{}] * 30 + [{LEFT: 0.9, RIGHT: 0.9}] * 3 + [{}] * 5)]
    assert max(lids[30:33]) > 0.8
    assert lids[34] < 0.1


def test_jitter_is_smoothed(network: Copying) -> None:
    rng = np.random.default_rng(0)
    raw = 0.5 + rng.normal(0, 0.03, 200)
    steady = [frame[JAW] for frame in seen(network, [{JAW: value} for value in raw])]
    assert np.abs(np.diff(steady[5:])).mean() < 0.25 * np.abs(np.diff(raw)).mean()


def test_what_stays_becomes_the_neutral_face(network: Copying) -> None:
    narrow = [frame[LEFT] for frame in seen(network, [{LEFT: 0.4}] * (90 * FPS))]
    assert narrow[2 * FPS] > 0.25
    assert narrow[-1] < 0.15


@pytest.mark.parametrize(("yaw", "lids"), [(0.0, (0.8, 0.2)), (0.7, (0.8, 0.8)), (-0.7, (0.2, 0.2))])
def test_lids_of_a_turned_head_are_those_of_the_nearer_eye(
    network: Copying, yaw: float, lids: tuple[float, float]
) -> None:
    found = seen(network, [{LEFT: 0.8, RIGHT: 0.2}], yaw)[0]
    assert (found[LEFT], found[RIGHT]) == pytest.approx(lids, abs=0.02)


@pytest.mark.parametrize("fps", [30, 60, 240])
def test_faces_follow_as_fast_at_any_frame_rate(network: Copying, fps: int) -> None:
    smile: list[dict[int, float]] = [{}] * fps + [{JAW: 0.08}] * fps
    found = seen(network, smile, fps=fps)
    assert found[fps + fps // 10][JAW] == pytest.approx(0.048, abs=0.008)
