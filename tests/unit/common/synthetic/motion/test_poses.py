import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from common.body.anatomy import JOINT_INDEX, MIRRORED_JOINTS
from common.synthetic.motion.poses import (
    HIGH,
    LOW,
    MAX_CURL,
    RECIPES,
    RELAXED,
    PoseSampler,
    clamp,
    from_axes,
    hand_penetrates_body,
    mirror,
    mirror_curl,
    to_axes,
)
from common.synthetic.motion.retarget import forward_kinematics, mirror_point


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
    curl = np.array([[1.0, 2.0, 3.0, 4.0]], dtype=np.float32)
    assert np.array_equal(mirror_curl(curl), [[3.0, 4.0, 1.0, 2.0]])
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
