"""What is learnt of a person's head, with faces that the linear model makes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from common.arrays import FloatArray
from common.body.model import BodyParameters, KeypointKinematics
from common.frames import Camera
from sender.face.actions import FaceActions
from sender.face.head import FRONT, HeadMemory, HeadPoseReader, HeadReading
from sender.face.landmarks import AlignedFace
from tests.support.pictures.shown_heads import shown_head

SHAPE, NEUTRAL = np.zeros(10, np.float32), np.zeros(52, np.float32)
STEP_S = 1 / 30
NETWORK, READING = FaceActions.load().requires_grad_(False), HeadReading.load()


def face_of(entries: FloatArray, shape: FloatArray = SHAPE, noise: float = 0.0) -> AlignedFace:
    """A frontal face of 84 pixels whose components are those that the model gives for a head."""
    rest = READING.mean + shape @ READING.by_shape + entries @ READING.by_head
    rest = rest + noise * np.random.default_rng(0).standard_normal(len(rest))
    z = np.linalg.solve(READING.whitening.T.astype(np.float64), rest)
    features = NETWORK.mean.numpy() + z @ np.linalg.pinv(NETWORK.basis.numpy().astype(np.float64))
    return AlignedFace(features.astype(np.float32), np.eye(3, dtype=np.float32), 600.0)


def learnt(faces: list[AlignedFace]) -> HeadMemory:
    memory = HeadMemory.unknown(READING)
    for face in faces:
        memory.look(READING, NETWORK, face, NEUTRAL, STEP_S)
    return memory


def some_head() -> FloatArray:
    return np.random.default_rng(1).standard_normal(16).astype(np.float32)


def test_a_head_is_found_and_many_looks_tell_more_than_one() -> None:
    head = some_head()
    face = face_of(head)
    one, many = (learnt([face] * count).entries(READING, SHAPE) for count in (1, 60))
    assert one is not None and many is not None
    assert np.corrcoef(many, head)[0, 1] > 0.8
    assert np.linalg.norm(one) < np.linalg.norm(many) < 1.1 * np.linalg.norm(head)


def test_what_shape_says_of_a_head_is_not_said_again() -> None:
    heavy = np.zeros(10, np.float32)
    heavy[2] = 2.0
    memory = learnt([face_of(0 * some_head(), heavy)] * 60)
    entries = memory.entries(READING, heavy)
    assert entries is not None
    assert np.abs(entries).max() < 0.05


def test_half_of_an_expression_is_no_part_of_the_head_and_such_a_look_tells_less() -> None:
    acting = NEUTRAL.copy()
    acting[[17, 30]] = 0.8
    at_rest = face_of(some_head())
    moved = (torch.from_numpy(acting) @ NETWORK.effects).numpy() @ np.linalg.pinv(NETWORK.basis.numpy())
    acted = replace(at_rest, features=at_rest.features + moved.astype(np.float32))
    neutral, known, unknown = (HeadMemory.unknown(READING) for _ in range(3))
    neutral.look(READING, NETWORK, at_rest, NEUTRAL, STEP_S)
    known.look(READING, NETWORK, acted, acting, STEP_S)
    unknown.look(READING, NETWORK, acted, NEUTRAL, STEP_S)
    np.testing.assert_allclose(known.rest, (neutral.rest + unknown.rest) / 2, atol=0.1)
    assert known.looks < neutral.looks


def test_one_bad_look_hardly_changes_a_head() -> None:
    face = face_of(some_head())
    memory = learnt([face] * 60)
    before = memory.rest
    memory.look(READING, NETWORK, replace(face, features=face.features + 30.0), NEUTRAL, STEP_S)
    assert np.sqrt(np.square(memory.rest - before).mean()) < 0.1


def test_entries_that_were_sent_stay_until_the_head_looks_another() -> None:
    memory = learnt([face_of(some_head())] * 60)
    first = memory.entries(READING, SHAPE)
    memory.look(READING, NETWORK, face_of(some_head(), noise=0.3), NEUTRAL, STEP_S)
    assert memory.entries(READING, SHAPE) is first
    other = face_of(-some_head())
    for _ in range(600):
        memory.look(READING, NETWORK, other, NEUTRAL, STEP_S)
    assert memory.entries(READING, SHAPE) is not first


CAMERA = Camera(640, 480, 700.0)
PLACE = (0.05, -0.04, 0.7)


@pytest.fixture(scope="module")
def reader() -> HeadPoseReader:
    return HeadPoseReader.load()


@pytest.mark.parametrize("turned_deg", [0.0, 30.0])
def test_head_is_read_where_it_is(reader: HeadPoseReader, kinematics: KeypointKinematics, turned_deg: float) -> None:
    turn = Rotation.from_euler("y", turned_deg, degrees=True).as_matrix()
    keypoints = kinematics(BodyParameters.rest())[0][0, :5].numpy().astype(np.float64)
    head = reader(shown_head(CAMERA, PLACE, turn))
    found = head.in_camera(CAMERA)
    expected = (keypoints - keypoints[0]) @ turn.T
    # Landmarks are of a camera without perspective.
    np.testing.assert_allclose(found - found[0], expected, atol=0.012)
    assert found[:FRONT, 2].mean() == pytest.approx(PLACE[2], abs=0.03)
    seen = np.array([320, 240]) + 700 * found[:FRONT, :2] / found[:FRONT, 2:]
    np.testing.assert_allclose(seen, head.keypoints[:FRONT], atol=0.5)
