"""Cloth that spans both legs follows both of them."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from common.arrays import FloatArray
from common.body.anatomy import JOINT_INDEX
from common.body.model import BodyModel, BodyParameters
from common.body.rotations import axis_angle_to_matrix
from receiver.body.skinning import BodySkin
from receiver.outfits.dressing import Dresser
from receiver.outfits.shells import Shells
from tests.unit.receiver.outfits.test_mixture import sample, wears


@pytest.fixture(scope="module")
def skin() -> BodySkin:
    return BodySkin.from_model(BodyModel.load())


@pytest.fixture(scope="module")
def dresser(skin: BodySkin) -> Dresser:
    return Dresser(skin.template, Shells.load())


def displaced(dresser: Dresser, bottom: str) -> Any:
    worn = sample(wears(bottom={bottom: 1.0}, bottom_fit={"loose": 1.0}, layer={"top": 1.0}), 3)
    return torch.from_numpy(dresser.dress(worn).displacement)[None]


def striding() -> BodyParameters:
    turns = torch.zeros(1, 22, 3)
    turns[0, JOINT_INDEX["upperleg01.L"], 0], turns[0, JOINT_INDEX["upperleg01.R"], 0] = 0.5, -0.4
    return dataclasses.replace(BodyParameters.rest(), rotations=axis_angle_to_matrix(turns))


def gap_m(skin: BodySkin, rest: FloatArray, posed: FloatArray) -> float:
    """How far the halves of a skirt, which lie together in its front middle, are apart."""
    middle = (np.abs(rest[:, 0]) < 0.03) & (rest[:, 2] < -0.05) & (np.abs(rest[:, 1] - 0.35) < 0.06)
    left, right = (middle & (skin.template.rest[:, 0] * side > 0) for side in (1, -1))
    return float(np.abs(posed[left, 2].mean() - posed[right, 2].mean()))


def test_a_skirt_stays_whole_in_a_stride(skin: BodySkin, dresser: Dresser) -> None:
    skirt = displaced(dresser, "skirt_long")
    output = skin.templates(striding(), skirt)
    body = skin.pose(output)
    rest = skin.template.rest + skirt[0].numpy()
    torn, whole = (gap_m(skin, rest, each) for each in (body.mesh.vertices, body.outer_vertices))
    assert whole < 0.04 < 0.2 < torn


def test_nothing_spans_the_legs_of_trousers(skin: BodySkin, dresser: Dresser) -> None:
    assert skin.templates(striding(), displaced(dresser, "trousers")).spanned is None
    assert skin.templates(striding()).spanned is None


def test_a_skirt_at_rest_lies_where_it_is_displaced_to(skin: BodySkin, dresser: Dresser) -> None:
    body = skin.pose(skin.templates(BodyParameters.rest(), displaced(dresser, "skirt_long")))
    np.testing.assert_allclose(body.outer_vertices, body.mesh.vertices, atol=1e-5)
