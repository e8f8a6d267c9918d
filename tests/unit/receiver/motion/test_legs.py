"""Unseen legs below a pelvis that jitters."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from common.arrays import Float64Array, FloatArray
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, BodyParameters, KeypointKinematics, axis_angle_to_matrix
from common.frames import PersonLabels
from common.labels import LABEL_SIZE, LIMBS, concatenate, group_slices
from receiver.motion.leg_chain import matrices_of, vectors_of
from receiver.motion.legs import LEGS, Legs, Pelvis, PlantedFeet
from tests.support.motion.label_motion import person

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


DISTANCE = group_slices()["root"].stop - 1
LEFT_THIGH = 16
FRAMES = 60


@pytest.fixture(scope="module")
def planted_legs(space: LabelSpace) -> Legs:
    return Legs(space, BodyModel.load())


@pytest.fixture(scope="module")
def standing(space: LabelSpace) -> FloatArray:
    """(T, LABEL_SIZE) of somebody who stands still 3 m before the camera."""
    with torch.inference_mode():
        return np.asarray(space.encode(BodyParameters.rest(FRAMES)).numpy(), np.float32)


def noisy(labels: FloatArray) -> FloatArray:
    rng, noisy = np.random.default_rng(0), labels.copy()
    noisy[:, DISTANCE] += rng.normal(0, 0.03, len(labels))
    for leg in LEGS:
        noisy[:, group_slices()[leg]] += rng.normal(0, 0.02, (len(labels), 9))
    return noisy


def person_of(labels: FloatArray, unseen: tuple[str, ...] = ()) -> PersonLabels:
    return replace(person(labels), confidence={limb: 0.0 if limb in unseen else 0.8 for limb in LIMBS})


def settled(planted_legs: Legs, labels: FloatArray, unseen: tuple[str, ...] = ()) -> FloatArray:
    feet, contact, rows = PlantedFeet(planted_legs), None, []
    for number, row in enumerate(labels):
        placed, contact = feet.settle(person_of(row, unseen), contact, number / 30)
        rows.append(concatenate(placed.labels))
    return np.stack(rows)


def ankles(planted_legs: Legs, labels: FloatArray) -> Float64Array:
    """(T, L, 3) metres."""
    entries = np.stack([labels[:, group_slices()[leg]] for leg in LEGS], axis=1).astype(np.float64)
    rows = zip(labels, entries, strict=True)
    return np.stack([planted_legs.chain(each, SHAPE, Pelvis.of(row)).ankles for row, each in rows])


def moved_m(planted_legs: Legs, labels: FloatArray) -> Float64Array:
    """(T - 1, L) by which the ankles move from frame to frame."""
    return np.asarray(np.linalg.norm(np.diff(ankles(planted_legs, labels), axis=0), axis=-1))


def test_feet_of_somebody_who_stands_do_not_slide(planted_legs: Legs, standing: FloatArray) -> None:
    labels = noisy(standing)
    shown = settled(planted_legs, labels)
    assert moved_m(planted_legs, shown)[5:].mean() < 0.1 * moved_m(planted_legs, labels)[5:].mean()
    apart = ankles(planted_legs, shown)[5:] - ankles(planted_legs, standing)[5:]
    assert np.linalg.norm(apart, axis=-1).max() < 0.08, "they stand where they were seen"
    assert np.diff(shown[5:, DISTANCE], n=2).std() < 0.3 * np.diff(labels[5:, DISTANCE], n=2).std()


@pytest.mark.parametrize(("axis", "frames"), [(2, 2), (0, 4)], ids=["sideways", "towards the camera"])
def test_a_foot_that_leaves_is_not_held_back(
    planted_legs: Legs, space: LabelSpace, standing: FloatArray, axis: int, frames: int
) -> None:
    bodies = space.decode(torch.from_numpy(standing))
    lift = torch.zeros(FRAMES, 3)
    lift[30:, axis] = -torch.linspace(0, 1.2, 31)[1:].clamp(max=0.6)
    rotations = bodies.rotations.clone()
    rotations[:, LEFT_THIGH] = axis_angle_to_matrix(lift) @ rotations[:, LEFT_THIGH]
    labels = space.encode(replace(bodies, rotations=rotations)).numpy()
    true, shown = (ankles(planted_legs, each)[:, 0] for each in (labels, settled(planted_legs, labels)))
    away = [np.linalg.norm(each - each[29], axis=-1) > 0.03 for each in (true, shown)]
    assert 0 <= away[1].argmax() - away[0].argmax() <= frames
    assert np.linalg.norm(true - shown, axis=-1)[-1] < 0.06


def test_whoever_walks_away_is_followed(planted_legs: Legs, standing: FloatArray) -> None:
    labels = standing.copy()
    labels[30:, DISTANCE - 2] += 0.03 * np.arange(FRAMES - 30)
    true, shown = (Pelvis.of(each[-1]).position for each in (labels, settled(planted_legs, labels)))
    assert np.linalg.norm(true - shown) < 0.08
    assert (
        np.linalg.norm(
            ankles(planted_legs, labels)[-1] - ankles(planted_legs, settled(planted_legs, labels))[-1], axis=-1
        ).max()
        < 0.08
    )


def test_unseen_legs_keep_their_labels(planted_legs: Legs, standing: FloatArray) -> None:
    labels, leg = noisy(standing), group_slices()["left_leg"]
    assert np.array_equal(settled(planted_legs, labels, ("left_leg",))[:, leg], labels[:, leg])
    assert not np.allclose(settled(planted_legs, labels)[:, leg], labels[:, leg])


@pytest.mark.parametrize("case", ["first", "same time", "jump"])
def test_a_person_begins_anew(planted_legs: Legs, standing: FloatArray, case: str) -> None:
    feet, labels, contact = PlantedFeet(planted_legs), noisy(standing), None
    if case != "first":
        for number in range(5):
            _, contact = feet.settle(person_of(labels[number]), contact, number / 30)
        labels[5, DISTANCE] += 1.0 if case == "jump" else 0.0
    given = person_of(labels[5])
    assert feet.settle(given, contact, (4 if case == "same time" else 5) / 30)[0] is given


def test_bent_legs_reach_for_the_ankles(planted_legs: Legs) -> None:
    vectors, pelvis = (
        np.random.default_rng(2).normal(scale=0.2, size=(2, 3, 3)),
        Pelvis(np.eye(3), np.array([0, 0, 3.0])),
    )
    vectors[:, 1, 0] += np.pi / 2
    chain = planted_legs.chain(planted_legs.entries(vectors), SHAPE, pelvis)
    assert np.allclose(planted_legs.entries_of(chain.turns, pelvis), planted_legs.entries(vectors))
    wanted = chain.ankles + np.array([[0.03, -0.05, 0.02], [-0.02, -0.04, -0.03]])
    turns = chain.reaching(wanted)
    reached = planted_legs.chain(planted_legs.entries_of(turns, pelvis), SHAPE, pelvis).ankles
    assert np.linalg.norm(reached - wanted, axis=1).max() < 0.006
    assert np.allclose(turns[2], chain.turns[2]), "feet keep their orientation"


def test_legs_point_at_what_is_out_of_reach(planted_legs: Legs) -> None:
    pelvis = Pelvis(np.eye(3), np.array([0, 0, 3.0]))
    chain = planted_legs.chain(np.zeros((2, 9)), SHAPE, pelvis)
    below = chain.ankles + np.array([0, 1.0, 0])
    shown = planted_legs.chain(planted_legs.entries_of(chain.reaching(below), pelvis), SHAPE, pelvis)
    across = np.cross(shown.ankles - chain.hips, below - chain.hips)
    assert np.allclose(across, 0, atol=1e-6)


def test_labels_that_no_body_has_stay_finite(planted_legs: Legs) -> None:
    labels = np.random.default_rng(3).normal(0, 6, (10 * FRAMES, LABEL_SIZE)).astype(np.float32)
    labels[:, DISTANCE] = 0.1 * np.sin(np.arange(10 * FRAMES))
    assert np.isfinite(settled(planted_legs, labels)).all()


def test_head_stays_where_it_is_seen_while_the_distance_of_a_close_up_jitters(
    space: LabelSpace, kinematics: KeypointKinematics
) -> None:
    near = BodyParameters.rest(FRAMES)
    near.translation[:] = torch.tensor([0.1, 0.62, 0.55])
    rng = np.random.default_rng(0)
    # The head moves to and fro on its line of sight.
    ray = torch.tensor([0.1, -0.02, 0.45])
    near.translation.add_(torch.from_numpy(rng.normal(0, 0.03, (FRAMES, 1)).astype(np.float32)) * ray)
    with torch.inference_mode():
        labels = space.encode(near).numpy()
        shown = kinematics(space.decode(torch.from_numpy(settled(Legs(space, kinematics.body), labels, LEGS))))[0][:, 0]
        given = kinematics(space.decode(torch.from_numpy(labels)))[0][:, 0]
    moved = shown[:, :2] / shown[:, 2:] - given[:, :2] / given[:, 2:]
    assert float(moved.norm(dim=1).max()) < 0.01
    assert float((shown[:, 2] - given[:, 2]).abs().max()) > 0.01
