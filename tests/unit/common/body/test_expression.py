"""Facial actions and the label entries that stand for them."""

import pytest
import torch

from common.body.anatomy import FACIAL_ACTIONS
from common.body.faces import ENTRIES, ExpressionSpace
from common.labels import LABEL_SIZE

SPACE = ExpressionSpace.load()


def shown(**actions: float) -> dict[str, float]:
    """The actions above 0.05 that come back from the labels of these."""
    activations = torch.zeros(1, len(FACIAL_ACTIONS))
    for action, value in actions.items():
        activations[0, FACIAL_ACTIONS.index(action)] = value
    labels = torch.zeros(1, LABEL_SIZE)
    labels[:, ENTRIES] = SPACE.encode(activations)
    back = SPACE.activations(labels)[0].tolist()
    return {action: value for action, value in zip(FACIAL_ACTIONS, back, strict=True) if value > 0.05}


@pytest.mark.parametrize(
    "actions",
    [
        {"eyeBlinkLeft": 1.0},
        {"eyeBlinkRight": 0.6},
        {"eyeWideLeft": 0.7, "eyeWideRight": 0.7},
        {"eyeLookOutLeft": 0.8, "eyeLookInRight": 0.8},
        {"eyeLookUpLeft": 0.5, "eyeLookUpRight": 0.5},
        {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0, "eyeLookInLeft": 0.3, "eyeLookOutRight": 0.3},
    ],
)
def test_lids_and_gaze_come_back(actions: dict[str, float]) -> None:
    assert shown(**actions) == pytest.approx(actions, abs=1e-5)


def test_large_movements_of_the_mouth_come_back() -> None:
    assert shown(jawOpen=0.8)["jawOpen"] == pytest.approx(0.8, abs=0.1)
    smile = shown(mouthSmileLeft=0.8, mouthSmileRight=0.8)
    assert min(smile["mouthSmileLeft"], smile["mouthSmileRight"]) > 0.6
    assert max(value for action, value in smile.items() if "Smile" not in action) < 0.25
