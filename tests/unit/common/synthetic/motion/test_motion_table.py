import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from common.body.anatomy import JOINT_INDEX
from common.synthetic.dataset import SPLITS
from common.synthetic.motion.poses import TABLE_FILE, clips, load_table
from common.synthetic.motion.retarget import bone_direction, hinge_axis


def test_table_is_small_complete_and_has_its_licences() -> None:
    assert TABLE_FILE.stat().st_size <= 2_000_000
    text = (TABLE_FILE.parent / "LICENSES.md").read_text()
    for words in ("mocap.cs.cmu.edu", "Copyright (c) 2018 Xue Bin Peng", "CC0 1.0"):
        assert words in text
    table = load_table()
    assert 8_000 <= len(table.poses) <= 12_000
    assert table.poses.shape[1:] == (22, 3) and table.poses.dtype == np.float32
    assert np.linalg.norm(table.poses, axis=-1).max() <= np.pi + 1e-3
    assert len(table.pose_clip) == len(table.poses) and table.pose_clip.max() < len(table.clip_names)


def test_poses_have_tilt_but_no_heading() -> None:
    quaternion = Rotation.from_rotvec(load_table().poses[:, 0]).as_quat()
    upright = np.abs(quaternion[:, 3]) > 0.2
    assert np.abs(np.arctan2(quaternion[:, 1], quaternion[:, 3]))[upright].max() < 0.01


def test_clips_are_continuous_and_face_the_camera_at_first() -> None:
    all_clips = [clip for split in SPLITS for clip in clips(split)]
    assert len(all_clips) >= 12 and 2_000 <= sum(len(clip.rotation_vectors) for clip in all_clips) <= 4_000
    for clip in all_clips:
        assert clip.fps == 30.0 and clip.root_translation.shape == (len(clip.rotation_vectors), 3)
        rotations = Rotation.from_rotvec(clip.rotation_vectors.reshape(-1, 3)).as_matrix().reshape(-1, 22, 3, 3)
        trace = np.einsum("tjab,tjab->tj", rotations[1:], rotations[:-1])
        # The trace is 1 + 2 cos(angle): joints rotate by less than 80 degrees per frame.
        assert trace.min() > 1 + 2 * np.cos(np.deg2rad(80.0)), clip.name
        assert np.abs(np.diff(clip.root_translation, axis=0)).max() < 0.25, clip.name
        assert np.allclose(clip.root_translation[0, [0, 2]], 0.0)
        assert abs(clip.rotation_vectors[0, 0, 1]) < 0.15, clip.name


@pytest.mark.parametrize("side", [".L", ".R"])
def test_knees_bend_backwards_and_elbows_forwards(side: str) -> None:
    poses = load_table().poses
    for upper, lower in (("upperarm01", "lowerarm01"), ("upperleg01", "lowerleg01")):
        bones = Rotation.from_rotvec(poses[:, JOINT_INDEX[lower + side]]).apply(bone_direction(lower + side))
        bend = np.cross(bone_direction(upper + side), bones) @ hinge_axis(upper + side)
        assert (bend > -0.05).mean() > 0.95, lower
    # The body faces -z: a flexed knee brings the shin to +z, a flexed elbow the forearm to -z.
    shin = Rotation.from_rotvec(poses[:, JOINT_INDEX[f"lowerleg01{side}"]]).apply([0.0, 1.0, 0.0])
    assert (shin[:, 2] > -0.1).mean() > 0.95
    rest_forearm = bone_direction(f"lowerarm01{side}")
    flexed = Rotation.from_rotvec(0.5 * hinge_axis(f"upperarm01{side}")).apply(rest_forearm)
    assert flexed[2] < rest_forearm[2] < 0.0
