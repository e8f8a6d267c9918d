"""People on the ground: feet that stand are still and on the floor, and feet that leave it leave it."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from common.arrays import BoolArray, Float64Array
from receiver.export.character import Character, Motion
from receiver.export.ground import Walker, grounded, in_place
from tests.support.motion.moving_character import CAMERA_HEIGHT_M, ankles, late, moving_character, perceived

WALK, JUMP = "deepmimic/long_walk3", "deepmimic/jump"
_STANDS_M = 0.004


@pytest.fixture(scope="module")
def walk() -> Character:
    return moving_character(WALK)


def stands(character: Character) -> BoolArray:
    """(N − 1, 2) ankles that move by less than 4 mm to the next frame."""
    return np.asarray(np.linalg.norm(np.diff(ankles(character), axis=0), axis=2) < _STANDS_M)


def slide_mm(character: Character, standing: BoolArray) -> float:
    steps: Float64Array = np.linalg.norm(np.diff(ankles(character), axis=0), axis=2)
    return 1000 * float(steps[standing].mean())


def turned(character: Character, degrees: float) -> Character:
    """As a camera sees the character that looks down by so much."""
    turn, motion = Rotation.from_euler("x", degrees, degrees=True), character.motion
    rotations = motion.rotations.copy()
    rotations[:, 0] = (turn * Rotation.from_quat(rotations[:, 0])).as_quat()
    roots = turn.apply(motion.root_positions).astype(np.float32)
    return replace(character, motion=Motion(motion.times_s, rotations, roots))


@pytest.mark.parametrize("seed", [1, 3])
def test_feet_of_a_walk_slide_no_more_and_the_floor_is_at_zero(walk: Character, seed: int) -> None:
    seen, standing = perceived(walk, seed), stands(walk)
    (placed,), placement = grounded([seen])
    assert placement.height_m == pytest.approx(CAMERA_HEIGHT_M, abs=0.25)
    assert slide_mm(seen, standing) > 15 and slide_mm(placed, standing) < 3
    height_m = ankles(placed)[:-1, :, 1][standing]
    rest_m = placed.rest_positions[[placed.skeleton.names.index(f"foot.{side}") for side in "LR"], 1].mean()
    assert np.abs(height_m - rest_m).mean() < 0.015


def test_what_filters_delay_is_where_it_was(walk: Character) -> None:
    motion, given = walk.motion, late(walk)
    walker = Walker.from_character(given)
    assert walker is not None
    apart_m = [
        np.linalg.norm(each.root_positions - motion.root_positions, axis=1) for each in (walker.motion, given.motion)
    ]
    assert apart_m[0][:-7].max() < 0.01 < 0.1 < apart_m[1].max()


def test_nothing_moves_in_time_where_no_filter_has_delayed_it(walk: Character) -> None:
    walker = Walker.from_character(replace(walk, timely=True))
    assert walker is not None
    np.testing.assert_array_equal(walker.motion.root_positions, walk.motion.root_positions)
    (placed,), _ = grounded([replace(walk, timely=True)])
    (moved,), _ = grounded([walk])
    arms = _arms(walk)
    np.testing.assert_array_equal(placed.motion.rotations[:, arms], walk.motion.rotations[:, arms])
    np.testing.assert_allclose(moved.motion.rotations[:-1, arms], walk.motion.rotations[1:, arms], atol=1e-5)


def _arms(character: Character) -> list[int]:
    names = enumerate(character.skeleton.names)
    return [index for index, name in names if "arm" in name or "finger" in name]


def test_arms_are_left_alone(walk: Character) -> None:
    (placed,), _ = grounded([late(walk)])
    arms = _arms(walk)
    np.testing.assert_allclose(placed.motion.rotations[:-1, arms], walk.motion.rotations[:-1, arms], atol=1e-5)
    np.testing.assert_array_equal(placed.motion.times_s, walk.motion.times_s)


def test_who_jumps_leaves_the_floor() -> None:
    jump = moving_character(JUMP)
    true_m = ankles(jump)[:, :, 1].min(axis=1)
    true_m = true_m - np.percentile(true_m, 10)
    (placed,), _ = grounded([perceived(jump, 3)])
    found_m = ankles(placed)[:, :, 1].min(axis=1)
    found_m = found_m - np.percentile(found_m, 10)
    assert true_m.max() > 0.25 and found_m.max() > 0.8 * true_m.max()
    # Heels rise first.
    in_the_air = true_m > 0.1
    off, found_off = np.flatnonzero(in_the_air), np.flatnonzero(found_m > 0.1)
    assert abs(int(found_off[0]) - int(off[0])) <= 2 and abs(int(found_off[-1]) - int(off[-1])) <= 2


def test_people_share_the_ground_and_what_a_tilted_camera_sees_is_upright(walk: Character) -> None:
    people = [turned(perceived(each, 4), 12) for each in (walk, moving_character("cmu/007_10"))]
    placed, placement = grounded(people)
    up = placement.rotation @ Rotation.from_euler("x", 12, degrees=True).apply([0, 1, 0])
    assert np.degrees(np.arccos(up[1])) < 7
    lowest = [ankles(each)[:, :, 1].min() for each in placed]
    assert np.ptp(lowest) < 0.03


def test_where_nobody_is_seen_to_stand_the_floor_is_below_the_usual_pose(walk: Character) -> None:
    unseen = replace(walk.motion, legs_seen=np.zeros((len(walk.motion), 2), np.bool_))
    short = Motion(walk.motion.times_s[:4], walk.motion.rotations[:4], walk.motion.root_positions[:4])
    other = replace(walk, skeleton=replace(walk.skeleton, names=tuple(f"bone-{n}" for n in range(52))))
    for character in (replace(walk, motion=unseen), replace(walk, motion=short), other):
        (placed,), placement = grounded([character])
        assert placement.height_m == pytest.approx(CAMERA_HEIGHT_M, abs=0.03)
        np.testing.assert_array_equal(placement.rotation, np.eye(3))
        moved = placed.motion.root_positions - character.motion.root_positions
        np.testing.assert_allclose(moved, np.tile([0, placement.height_m, 0], (len(moved), 1)), atol=1e-5)
        np.testing.assert_allclose(np.abs(placed.motion.rotations), np.abs(character.motion.rotations), atol=1e-6)


def test_who_sits_has_the_feet_on_the_floor(walk: Character) -> None:
    motion, names = walk.motion, walk.skeleton.names
    rotations = np.tile(np.array([0, 0, 0, 1], np.float32), (*motion.rotations.shape[:2], 1))
    for side in "LR":
        rotations[:, names.index(f"upperleg01.{side}")] = Rotation.from_euler("x", -90, degrees=True).as_quat()
        rotations[:, names.index(f"lowerleg01.{side}")] = Rotation.from_euler("x", 90, degrees=True).as_quat()
    unseen = np.zeros((len(motion), 2), np.bool_)
    (placed,), _ = grounded([replace(walk, motion=replace(motion, rotations=rotations, legs_seen=unseen))])
    soles_m = ankles(placed)[:, :, 1].min(axis=1)
    assert np.median(soles_m) == pytest.approx(walk.rest_positions[names.index("foot.L"), 1], abs=0.03)
    assert placed.motion.root_positions[:, 1].mean() < 0.65 * walk.rest_positions[0, 1]


@pytest.mark.parametrize("place", [(0, 0, 0), (0, 3, 0), (0, 0, 3)])
def test_roots_where_no_camera_sees_them_leave_all_numbers_finite(
    walk: Character, place: tuple[float, float, float]
) -> None:
    roots = np.tile(np.array(place, np.float32), (len(walk.motion), 1))
    (placed,), _ = grounded([replace(walk, motion=replace(walk.motion, root_positions=roots))])
    assert np.isfinite(placed.motion.root_positions).all() and np.isfinite(placed.motion.rotations).all()


def test_leg_that_nobody_sees_does_not_stand(walk: Character) -> None:
    seen = perceived(walk, 1)
    legs_seen = np.ones((len(seen.motion), 2), np.bool_)
    legs_seen[:, 0] = False
    (placed,), _ = grounded([replace(seen, motion=replace(seen.motion, legs_seen=legs_seen))])
    standing = stands(walk)
    assert slide_mm(placed, standing * np.array([False, True])) < 3
    assert slide_mm(placed, standing * np.array([True, False])) > 3


def test_in_place_nobody_moves_along_the_floor(walk: Character) -> None:
    stays = in_place(walk)
    np.testing.assert_array_equal(stays.motion.root_positions[:, [0, 2]], 0)
    np.testing.assert_array_equal(stays.motion.root_positions[:, 1], walk.motion.root_positions[:, 1])
    np.testing.assert_array_equal(stays.motion.rotations, walk.motion.rotations)
