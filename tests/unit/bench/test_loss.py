"""The bench of lost label groups."""

import numpy as np
import pytest

from common.labels import GROUP_NAMES, concatenate, group_slices
from tests.bench.loss import FALLBACKS, LossClip, bursts, distances_mm, never, random_groups, shown_labels, suffix
from tests.support.label_motion import moving_labels, person

RNG = np.random.default_rng(3)
ARM = GROUP_NAMES.index("left_arm")


@pytest.fixture(scope="module")
def clip() -> LossClip:
    labels = moving_labels(12, seed=8)
    return LossClip(tuple(person(row) for row in labels), labels)


def test_random_groups_are_lost_behind_the_first_frames() -> None:
    kept = random_groups(0.25)(1000, RNG)
    assert kept[:3].all() and 0.72 < kept[3:].mean() < 0.78


def test_bursts_hit_one_limb_at_a_time() -> None:
    kept = bursts(100, RNG)
    assert set((~kept).sum(axis=1)) == {0, 1} and (~kept).sum() == 50
    lost = np.flatnonzero(~kept.all(axis=0))
    assert {GROUP_NAMES[g] for g in lost} <= {"left_arm", "right_arm", "left_leg", "right_leg"}


def test_suffix_loses_only_what_is_behind_a_place() -> None:
    kept = suffix(200, RNG)
    assert (np.diff(kept.astype(int), axis=1) <= 0).all()
    assert kept[:3].all() and len(set(kept.sum(axis=1))) > 8


def test_group_never_arrives() -> None:
    kept = never("left_arm")(5, RNG)
    assert not kept[:, ARM].any() and kept.sum() == 5 * (len(GROUP_NAMES) - 1)


def test_fallbacks_agree_on_what_arrived_and_differ_on_what_did_not(clip: LossClip) -> None:
    kept = np.ones((12, len(GROUP_NAMES)), dtype=np.bool_)
    kept[8:10, ARM] = False
    shown, where = shown_labels(clip, kept), group_slices()["left_arm"]
    arrived = {name: np.delete(labels, np.r_[where], 1) for name, labels in shown.items()}
    for name in ("mean", "hold"):
        np.testing.assert_array_equal(arrived[name], arrived["codec"])
    np.testing.assert_allclose(arrived["estimate"], arrived["codec"], atol=0.25)
    assert not shown["mean"][9, where].any()
    np.testing.assert_array_equal(shown["hold"][9, where], shown["hold"][7, where])
    assert len({shown[name][9, where].tobytes() for name in FALLBACKS}) == len(FALLBACKS)
    np.testing.assert_allclose(shown["estimate"][11], concatenate(clip.people[11].labels), atol=0.3)


def test_distance_is_the_mean_over_joints() -> None:
    found = np.zeros((2, 17, 3))
    found[1, 0] = [0.0, 0.003, 0.004]
    np.testing.assert_allclose(distances_mm(found, np.zeros((2, 17, 3))), [0.0, 5.0 / 17])
