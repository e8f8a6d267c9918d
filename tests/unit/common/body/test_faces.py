"""The facial actions: each moves its part of the face, on its side, in its direction."""

import pytest
import torch

from common.body.anatomy import COCO_KEYPOINTS, FACIAL_ACTIONS, REGION_INDEX
from common.body.faces import ENTRIES, ExpressionSpace, load_facial_actions
from common.body.model import BodyModel
from common.labels import LABEL_SIZE

DOWN, UP = 1.0, -1.0


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


def test_all_actions_move_the_head_alone_by_centimetres(body: BodyModel) -> None:
    actions = load_facial_actions(len(body.vertex_region))
    assert tuple(actions) == FACIAL_ACTIONS
    on_head = torch.isin(body.vertex_region, torch.tensor([REGION_INDEX["face"], REGION_INDEX["scalp"]]))
    for name, displacement in actions.items():
        distance = displacement.norm(dim=-1)
        assert 0.002 < distance.max() < 0.05, name
        assert distance[~on_head].max() < 0.02, name
        assert distance[on_head].sum() > 0.9 * distance.sum(), name


@pytest.mark.parametrize(
    ("name", "keypoint", "below_m", "direction"),
    [
        ("jawOpen", "nose", 0.07, DOWN),
        ("mouthSmileLeft", "nose", 0.04, UP),
        ("eyeBlinkLeft", "left_eye", 0.0, DOWN),
        ("eyeBlinkRight", "right_eye", 0.0, DOWN),
        ("browOuterUpRight", "right_eye", -0.02, UP),
    ],
)
def test_action_moves_its_part_of_the_face(
    body: BodyModel, name: str, keypoint: str, below_m: float, direction: float
) -> None:
    rest = body.rest_vertices[0]
    place = body.coco_keypoints(rest[None])[0, COCO_KEYPOINTS.index(keypoint)]
    displacement = load_facial_actions(len(body.vertex_region))[name]
    moved = rest[displacement.norm(dim=-1).topk(100).indices]
    assert (moved.mean(dim=0) - place)[1].item() == pytest.approx(below_m, abs=0.03)
    side_m = moved[:, 0].mean().item()
    assert side_m > 0.01 if name.endswith("Left") else side_m < -0.01 if name.endswith("Right") else abs(side_m) < 0.01
    assert direction * displacement[:, 1].sum() > 0


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
