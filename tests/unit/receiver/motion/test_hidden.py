"""Limbs that nobody sees: what is generated of them, and how it moves."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from common.arrays import FloatArray
from common.body.label_space import GROUP_JOINTS, LabelSpace
from common.body.model import BodyParameters, KeypointKinematics
from common.frames import LabelFrame, PersonLabels
from common.labels import LIMBS, concatenate, group_slices
from receiver.motion.mixture import MODES, PoseMixture
from receiver.motion.session_motion import SessionMotion
from tests.support.motion.label_motion import frame_of, person
from tests.support.motion.limbs_alone import LimbsAlone

LEGS = ("left_leg", "right_leg")
KNEES_AND_ANKLES = slice(13, 17)


@pytest.fixture(scope="module")
def standing(space: LabelSpace) -> FloatArray:
    """Labels of somebody who stands 3 m before the camera."""
    with torch.inference_mode():
        return np.asarray(space.encode(BodyParameters.rest(1))[0].numpy(), np.float32)


def seen_but(labels: FloatArray, unseen: tuple[str, ...], identity: int = 0) -> PersonLabels:
    confidence = {limb: 0.0 if limb in unseen else 0.8 for limb in LIMBS}
    return replace(person(labels, identity), confidence=confidence)


def frames(labels: FloatArray, unseen: tuple[str, ...], start: int, count: int, identity: int = 0) -> list[LabelFrame]:
    return [frame_of(number, seen_but(labels, unseen, identity)) for number in range(start, start + count)]


def completed(limbs: LimbsAlone, given: list[LabelFrame]) -> FloatArray:
    """(T, LABEL_SIZE) of the only person."""
    return np.stack([concatenate(limbs.complete(frame).people[0].labels) for frame in given])


def joints(space: LabelSpace, kinematics: KeypointKinematics, labels: FloatArray) -> FloatArray:
    with torch.inference_mode():
        return np.asarray(kinematics(space.decode(torch.from_numpy(labels)))[0].numpy())


def test_people_who_are_seen_whole_stay_as_they_are(standing: FloatArray) -> None:
    frame = frame_of(0, seen_but(standing, ()))
    assert LimbsAlone().complete(frame).people[0] is frame.people[0]


def test_only_unseen_limbs_are_generated_at_once_and_by_the_identity(standing: FloatArray) -> None:
    first, again, other = (completed(LimbsAlone(), frames(standing, LEGS, 0, 1, identity))[0] for identity in (3, 3, 4))
    legs = np.zeros(len(standing), bool)
    for name in LEGS:
        legs[group_slices()[name]] = True
    assert np.array_equal(first[~legs], standing[~legs])
    assert np.abs(first - standing)[legs].max() > 0.1
    assert np.array_equal(first, again) and not np.allclose(first, other, atol=0.01)


def test_arms_of_a_head_and_shoulders_hang_until_they_are_seen(
    space: LabelSpace, kinematics: KeypointKinematics, standing: FloatArray
) -> None:
    bust, limbs = (*LEGS, "left_arm", "right_arm"), LimbsAlone()
    hang = completed(limbs, frames(standing, bust, 0, 1))[0]
    shoulders, elbows, wrists = (joints(space, kinematics, hang[None])[0, part : part + 2] for part in (5, 7, 9))
    assert (wrists[:, 1] - elbows[:, 1] > 0.15).all() and (elbows[:, 1] - shoulders[:, 1] > 0.2).all()
    np.testing.assert_allclose(wrists[:, 0], [0.2, -0.2], atol=0.08)
    completed(limbs, frames(standing, LEGS, 1, 30))
    after = completed(limbs, frames(standing, bust, 31, 60))[-1]
    assert np.abs(after - hang)[group_slices()["left_arm"]].max() > 0.1
    legs_seen = completed(LimbsAlone(), frames(standing, ("left_arm", "right_arm"), 0, 1))[0]
    assert np.abs(legs_seen - hang)[group_slices()["left_arm"]].max() > 0.1


def test_hands_go_with_both_arms(standing: FloatArray) -> None:
    one = completed(LimbsAlone(), frames(standing, ("left_arm",), 0, 1))[0]
    both = completed(LimbsAlone(), frames(standing, ("left_arm", "right_arm"), 0, 1))[0]
    hands = group_slices()["hands"]
    assert np.array_equal(one[hands], standing[hands]) and not np.allclose(both[hands], standing[hands])


def test_a_person_seen_anew_may_lack_groups(standing: FloatArray) -> None:
    known = seen_but(standing, LEGS)
    never_sent = replace(known, labels={name: row for name, row in known.labels.items() if name not in LEGS})
    labels = LimbsAlone().complete(frame_of(0, never_sent)).people[0].labels
    assert all(len(labels[name]) == 9 for name in LEGS)


@pytest.mark.parametrize("identity", [0, 1, 2, 3])
def test_unseen_legs_stand_still_while_what_is_seen_jitters(
    space: LabelSpace, kinematics: KeypointKinematics, standing: FloatArray, identity: int
) -> None:
    rng, limbs, rows = np.random.default_rng(identity), LimbsAlone(), []
    for number in range(60):
        noisy = standing + rng.normal(scale=0.02, size=len(standing)).astype(np.float32)
        noisy[7] = standing[7]  # 1 mm up and down is the pelvis's own
        noisy[group_slices()["shape"]] = standing[group_slices()["shape"]]
        frame = frame_of(number, seen_but(noisy, LEGS, identity))
        rows.append(concatenate(limbs.complete(frame).people[0].labels))
    moved = np.linalg.norm(np.diff(joints(space, kinematics, np.stack(rows)), axis=0), axis=2)
    assert moved[5:, KNEES_AND_ANKLES].mean() < 0.5 * moved[5:, 11:13].mean()


def test_a_limb_goes_out_of_sight_and_comes_back_without_a_jump(standing: FloatArray) -> None:
    limbs = LimbsAlone()
    seen = completed(limbs, frames(standing, (), 0, 5))
    gone = completed(limbs, frames(standing, LEGS, 5, 40))
    back = completed(limbs, frames(standing, (), 45, 10))
    largest = max(np.abs(after - before).max() for before, after in pairwise(np.concatenate([seen, gone])))
    difference = np.abs(gone[-1] - standing).max()
    assert difference > 0.1 and largest < 0.2 * difference
    assert np.allclose(gone[25:], gone[-1], atol=1e-4), "it stays there"
    assert 0.1 * difference < np.abs(back[1] - standing).max() < difference
    assert np.allclose(back[6:], standing, atol=1e-5), "within a fifth of a second"


def test_the_mode_stays_for_a_frame_that_looks_otherwise(space: LabelSpace, standing: FloatArray) -> None:
    lying = BodyParameters.rest(1)
    lying.rotations[:, 0] = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    with torch.inference_mode():
        labels = np.asarray(space.encode(lying)[0].numpy(), np.float32)
    limbs, mixture = LimbsAlone(), PoseMixture.load()
    modes = []
    for number in range(60):
        known = seen_but(labels if number >= 20 else standing, LEGS)
        never_sent = {name: row for name, row in known.labels.items() if name not in LEGS}
        limbs.complete(frame_of(number, replace(known, labels=never_sent)))
        modes.append(MODES[mixture.modes[limbs.limbs[0].component or 0]])
    assert len(set(modes[:22])) == 1 and modes[0] != "lie" == modes[-1]


def test_people_begin_anew_in_another_source(standing: FloatArray) -> None:
    motion = SessionMotion()
    for frame in frames(standing, (), 0, 3):
        motion.complete(frame)
    (other,) = (replace(frame, source="other.jpg") for frame in frames(standing, LEGS, 3, 1))
    first, again = (concatenate(each.complete(other).people[0].labels) for each in (SessionMotion(), motion))
    assert np.array_equal(again, first)


def test_knees_do_not_bend_backwards(space: LabelSpace, standing: FloatArray) -> None:
    labels = np.stack([completed(LimbsAlone(), frames(standing, LEGS, 0, 1, identity))[0] for identity in range(100)])
    vectors, _ = space.decode_vectors(torch.from_numpy(labels))
    order = [joint for joints in GROUP_JOINTS.values() for joint in joints]
    knees = vectors[:, [order.index("lowerleg01.L"), order.index("lowerleg01.R")], 0]
    assert knees.min() > -0.16, "the rest pose bends them by 0.17"


def test_the_papers_diffusion_generates_other_legs(standing: FloatArray) -> None:
    learned, paper, bare = (
        completed(LimbsAlone(diffusion), frames(standing, LEGS, 0, 1))[0] for diffusion in ("learned", "paper", None)
    )
    assert not any(np.allclose(one, other, atol=0.01) for one, other in ((learned, paper), (paper, bare)))


@pytest.mark.parametrize(("interval_s", "most"), [(0.0, 1), (1e-6, 120), (1 / 240, 120)])
def test_path_of_the_pelvis_is_bounded_whatever_the_times_are(
    standing: FloatArray, interval_s: float, most: int
) -> None:
    limbs = LimbsAlone(diffusion=None)
    for number in range(150):
        limbs.complete(replace(frame_of(0, seen_but(standing, LEGS)), captured_at=1000.0 + interval_s * number))
    (known,) = limbs.limbs.values()
    assert len(known.path) == most
