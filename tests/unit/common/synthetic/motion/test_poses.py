import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from common.body.anatomy import JOINT_INDEX, MIRRORED_JOINTS
from common.synthetic.dataset import SPLITS
from common.synthetic.motion.poses import (
    HIGH,
    LOW,
    MAX_CURL,
    RECIPES,
    RELAXED,
    TABLE_FILE,
    PoseSampler,
    clamp,
    clips,
    from_axes,
    hand_penetrates_body,
    load_table,
    mirror,
    to_axes,
)
from common.synthetic.motion.retarget import bone_direction, forward_kinematics, hinge_axis, mirror_point


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


def _positions(rotation_vectors: np.ndarray) -> np.ndarray:
    matrices = Rotation.from_rotvec(rotation_vectors.reshape(-1, 3)).as_matrix().reshape(-1, 22, 3, 3)
    return forward_kinematics(matrices)[0]


def test_stream_depends_only_on_the_seed_which_belongs_to_its_split() -> None:
    samplers = PoseSampler("train", 7), PoseSampler("train", 7)
    for n in (5, 60):
        first, second = (sampler.sample(n) for sampler in samplers)
        assert np.array_equal(first.rotation_vectors, second.rotation_vectors)
        assert np.array_equal(first.curl, second.curl)
    assert not np.array_equal(PoseSampler("train", 8).sample(60).curl, second.curl)
    with pytest.raises(ValueError, match="seed"):
        PoseSampler("test", 7)


@pytest.mark.parametrize(("split", "seed"), [("train", 1), ("val", 10_000_001), ("test", 20_000_001)])
def test_sample_shapes_and_limits(split: str, seed: int) -> None:
    batch = PoseSampler(split, seed).sample(800)  # type: ignore[arg-type]
    assert batch.rotation_vectors.shape == (800, 22, 3) and batch.rotation_vectors.dtype == np.float32
    assert batch.curl.shape == (800, 4) and batch.curl.dtype == np.float32
    assert np.isfinite(batch.rotation_vectors).all()
    parts = to_axes(batch.rotation_vectors)[:, 1:]
    assert (parts >= LOW[1:] - 1e-4).all() and (parts <= HIGH[1:] + 1e-4).all()
    assert batch.curl.min() >= 0.0 and batch.curl.max() <= MAX_CURL


def test_shares_of_recipes_of_people_facing_the_camera_and_of_hands_in_the_body() -> None:
    batch = PoseSampler("train", 3).sample(4000)
    shares = np.bincount(batch.recipe, minlength=len(RECIPES)) / 4000
    assert np.allclose(shares, [0.55, 0.15, 0.20, 0.10], atol=0.03)
    ahead = Rotation.from_rotvec(batch.rotation_vectors[batch.recipe == 2, 0]).apply([0.0, 0.0, -1.0])
    heading = np.rad2deg(np.arctan2(-ahead[:, 0], -ahead[:, 2]))
    assert 0.52 < (np.abs(heading) < 70.0).mean() < 0.68
    for side in (".L", ".R"):
        assert hand_penetrates_body(batch.rotation_vectors[:2000], side).mean() < 0.005, side


def test_hand_penetrates_body_at_the_belly() -> None:
    pose = np.zeros((1, 22, 3), dtype=np.float32)
    assert not hand_penetrates_body(pose, ".L")[0]
    poses = np.repeat(pose, 4000, axis=0)
    poses[:, JOINT_INDEX["upperarm01.L"]] = np.random.default_rng(0).uniform(-1.5, 1.5, size=(4000, 3))
    poses[:, JOINT_INDEX["lowerarm01.L"]] = np.array([-0.7, 0.6, -0.1])
    wrists = _positions(poses)[:, JOINT_INDEX["wrist.L"]]
    deep = np.linalg.norm((wrists - np.array([0.0, -0.1, 0.0]))[:, [0, 2]], axis=-1) < 0.06
    deep &= (wrists[:, 1] > -0.15) & (wrists[:, 1] < 0.0)
    assert (
        deep.any()
        and hand_penetrates_body(poses[deep], ".L").all()
        and not hand_penetrates_body(poses[deep], ".R").any()
    )


def test_mirror_reflects_every_joint_and_twice_is_identity() -> None:
    poses = PoseSampler("train", 6).sample(50).rotation_vectors
    mirrored = mirror(poses)
    assert np.array_equal(mirror(mirrored), poses) and not np.array_equal(mirrored, poses)
    positions, reflected = _positions(mirrored), mirror_point(_positions(poses))
    assert np.allclose(positions[:, MIRRORED_JOINTS], reflected, atol=1e-5)
    left, right = JOINT_INDEX["lowerarm01.L"], JOINT_INDEX["lowerarm01.R"]
    assert np.allclose(positions[:, right], reflected[:, left], atol=1e-5)


def test_limits_are_symmetric() -> None:
    rng = np.random.default_rng(0)
    poses = rng.uniform(-3.0, 3.0, size=(200, 22, 3)).astype(np.float32)
    assert np.allclose(clamp(mirror(poses)), mirror(clamp(poses)), atol=1e-5)
    assert not np.allclose(clamp(poses), poses)
    assert (RELAXED >= LOW).all() and (RELAXED <= HIGH).all()
    assert np.allclose(from_axes(to_axes(poses)), poses, atol=1e-5)
