"""Round trips of the label space: complete labels, prefixes, and missing groups."""

import pytest
import torch
from torch import Tensor

from common.body.anatomy import FINGER_BONES
from common.body.label_space import LabelSpace, SurfaceSpace
from common.body.model import BodyModel, BodyParameters, axis_angle_to_matrix
from common.body.template import BodyTemplate
from common.labels import LABEL_SIZE, group_slices
from common.synthetic.motion.poses import PoseSampler


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


@pytest.fixture(scope="module")
def people(body: BodyModel) -> BodyParameters:
    poses = PoseSampler("test", 20_000_000).sample(200)
    rotations = axis_angle_to_matrix(torch.from_numpy(poses.rotation_vectors))
    translation = torch.tensor([0.3, -0.1, 3.5]).expand(200, 3)
    return BodyParameters(rotations, torch.from_numpy(poses.curl), body.shape_table[:200], translation)


def joint_error_mm(body: BodyModel, truth: BodyParameters, decoded: BodyParameters) -> float:
    difference = body.forward_kinematics(truth)[0] - body.forward_kinematics(decoded)[0]
    return float(1000 * difference[:, :22].norm(dim=-1).mean())


def test_complete_labels_round_trip(body: BodyModel, space: LabelSpace, people: BodyParameters) -> None:
    decoded = space.decode(space.encode(people))
    assert joint_error_mm(body, people, decoded) < 6
    torch.testing.assert_close(decoded.translation, people.translation, atol=1e-4, rtol=0)


def test_colours_in_the_label_space_round_trip(space: LabelSpace, people: BodyParameters) -> None:
    colours = space.decode_colours(
        torch.randn(len(people), LABEL_SIZE, generator=torch.Generator().manual_seed(1)) * 0.3
    )
    again = space.decode_colours(space.encode(people, colours))
    torch.testing.assert_close(again, colours, atol=0.02, rtol=0)


def finger_vectors(space: LabelSpace, body: BodyModel, labels: Tensor) -> Tensor:
    """(B, 30, 3) rotation vectors of the phalanges of labels."""
    base, directions = space.rotation_vectors(body)
    return (base + labels @ directions).reshape(len(labels), -1, 3)[:, -len(FINGER_BONES) :]


def test_fingers_are_added_to_the_curls(body: BodyModel, space: LabelSpace) -> None:
    generator = torch.Generator().manual_seed(4)
    labels, fingers = torch.zeros(6, LABEL_SIZE), slice(group_slices()["left_fingers"].start, None)
    even = finger_vectors(space, body, labels)
    labels[:, fingers] = torch.randn(6, 16, generator=generator)
    vectors = finger_vectors(space, body, labels)
    assert (vectors - even).norm(dim=-1).mean() > 0.1
    curls, entries = space.encode_fingers(vectors, body)
    torch.testing.assert_close(entries, labels[:, fingers], atol=1e-3, rtol=0)
    torch.testing.assert_close(curls, space.decode(torch.zeros(6, LABEL_SIZE)).curl, atol=1e-4, rtol=0)


def test_the_right_hand_is_the_mirror_image_of_the_left(body: BodyModel, space: LabelSpace) -> None:
    labels = torch.zeros(2, LABEL_SIZE)
    entries = torch.randn(8, generator=torch.Generator().manual_seed(5))
    even = finger_vectors(space, body, labels)[0]
    labels[0, group_slices()["left_fingers"]] = labels[1, group_slices()["right_fingers"]] = entries
    left, right = finger_vectors(space, body, labels) - even
    half = len(FINGER_BONES) // 2
    torch.testing.assert_close(left[:half] * torch.tensor([1.0, -1.0, -1.0]), right[half:])
    assert not left[half:].any() and not right[:half].any()


def test_zero_is_the_average_and_each_entry_adds_its_displacement() -> None:
    space, template = SurfaceSpace.load(), BodyTemplate.from_model(BodyModel.load())
    assert space.mean.shape == template.rest.shape
    decoded = space.decode(2 * torch.eye(len(space.basis)) - torch.eye(len(space.basis))[:1])
    torch.testing.assert_close(space.decode(torch.zeros(1, len(space.basis)))[0], space.mean)
    torch.testing.assert_close(decoded[1], space.mean + 2 * space.basis[1] - space.basis[0], atol=1e-6, rtol=0)
