"""Faces of the template that move: eyes turn, lids close, and an open mouth has teeth."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from common.arrays import FloatArray, IntArray
from common.body.anatomy import JOINT_INDEX
from common.body.model import BodyParameters, axis_angle_to_matrix
from receiver.body.skinning import BodySkin, Teeth, mouth_loops
from receiver.export.rigging import load_body_skin
from receiver.mesh.body_file import parse_body
from receiver.mesh.mesh_files import to_y_up
from receiver.mesh.skinned_glb import PosedBody, encode_body
from receiver.outfits.dressing import Dresser, Shells
from tests.support.meshes.glb_reader import Glb
from tests.support.meshes.posed_templates import pose, templates
from tests.support.motion.expressive_people import activations
from tests.unit.receiver.outfits.test_mixture import sample, wears

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


@pytest.fixture(scope="module")
def dresser(skin: BodySkin) -> Dresser:
    return Dresser(skin.template, Shells.load())


def displaced(dresser: Dresser, bottom: str, fit: str = "loose", identity: int = 3) -> Tensor:
    worn = sample(wears(bottom={bottom: 1.0}, bottom_fit={fit: 1.0}, layer={"top": 1.0}), identity)
    return torch.from_numpy(dresser.dress(worn).displacement)


def striding(share: float = 1.0) -> BodyParameters:
    turns = torch.zeros(1, 22, 3)
    turns[0, JOINT_INDEX["upperleg01.L"], 0], turns[0, JOINT_INDEX["upperleg01.R"], 0] = 0.5 * share, -0.4 * share
    return dataclasses.replace(BodyParameters.rest(), rotations=axis_angle_to_matrix(turns))


def gap_m(skin: BodySkin, rest: FloatArray, posed: FloatArray) -> float:
    """How far the halves of a skirt, which lie together in its front middle, are apart."""
    middle = (np.abs(rest[:, 0]) < 0.03) & (rest[:, 2] < -0.05) & (np.abs(rest[:, 1] - 0.35) < 0.06)
    left, right = (middle & (skin.template.rest[:, 0] * side > 0) for side in (1, -1))
    return float(np.abs(posed[left, 2].mean() - posed[right, 2].mean()))


def test_a_skirt_stays_whole_in_a_stride(skin: BodySkin, dresser: Dresser) -> None:
    skirt = displaced(dresser, "skirt_long")
    body = pose(skin, templates(skin, striding(), [skin.span.clothes(skirt)]))
    own = skin.template.posed(skin.model, striding(), skirt[None]).vertices[0].numpy()
    rest = skin.template.rest + skirt.numpy()
    assert gap_m(skin, rest, body.mesh.vertices) < 0.04 < 0.2 < gap_m(skin, rest, own)


@pytest.mark.parametrize("identity", [1, 3, 5])
def test_short_and_tight_skirts_span_the_legs_too(skin: BodySkin, dresser: Dresser, identity: int) -> None:
    shares = skin.span.shares(displaced(dresser, "skirt_short", "tight", identity))
    assert int((shares > 0.5).sum()) >= 60


def posed_by_others(skin: BodySkin, bound: PosedBody, wanted: PosedBody) -> FloatArray:
    """(V', 3) the file of a body in the pose of another one, as other programs skin it; camera axes."""
    file = Glb(encode_body(bound, skin.skeleton))
    rotations = parse_body(encode_body(wanted, skin.skeleton)).pose.rotations
    for node, rotation in zip(file.document["skins"][0]["joints"], rotations, strict=True):
        file.document["nodes"][node]["rotation"] = rotation.tolist()
    return np.asarray(to_y_up(file.skinned_vertices()), np.float32)


@pytest.mark.parametrize("bottom", ["skirt_long", "trousers"])
def test_other_programs_pose_a_published_body_alike(skin: BodySkin, dresser: Dresser, bottom: str) -> None:
    worn = [skin.span.clothes(displaced(dresser, bottom))]
    standing, wanted = (pose(skin, templates(skin, striding(share), worn)) for share in (0.0, 1.0))
    error_mm = 1e3 * np.linalg.norm(posed_by_others(skin, standing, wanted) - wanted.mesh.vertices, axis=1)
    # A file has four weights of a vertex, the body model up to seven.
    assert np.quantile(error_mm, 0.99) < 2 and error_mm.max() < 8


def test_a_skirt_that_is_bound_in_a_stride_stays_whole_in_the_opposite_one(skin: BodySkin, dresser: Dresser) -> None:
    skirt = displaced(dresser, "skirt_long")
    bound, wanted = (pose(skin, templates(skin, striding(share), [skin.span.clothes(skirt)])) for share in (-1.0, 1.0))
    assert gap_m(skin, skin.template.rest + skirt.numpy(), posed_by_others(skin, bound, wanted)) < 0.04


def test_trousers_follow_their_own_leg_only(skin: BodySkin, dresser: Dresser) -> None:
    trousers = displaced(dresser, "trousers")
    worn = skin.span.clothes(trousers)
    output = templates(skin, striding(), [worn])
    own = skin.template.posed(skin.model, striding(), trousers[None]).vertices
    assert worn.shares is None and output.reweighted == (None,)
    torch.testing.assert_close(output.vertices, own, rtol=0, atol=1e-6)


@pytest.mark.parametrize("bottom", ["skirt_long", "skirt_short", "trousers"])
def test_shares_are_those_of_the_published_weights(skin: BodySkin, dresser: Dresser, bottom: str) -> None:
    worn = skin.span.clothes(displaced(dresser, bottom))
    skeleton = skin.skeleton if worn.reweighted is None else skin.skeleton.reweighted(worn.reweighted)
    found = skin.span.shares_of(skeleton)
    shares = np.zeros_like(found) if worn.shares is None else worn.shares.numpy()
    # Where the published weights of both legs are equal, every share is right.
    np.testing.assert_allclose((found - shares)[:, None] * skin.span.change.numpy(), 0, atol=0.02)
    assert worn.shares is not None or not found.any()


def test_displacements_follow_the_bones(skin: BodySkin) -> None:
    turned = BodyParameters.rest(1)
    turned.rotations[:, 0] = axis_angle_to_matrix(torch.tensor([[0.0, 0.0, torch.pi / 2]]))
    worn = [skin.span.clothes(torch.tensor([0.02, 0.0, 0.0]).expand(len(skin.template), 3))]
    with torch.no_grad():
        moved = templates(skin, turned, worn).vertices - templates(skin, turned).vertices
    torch.testing.assert_close(moved, torch.tensor([0.0, 0.02, 0.0]).expand_as(moved), rtol=0, atol=1e-4)
