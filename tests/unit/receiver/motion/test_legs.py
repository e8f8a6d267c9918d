"""Unseen legs below a pelvis that jitters."""

import numpy as np
import pytest

from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from receiver.motion.leg_chain import matrices_of, vectors_of
from receiver.motion.legs import Legs, Pelvis

SHAPE = np.zeros(10, np.float32)
PLACE = np.array([0.1, 0.2, 3.0])


@pytest.fixture(scope="module")
def legs() -> Legs:
    return Legs(LabelSpace.load(), BodyModel.load())


def pelvis(turn: tuple[float, float, float] = (0.0, 0.0, 0.0), moved_m: float = 0.0) -> Pelvis:
    return Pelvis(matrices_of(np.array(turn)), PLACE + np.array([moved_m, 0.0, 0.0]))


def test_rotations_are_the_inverse_of_their_vectors() -> None:
    vectors = np.random.default_rng(0).normal(size=(20, 3))
    assert np.allclose(vectors_of(matrices_of(vectors)), vectors)
    assert np.allclose(vectors_of(matrices_of(np.zeros((1, 3)))), 0)


def test_legs_of_the_held_pelvis_stay_as_they_are(legs: Legs) -> None:
    entries = np.random.default_rng(1).normal(scale=0.5, size=(2, 9))
    assert np.allclose(legs.entries(legs.vectors(entries)), entries)
    assert np.allclose(legs.standing(entries, SHAPE, pelvis(), pelvis()), entries, atol=1e-6)


def test_hips_turn_against_a_pelvis_that_turns(legs: Legs) -> None:
    entries = np.zeros((2, 9))
    turned = pelvis((0.05, 0.0, 0.02))
    hips = [
        turned.rotation @ matrices_of(legs.vectors(legs.standing(entries, SHAPE, pelvis(), turned))[:, 0]),
        matrices_of(legs.vectors(entries)[:, 0]),
    ]
    assert np.allclose(hips[0], hips[1], atol=0.02) and not np.allclose(turned.rotation, np.eye(3), atol=0.04)


def test_the_held_pelvis_follows_on_a_leash() -> None:
    held = pelvis()
    assert np.allclose(held.dragged(pelvis((0.0, 0.05, 0.0), 0.03)).position, PLACE)
    far = held.dragged(pelvis((0.0, 0.5, 0.0), 0.3))
    assert far.position[0] == pytest.approx(0.1 + 0.3 - 0.04)
    assert np.allclose(vectors_of(far.rotation), [0.0, 0.5 - 0.08, 0.0])
    assert np.allclose(held.dragged(pelvis(moved_m=2.0)).position, PLACE + np.array([2.0, 0.0, 0.0])), "another scene"


def test_tilted_has_the_direction_of_down() -> None:
    down = np.array([0.1, 0.95, -0.2])
    assert np.allclose(pelvis((0.3, 0.2, 0.1)).tilted(down).down, down / np.linalg.norm(down))
