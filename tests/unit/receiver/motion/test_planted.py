"""Feet that stand do not slide; those that leave do."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from common.arrays import Float64Array, FloatArray
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, BodyParameters, KeypointKinematics, axis_angle_to_matrix
from common.frames import PersonLabels
from common.labels import LABEL_SIZE, LIMBS, concatenate, group_slices
from receiver.motion.legs import LEGS, Legs, Pelvis, PlantedFeet
from tests.support.motion.label_motion import person

DISTANCE = group_slices()["root"].stop - 1
SHAPE = np.zeros(10, np.float32)
LEFT_THIGH = 16
FRAMES = 60


@pytest.fixture(scope="module")
def legs(space: LabelSpace) -> Legs:
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


def settled(legs: Legs, labels: FloatArray, unseen: tuple[str, ...] = ()) -> FloatArray:
    feet, contact, rows = PlantedFeet(legs), None, []
    for number, row in enumerate(labels):
        placed, contact = feet.settle(person_of(row, unseen), contact, number / 30)
        rows.append(concatenate(placed.labels))
    return np.stack(rows)


def ankles(legs: Legs, labels: FloatArray) -> Float64Array:
    """(T, L, 3) metres."""
    entries = np.stack([labels[:, group_slices()[leg]] for leg in LEGS], axis=1).astype(np.float64)
    rows = zip(labels, entries, strict=True)
    return np.stack([legs.chain(each, SHAPE, Pelvis.of(row)).ankles for row, each in rows])


def moved_m(legs: Legs, labels: FloatArray) -> Float64Array:
    """(T - 1, L) by which the ankles move from frame to frame."""
    return np.asarray(np.linalg.norm(np.diff(ankles(legs, labels), axis=0), axis=-1))


def test_feet_of_somebody_who_stands_do_not_slide(legs: Legs, standing: FloatArray) -> None:
    labels = noisy(standing)
    shown = settled(legs, labels)
    assert moved_m(legs, shown)[5:].mean() < 0.1 * moved_m(legs, labels)[5:].mean()
    apart = ankles(legs, shown)[5:] - ankles(legs, standing)[5:]
    assert np.linalg.norm(apart, axis=-1).max() < 0.08, "they stand where they were seen"
    assert np.diff(shown[5:, DISTANCE], n=2).std() < 0.3 * np.diff(labels[5:, DISTANCE], n=2).std()


@pytest.mark.parametrize(("axis", "frames"), [(2, 2), (0, 4)], ids=["sideways", "towards the camera"])
def test_a_foot_that_leaves_is_not_held_back(
    legs: Legs, space: LabelSpace, standing: FloatArray, axis: int, frames: int
) -> None:
    bodies = space.decode(torch.from_numpy(standing))
    lift = torch.zeros(FRAMES, 3)
    lift[30:, axis] = -torch.linspace(0, 1.2, 31)[1:].clamp(max=0.6)
    rotations = bodies.rotations.clone()
    rotations[:, LEFT_THIGH] = axis_angle_to_matrix(lift) @ rotations[:, LEFT_THIGH]
    labels = space.encode(replace(bodies, rotations=rotations)).numpy()
    true, shown = (ankles(legs, each)[:, 0] for each in (labels, settled(legs, labels)))
    away = [np.linalg.norm(each - each[29], axis=-1) > 0.03 for each in (true, shown)]
    assert 0 <= away[1].argmax() - away[0].argmax() <= frames
    assert np.linalg.norm(true - shown, axis=-1)[-1] < 0.06


def test_whoever_walks_away_is_followed(legs: Legs, standing: FloatArray) -> None:
    labels = standing.copy()
    labels[30:, DISTANCE - 2] += 0.03 * np.arange(FRAMES - 30)
    true, shown = (Pelvis.of(each[-1]).position for each in (labels, settled(legs, labels)))
    assert np.linalg.norm(true - shown) < 0.08
    assert np.linalg.norm(ankles(legs, labels)[-1] - ankles(legs, settled(legs, labels))[-1], axis=-1).max() < 0.08


def test_unseen_legs_keep_their_labels(legs: Legs, standing: FloatArray) -> None:
    labels, leg = noisy(standing), group_slices()["left_leg"]
    assert np.array_equal(settled(legs, labels, ("left_leg",))[:, leg], labels[:, leg])
    assert not np.allclose(settled(legs, labels)[:, leg], labels[:, leg])


@pytest.mark.parametrize("case", ["first", "same time", "jump"])
def test_a_person_begins_anew(legs: Legs, standing: FloatArray, case: str) -> None:
    feet, labels, contact = PlantedFeet(legs), noisy(standing), None
    if case != "first":
        for number in range(5):
            _, contact = feet.settle(person_of(labels[number]), contact, number / 30)
        labels[5, DISTANCE] += 1.0 if case == "jump" else 0.0
    given = person_of(labels[5])
    assert feet.settle(given, contact, (4 if case == "same time" else 5) / 30)[0] is given


def test_bent_legs_reach_for_the_ankles(legs: Legs) -> None:
    vectors, pelvis = (
        np.random.default_rng(2).normal(scale=0.2, size=(2, 3, 3)),
        Pelvis(np.eye(3), np.array([0, 0, 3.0])),
    )
    vectors[:, 1, 0] += np.pi / 2
    chain = legs.chain(legs.entries(vectors), SHAPE, pelvis)
    assert np.allclose(legs.entries_of(chain.turns, pelvis), legs.entries(vectors))
    wanted = chain.ankles + np.array([[0.03, -0.05, 0.02], [-0.02, -0.04, -0.03]])
    turns = chain.reaching(wanted)
    reached = legs.chain(legs.entries_of(turns, pelvis), SHAPE, pelvis).ankles
    assert np.linalg.norm(reached - wanted, axis=1).max() < 0.006
    assert np.allclose(turns[2], chain.turns[2]), "feet keep their orientation"


def test_legs_point_at_what_is_out_of_reach(legs: Legs) -> None:
    pelvis = Pelvis(np.eye(3), np.array([0, 0, 3.0]))
    chain = legs.chain(np.zeros((2, 9)), SHAPE, pelvis)
    below = chain.ankles + np.array([0, 1.0, 0])
    shown = legs.chain(legs.entries_of(chain.reaching(below), pelvis), SHAPE, pelvis)
    across = np.cross(shown.ankles - chain.hips, below - chain.hips)
    assert np.allclose(across, 0, atol=1e-6)


def test_labels_that_no_body_has_stay_finite(legs: Legs) -> None:
    labels = np.random.default_rng(3).normal(0, 6, (10 * FRAMES, LABEL_SIZE)).astype(np.float32)
    labels[:, DISTANCE] = 0.1 * np.sin(np.arange(10 * FRAMES))
    assert np.isfinite(settled(legs, labels)).all()


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
