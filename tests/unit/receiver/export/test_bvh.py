"""BVH: forward kinematics of the file gives the joints of the session."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from common.errors import UsageError
from receiver.export.bvh import encode_bvh
from receiver.export.character import Character
from receiver.export.recorded_session import read_session
from receiver.export.rigging import LeftOut, rig
from tests.support.motion.bvh_reader import Bvh
from tests.support.motion.recorded_motion import NAMES, Pose, publish_motion, random_poses


def character_of(out: Path, poses: list[Pose | None]) -> Character:
    publish_motion(out, [poses])
    return rig(0, read_session(out, 1).people[0], LeftOut())


def parsed(character: Character) -> Bvh:
    return Bvh(b"".join(encode_bvh(character, character.motion.frame_rate)).decode("ascii"))


def largest_error_cm(bvh: Bvh, frame: int, pose: Pose) -> float:
    """Of the joints, and of points 40 cm along their axes: shorter limbs are published with turns of whole 0.01°."""
    found, (axes, positions) = bvh.joints(frame), pose.joints()
    unit = np.array([[1], [40], [40], [40]])
    expected = [np.vstack([100 * position, 40 * axis.T]) for position, axis in zip(positions, axes, strict=True)]
    return max(float(np.abs(unit * found[name] - expected[joint]).max()) for joint, name in enumerate(NAMES))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_joints_are_those_of_the_session(tmp_path: Path, seed: int) -> None:
    poses = random_poses(12, seed)
    bvh = parsed(character_of(tmp_path, [*poses]))
    assert bvh.frame_time_s == pytest.approx(0.05) and len(bvh.values) == 12
    for frame, pose in enumerate(poses):
        assert largest_error_cm(bvh, frame, pose) < 0.01


def test_gimbal_lock_is_exact_and_silent(tmp_path: Path) -> None:
    """About x by 90° the other two angles are not unique."""
    locked = Rotation.from_euler("ZXY", [[20, 90, 0], [30, 90, 10], [0, -90, 50], [0, 90, 0], [5, 90, 5]], degrees=True)
    poses = [Pose(locked.as_quat(), np.array([0.1 * number, 0.2, -3.0])) for number in range(3)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bvh = parsed(character_of(tmp_path, [*poses]))
    for frame, pose in enumerate(poses):
        assert largest_error_cm(bvh, frame, pose) < 0.01


def test_angles_do_not_jump(tmp_path: Path) -> None:
    """The root turns twice all round, so its angle goes on beyond 180°."""
    turn_degrees = np.linspace(0.0, 720.0, 41)
    poses = [
        Pose(Rotation.from_euler("ZXY", [[0, 0, turn], *[[5, 0, 5]] * 4], degrees=True).as_quat(), np.zeros(3))
        for turn in turn_degrees
    ]
    bvh = parsed(character_of(tmp_path, [*poses]))
    assert np.abs(np.diff(bvh.values[:, 3:], axis=0)).max() < 60
    assert np.ptp(bvh.values[:, 3:6], axis=0).max() == pytest.approx(720.0, abs=1.0)


def test_gap_is_filled_and_the_beginning_is_still(tmp_path: Path) -> None:
    poses = random_poses(8)
    bvh = parsed(character_of(tmp_path, [None, None, *poses[2:4], None, *poses[5:]]))
    assert len(bvh.values) == 8
    for frame, expected in ((0, 2), (1, 2), (2, 2), (3, 3), (5, 5), (7, 7)):
        assert largest_error_cm(bvh, frame, poses[expected]) < 0.01


def test_who_is_away_stands_still(tmp_path: Path) -> None:
    poses = random_poses(20)
    character = character_of(tmp_path, [*poses[:4], *[None] * 12, *poses[16:]])
    bvh = parsed(replace(character, present=[(0.0, 0.2), (0.8, 1.0)]))
    for frame, expected in ((3, 3), (4, 3), (15, 3), (16, 16), (19, 19)):
        assert largest_error_cm(bvh, frame, poses[expected]) < 0.01


def test_joints_without_children_end_at_the_mesh(tmp_path: Path) -> None:
    bvh = parsed(character_of(tmp_path, [*random_poses(3)]))
    assert {bvh.names[joint] for joint in bvh.ends} == {"head", "hand.L"}
    assert all(10 < np.linalg.norm(end) < 200 for end in bvh.ends.values())


@pytest.mark.parametrize("rate", [12, 24, 30, 60, 120, 240])
def test_rate_is_that_of_times_in_milliseconds(tmp_path: Path, rate: int) -> None:
    motion = character_of(tmp_path, [*random_poses(2)]).motion.resampled(np.zeros(100))
    times_s = np.round(np.delete(np.arange(150), range(60, 110)) / rate, 3)
    assert replace(motion, times_s=times_s).frame_rate == rate
    assert replace(motion, times_s=np.array([0.0, 0.1, 10.1])).frame_rate == pytest.approx(0.1)


def test_too_many_frames_are_refused(tmp_path: Path) -> None:
    character = character_of(tmp_path, [*random_poses(12)])
    character.motion.times_s[-1] = 1e9
    with pytest.raises(UsageError, match="choose a part"):
        b"".join(encode_bvh(character, 20.0))
