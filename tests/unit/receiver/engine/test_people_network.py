"""All of a batch's people in one pass: the same as part by part, in few operations."""

from functools import partial

import pytest
import torch
from scipy import sparse
from torch import Tensor

from common.body.label_space import LabelSpace
from common.body.model import BodyModel, KeypointKinematics, skin
from common.labels import LABEL_SIZE, group_slices
from receiver.body.skinning import BodySkin
from receiver.engine.reconstructor import BonesNetwork, PeopleNetwork
from receiver.surface.binding import SurfaceCarrying

PEOPLE = 3


@pytest.fixture(scope="module")
def body() -> BodySkin:
    return BodySkin.from_model(BodyModel.load())


@pytest.fixture(scope="module")
def network(body: BodySkin) -> PeopleNetwork:
    bones = BonesNetwork(LabelSpace.load(), KeypointKinematics(body.model))
    draw = partial(sparse.random, 50, density=0.01, format="csr", random_state=0)
    return PeopleNetwork(bones, body.skinning, SurfaceCarrying(draw(len(body.template)), draw(3 * 52))).eval()


def inputs(body: BodySkin, people: int = PEOPLE) -> tuple[Tensor, ...]:
    """People in random poses, shapes and clothes, without faces; the last one's spans the legs."""
    draw = partial(torch.randn, generator=torch.Generator().manual_seed(0))
    shares = torch.zeros(people, len(body.span.vertices))
    shares[-1] = 0.4
    labels = 0.5 * draw(people, LABEL_SIZE)
    labels[:, group_slices()["face"].start :] = 0
    return labels, 0.02 * draw(people, len(body.template), 3), shares, torch.zeros(people, 0)


def test_people_are_posed_as_the_body_model_poses_them(body: BodySkin, network: PeopleNetwork) -> None:
    labels, displacement, shares, activations = inputs(body)
    space, kinematics = LabelSpace.load(), KeypointKinematics(body.model)
    with torch.inference_mode():
        vertices, positions, rotations, keypoints, colours, _ = network(labels, displacement, shares, activations)
        parameters = space.decode(labels)
        posed = body.template.posed(body.model, parameters, displacement)
        legs = body.span.vertices
        rest, joints = body.model.rest(parameters.shape)
        moved = rest[:, body.template.kept][:, legs] + displacement[:, legs]
        change = skin(moved, joints, posed.joint_positions, posed.joint_rotations, body.span.change)
        posed.vertices[:, legs] += shares[..., None] * change
        expected = posed.vertices, posed.joint_positions, posed.joint_rotations, kinematics(parameters)[0]
        for one, other in zip((vertices, positions, rotations, keypoints), expected, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
        torch.testing.assert_close(colours, space.decode_colours(labels))
