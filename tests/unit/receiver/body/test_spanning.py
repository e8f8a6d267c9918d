"""Cloth that spans both legs follows both of them, on the published body and on the surface."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from common.arrays import FloatArray
from common.body.anatomy import JOINT_INDEX
from common.body.model import BodyModel, BodyParameters, axis_angle_to_matrix
from receiver.body.skinning import BodySkin
from receiver.mesh.body_file import parse_body
from receiver.mesh.mesh_files import to_y_up
from receiver.mesh.skinned_glb import PosedBody, encode_body
from receiver.outfits.dressing import Dresser, Shells
from tests.support.meshes.glb_reader import Glb
from tests.support.meshes.posed_templates import pose, templates
from tests.unit.receiver.outfits.test_mixture import sample, wears


@pytest.fixture(scope="module")
def skin() -> BodySkin:
    return BodySkin.from_model(BodyModel.load())


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
