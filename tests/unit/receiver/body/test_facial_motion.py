"""Faces of the template that move: eyes turn, lids close, and an open mouth has teeth."""

import numpy as np
import pytest
import torch

from common.arrays import FloatArray, IntArray
from common.body.model import BodyParameters
from receiver.body.skinning import BodySkin, Teeth, mouth_loops
from receiver.export.rigging import load_body_skin
from tests.support.meshes.posed_templates import templates
from tests.support.motion.expressive_people import activations

LEFT_MM, UP_MM = (1e3, 0, 0), (0, -1e3, 0)


@pytest.fixture(scope="module")
def skin() -> BodySkin:
    return load_body_skin()[1]


def moved(skin: BodySkin, **actions: float) -> FloatArray:
    """(V', 3) how an expression moves the template at rest, metres."""
    face = skin.skinning.face
    moves = np.zeros((len(skin.template), 3), np.float32)
    moves[face.moved] = face(activations(actions))[0]
    return moves


def irises(skin: BodySkin) -> list[IntArray]:
    return [skin.template.place[loop] for loop in skin.model.eyes[:, -1].numpy()]


def test_face_without_activations_is_the_bare_template(skin: BodySkin) -> None:
    parameters = BodyParameters.rest(2)
    with torch.inference_mode():
        bare = templates(skin, parameters).vertices
        faces = torch.cat([activations({}), activations({"jawOpen": 1.0})])
        shown = templates(skin, parameters, activations=faces).vertices
    assert torch.equal(shown[0], bare[0])
    assert (shown[1] - bare[1]).norm(dim=1).max() > 0.03


@pytest.mark.parametrize(
    ("actions", "axis"),
    [
        ({"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0}, LEFT_MM),
        ({"eyeLookUpLeft": 1.0, "eyeLookUpRight": 1.0}, UP_MM),
    ],
)
def test_both_eyes_look_the_same_way(skin: BodySkin, actions: dict[str, float], axis: tuple[float, ...]) -> None:
    moves = moved(skin, **actions)
    for iris in irises(skin):
        along_mm = moves[iris] @ np.array(axis)
        assert along_mm == pytest.approx(along_mm.mean(), abs=0.5), "irises stay round"
        assert 2.5 < along_mm.mean() < 7


def test_closed_lids_meet_and_the_other_eye_stays(skin: BodySkin) -> None:
    moves = moved(skin, eyeBlinkLeft=1.0)
    loops = (skin.model.eyes[eye, loop].numpy() for eye, loop in ((0, 0), (0, -1), (1, 0)))
    lids, left, right = (skin.template.place[loop] for loop in loops)
    height = skin.template.rest[lids, 1]
    upper = lids[height < np.median(height)]
    assert moves[upper, 1].max() > 0.008 and np.abs(moves[left]).max() < 1e-4 and np.abs(moves[right]).max() < 1e-3


def test_upper_teeth_belong_to_the_skull_and_lower_ones_to_the_jaw(skin: BodySkin) -> None:
    teeth = Teeth.from_loops(skin.template, mouth_loops(skin.model, skin.template))
    whole = teeth.shares == 1
    closed, opened = moved(skin, mouthSmileLeft=0.01), moved(skin, jawOpen=1.0)
    for part, moves in ((teeth.upper, 0.0), (~teeth.upper, 0.022)):
        vertices = teeth.vertices[whole & part]
        drop_m = (opened - closed)[vertices, 1]
        assert drop_m.min() > moves - 0.001 and np.ptp(drop_m) < 0.01
    front = skin.template.rest[mouth_loops(skin.model, skin.template)[0], 2].min()
    assert (teeth.places[:, 2] > front + 0.004).all(), "behind the lips"
