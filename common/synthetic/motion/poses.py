"""Poses of people who are rendered: recorded and invented ones, within the limits of joints.

The package's table has diverse poses of subjects 1 to 7 of CMU, of DeepMimic and of MakeHuman, and some contiguous
clips, retargeted to the body's joints.  Label space, codec tables and networks were made of it.

Limits apply to the components of a joint's rotation vector in the joint's own axes.  For elbows and wrists these are
bone, hinge and their cross product (`retarget.bone_frame`); for all other joints they are the body's axes, in
which a positive rotation about x bends trunk and head forward, swings a leg back and flexes a knee.  The tables are for
the left side; the right side is mirrored.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.random import Generator
from scipy.spatial.transform import Rotation

from common.arrays import BoolArray, Float64Array, FloatArray, IntArray
from common.body.anatomy import JOINT_INDEX, JOINTS, MIRROR_TURN_SIGNS, MIRRORED_CURLS, MIRRORED_JOINTS
from common.synthetic.dataset import WIDE, DatasetPreset, Split, check_seed, clip_split
from common.synthetic.motion.retarget import bone_direction, bone_frame, forward_kinematics, tip_positions

_SPINE_LIMITS = ((-0.22, 0.28), (-0.16, 0.16), (-0.16, 0.16))
_NECK = ((-0.40, 0.60), (-0.60, 0.60), (-0.35, 0.35))
_UNLIMITED = ((-np.pi, np.pi),) * 3
# Elbows are bent by 43 degrees in the rest pose, so a straight arm is at -0.75 on the hinge.
_LEFT: dict[str, tuple[tuple[float, float], ...]] = {
    "root": _UNLIMITED,
    **{f"spine0{number}": _SPINE_LIMITS for number in range(1, 6)},
    "neck01": _NECK,
    "head": _NECK,
    "clavicle.L": ((-0.20, 0.20), (-0.30, 0.40), (-0.60, 0.20)),
    "upperarm01.L": _UNLIMITED,
    "lowerarm01.L": ((-1.40, 1.40), (-0.78, 1.95), (-0.35, 0.35)),
    "wrist.L": ((-1.00, 1.00), (-1.10, 1.10), (-0.80, 0.80)),
    "upperleg01.L": ((-2.20, 0.80), (-0.90, 0.90), (-1.20, 0.60)),
    "lowerleg01.L": ((-0.15, 2.50), (-0.25, 0.25), (-0.15, 0.15)),
    "foot.L": ((-0.90, 1.00), (-0.70, 0.70), (-0.50, 0.50)),
}
_RELAXED: dict[str, tuple[float, float, float]] = {
    "lowerarm01.L": (0.0, -0.30, 0.0),
    "upperleg01.L": (-0.20, 0.0, 0.05),
    "lowerleg01.L": (0.25, 0.0, 0.0),
    "foot.L": (-0.05, 0.0, 0.0),
}
_BONE_AXES_JOINTS = ("lowerarm01.", "wrist.")


def _table() -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    axes = np.tile(np.eye(3), (len(JOINTS), 1, 1))
    low, high, relaxed = (np.zeros((len(JOINTS), 3)) for _ in range(3))
    for index, joint in enumerate(JOINTS):
        bone_axes = joint.startswith(_BONE_AXES_JOINTS)
        if bone_axes:
            axes[index] = bone_frame(joint)
        left = joint.replace(".R", ".L")
        bounds = np.array(_LEFT[left])
        centre = np.array(_RELAXED.get(left, (0.0, 0.0, 0.0)))
        if joint.endswith(".R"):
            # Mirroring keeps the sign of the hinge component in bone axes, and of x in the body's axes.
            flips = np.array([True, False, True]) if bone_axes else np.array([False, True, True])
            bounds = np.where(flips[:, None], -bounds[:, ::-1], bounds)
            centre = np.where(flips, -centre, centre)
        low[index], high[index], relaxed[index] = bounds[:, 0], bounds[:, 1], centre
    return tuple(part.astype(np.float32) for part in (axes, low, high, relaxed))  # type: ignore[return-value]


AXES, LOW, HIGH, RELAXED = _table()
"""(22, 3, 3) the joints' axes as columns; (22, 3) lower limits, upper limits, relaxed pose on these axes, radians."""


def to_axes(rotation_vectors: FloatArray) -> FloatArray:
    """(..., 22, 3) rotation vectors → their components on each joint's axes."""
    return np.asarray(np.einsum("...jk,jka->...ja", rotation_vectors, AXES), dtype=np.float32)


def from_axes(components: FloatArray) -> FloatArray:
    """The inverse of `to_axes`."""
    return np.asarray(np.einsum("...ja,jka->...jk", components, AXES), dtype=np.float32)


def clamp(rotation_vectors: FloatArray) -> FloatArray:
    """(..., 22, 3) with every joint clamped to its limits, except root and shoulders, which have none."""
    clipped = from_axes(np.clip(to_axes(rotation_vectors), LOW, HIGH))
    for joint in ("root", "upperarm01.L", "upperarm01.R"):
        clipped[..., JOINT_INDEX[joint], :] = rotation_vectors[..., JOINT_INDEX[joint], :]
    return clipped


def mirror(rotation_vectors: FloatArray) -> FloatArray:
    """(..., 22, 3): the mirrored pose."""
    return np.asarray(rotation_vectors[..., MIRRORED_JOINTS, :] * MIRROR_TURN_SIGNS, dtype=np.float32)


TABLE_FILE = Path(__file__).resolve().parent.parent / "data" / "motions.npz"

CLIP_FPS = 30.0
# Radians and metres per unit of the file's integers.
_ANGLE_STEP, _LENGTH_STEP = np.pi / 32767, 5e-4


@dataclass(frozen=True, slots=True)
class Clip:
    """Contiguous motion of one person.

    Args:
        name: source and file, such as `cmu/005_13`.
        rotation_vectors: (T, 22, 3) float32, local axis-angle in radians; the root's is the orientation in the world,
            which faces the camera in the first frame.
        root_translation: (T, 3) float32 metres, camera axes; above the origin in the first frame, the floor is y = 0.
        fps: frames per second.
    """

    name: str
    rotation_vectors: FloatArray
    root_translation: FloatArray
    fps: float


@dataclass(frozen=True, slots=True)
class MotionTable:
    """Poses and clips.

    Args:
        poses: (N, 22, 3) float32 local axis-angle; the root's has tilt but no heading.
        pose_clip: (N,) index into `clip_names`.
        clip_names: all source clips.
        clips: the contiguous clips.
    """

    poses: FloatArray
    pose_clip: IntArray
    clip_names: tuple[str, ...]
    clips: tuple[Clip, ...]

    def poses_of(self, split: Split) -> tuple[FloatArray, IntArray]:
        """The poses (M, 22, 3) of the split, and their clips (M,)."""
        in_split = np.array([clip_split(name) == split for name in self.clip_names])[self.pose_clip]
        return self.poses[in_split], self.pose_clip[in_split]


@lru_cache(maxsize=1)
def load_table() -> MotionTable:
    """The table of the package."""
    with np.load(TABLE_FILE, allow_pickle=False) as file:
        rotations = (file["clip_rotations"] * _ANGLE_STEP).astype(np.float32)
        positions = (file["clip_positions"] * _LENGTH_STEP).astype(np.float32)
        lengths, names = file["clip_lengths"], [str(name) for name in file["clip_titles"]]
        clips = tuple(
            Clip(name, rotations[end - length : end], positions[end - length : end], CLIP_FPS)
            for name, length, end in zip(names, lengths, lengths.cumsum(), strict=True)
        )
        poses = (file["poses"] * _ANGLE_STEP).astype(np.float32)
        clip_names = tuple(str(name) for name in file["clip_names"])
        return MotionTable(poses, file["pose_clip"].astype(np.int64), clip_names, clips)


def clips(split: Split) -> list[Clip]:
    """The contiguous clips of the split."""
    return [clip for clip in load_table().clips if clip_split(clip.name) == split]


RECIPES: tuple[str, ...] = ("captured", "blended", "free", "wide")
MAX_CURL = 1.4
"""Radians per phalanx."""
_FRONT_HALF_ANGLE = np.deg2rad(70.0)
_UPRIGHT_COSINE = np.cos(np.deg2rad(45.0))

_ARMS = [
    JOINT_INDEX[f"{stem}{side}"] for side in (".L", ".R") for stem in ("clavicle", "upperarm01", "lowerarm01", "wrist")
]
_LEGS = [JOINT_INDEX[f"{stem}{side}"] for side in (".L", ".R") for stem in ("upperleg01", "lowerleg01", "foot")]
_SPINE_JOINTS = [JOINT_INDEX[f"spine0{number}"] for number in range(1, 6)]
_HEAD = [JOINT_INDEX["neck01"], JOINT_INDEX["head"]]
_WRISTS = [JOINT_INDEX["wrist.L"], JOINT_INDEX["wrist.R"]]

# Standard deviations, radians.
_JOINT_NOISE, _WRIST_NOISE, _NECK_NOISE, _TILT_NOISE = 0.04, 0.25, 0.12, 0.08
# Sum of the two parameters of a joint's beta distribution: the larger, the closer to the relaxed pose.
_FREE_CONCENTRATION, _WIDE_CONCENTRATION = 14.0, 2.5
_SEATED_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class PoseBatch:
    """Poses of n people.

    Args:
        rotation_vectors: (n, 22, 3) float32 local axis-angle, radians; the root's is tilt, then heading (0 faces the
            camera), without pitch and roll of the camera.
        curl: (n, 4) float32 radians per phalanx: fingers and thumb of the left hand, then of the right.
        recipe: (n,) index into `RECIPES`.
    """

    rotation_vectors: FloatArray
    curl: FloatArray
    recipe: IntArray


class PoseSampler:
    """A seeded stream of poses of one split, distributed as a preset defines.

    Raises:
        ValueError: the seed is outside the split's range.
    """

    def __init__(self, split: Split, seed: int, preset: DatasetPreset = WIDE) -> None:
        self._preset = preset
        self._rng = np.random.default_rng(check_seed(split, seed))
        self._captured, clip = load_table().poses_of(split)
        # The probability of a clip is proportional to the square root of its length.
        weight = 1.0 / np.sqrt(np.bincount(clip)[clip])
        self._probabilities = weight / weight.sum()
        if preset.upright:
            tilts = Rotation.from_rotvec(self._captured[:, 0]).as_matrix()
            self._probabilities = self._probabilities * (tilts[:, 1, 1] > _UPRIGHT_COSINE)
            self._probabilities /= self._probabilities.sum()

    def sample(self, n: int) -> PoseBatch:
        """The next n poses of the stream."""
        rng = self._rng
        recipe = rng.choice(len(RECIPES), size=n, p=self._preset.recipes)
        poses = self._draw_captured(n)
        blended = np.flatnonzero(recipe == 1)
        poses[blended] = self._blend(poses[blended])
        for number, concentration in ((2, _FREE_CONCENTRATION), (3, _WIDE_CONCENTRATION)):
            selected = np.flatnonzero(recipe == number)
            poses[selected] = _draw_free(rng, len(selected), concentration)
        if self._preset.seated:
            seated = np.flatnonzero((recipe < 2) & (rng.random(n) < self._preset.seated))
            legs = [0, *_LEGS]
            poses[seated[:, None], legs] = _draw_free(rng, len(seated), _FREE_CONCENTRATION, 1.0)[:, legs]
        poses = clamp(_with_noise(rng, poses))
        poses = _resolve_penetration(poses)
        curl = _draw_curl(rng, n)
        flip = rng.random(n) < 0.5
        poses = np.where(flip[:, None, None], mirror(poses), poses)
        curl = np.where(flip[:, None], curl[:, MIRRORED_CURLS], curl)
        heading = Rotation.from_rotvec(_draw_heading(rng, n, self._preset.facing)[:, None] * np.eye(3)[1])
        poses[:, 0] = (heading * Rotation.from_rotvec(poses[:, 0])).as_rotvec()
        return PoseBatch(poses.astype(np.float32), curl.astype(np.float32), recipe)

    def _draw_captured(self, n: int) -> FloatArray:
        return self._captured[self._rng.choice(len(self._captured), size=n, p=self._probabilities)]

    def _blend(self, legs_and_root: FloatArray) -> FloatArray:
        """Combines the arms of one captured pose, trunk and head of a second, legs and orientation of a third."""
        n = len(legs_and_root)
        arms, trunk = self._draw_captured(n), self._draw_captured(n)
        blend = legs_and_root.copy()
        blend[:, _ARMS] = arms[:, _ARMS]
        swapped = np.flatnonzero(self._rng.random(n) < 0.5)[:, None]
        blend[swapped, _SPINE_JOINTS + _HEAD] = trunk[swapped, _SPINE_JOINTS + _HEAD]
        return blend


def _with_noise(rng: Generator, poses: FloatArray) -> FloatArray:
    noise = rng.normal(scale=_JOINT_NOISE, size=poses.shape)
    noise[:, _WRISTS] += rng.normal(scale=_WRIST_NOISE, size=(len(poses), 2, 3))
    # Neck and head rotate together: most about the vertical, then in pitch, least in roll.
    noise[:, _HEAD] += rng.normal(scale=_NECK_NOISE, size=(len(poses), 1, 3)) * np.array([1.0, 1.5, 0.5])
    return (poses + noise).astype(np.float32)


def _draw_curl(rng: Generator, n: int) -> FloatArray:
    """An open, relaxed or closed hand on each side; the thumb is curled less than the fingers."""
    mean = rng.choice([0.06, 0.35, 1.05], size=(n, 2), p=[0.3, 0.5, 0.2])
    fingers = np.clip(mean * rng.uniform(0.3, 1.5, size=(n, 2)), 0.0, MAX_CURL)
    thumbs = np.clip(fingers * rng.uniform(0.2, 0.9, size=(n, 2)) + 0.15 * rng.random((n, 2)), 0.0, MAX_CURL)
    return np.stack([fingers[:, 0], thumbs[:, 0], fingers[:, 1], thumbs[:, 1]], axis=-1).astype(np.float32)


def _draw_heading(rng: Generator, n: int, facing: float) -> FloatArray:
    front = rng.uniform(-_FRONT_HALF_ANGLE, _FRONT_HALF_ANGLE, size=n)
    behind = rng.uniform(_FRONT_HALF_ANGLE, 2.0 * np.pi - _FRONT_HALF_ANGLE, size=n)
    return np.where(rng.random(n) < facing, front, behind).astype(np.float32)


# --- Random poses within the joint limits ----------------------------------------------------------------------------


def _draw_free(rng: Generator, n: int, concentration: float, seated: float = _SEATED_SHARE) -> FloatArray:
    """Joint angles from beta distributions between the limits, around the relaxed pose; upper arms in any direction."""
    span = HIGH - LOW
    mean = (RELAXED - LOW) / span
    share = rng.beta(mean * concentration, (1.0 - mean) * concentration, size=(n, len(JOINTS), 3))
    components = (LOW + span * share).astype(np.float32)
    # The joints of the spine bend together, with small differences.
    components[:, _SPINE_JOINTS] = 0.7 * components[:, _SPINE_JOINTS[:1]] + 0.3 * components[:, _SPINE_JOINTS]
    _seat(rng, components, np.flatnonzero(rng.random(n) < seated))
    components[:, 0] = rng.normal(scale=_TILT_NOISE, size=(n, 3)) * np.array([1.0, 0.0, 1.0])
    poses = from_axes(components)
    for side in (".L", ".R"):
        poses[:, JOINT_INDEX[f"upperarm01{side}"]] = _draw_upper_arm(rng, n, side)
    return poses


def _seat(rng: Generator, components: FloatArray, selected: IntArray) -> None:
    """Bends hips and knees of the selected poses as on a chair, in place."""
    lean = rng.normal(scale=0.15, size=(len(selected), 1))
    for stem, bend in (("upperleg01", -1.4), ("lowerleg01", 1.45)):
        joints = [JOINT_INDEX[f"{stem}.L"], JOINT_INDEX[f"{stem}.R"]]
        components[selected[:, None], joints, 0] = bend + lean + rng.normal(scale=0.15, size=(len(selected), 2))


def _draw_upper_arm(rng: Generator, n: int, side: str) -> FloatArray:
    """(n, 3): 40 % hang down, the others point in any possible direction; all have a random twist."""
    hangs = rng.random(n) < 0.4
    elevation = np.where(hangs, rng.uniform(0.05, 0.5, n), np.pi * rng.beta(1.6, 1.6, n))
    # From across the chest (-50 degrees) over forwards and sideways to backwards, where the elevation is limited.
    azimuth = np.deg2rad(rng.uniform(-50.0, 130.0, n))
    backwards = np.clip((azimuth - np.pi / 2) / np.deg2rad(40.0), 0.0, 1.0)
    elevation = elevation * (1.0 - 0.6 * backwards)
    outwards = 1.0 if side == ".L" else -1.0
    target = np.stack(
        [
            outwards * np.sin(elevation) * np.sin(azimuth),
            np.cos(elevation),
            -np.sin(elevation) * np.cos(azimuth),
        ],
        axis=-1,
    )
    bone = bone_direction(f"upperarm01{side}")
    axis = np.cross(bone, target)
    sine = np.linalg.norm(axis, axis=-1, keepdims=True)
    swing = axis / np.maximum(sine, 1e-9) * np.arctan2(sine, (target @ bone)[:, None])
    twist = np.clip(rng.normal(scale=0.4, size=(n, 1)), -1.2, 1.2) * bone
    rotation = Rotation.from_rotvec(swing) * Rotation.from_rotvec(twist)
    return np.asarray(rotation.as_rotvec(), dtype=np.float32)


# --- Hands that penetrate the body -----------------------------------------------------------------------------------

# Capsules of the body: start, end, radius in metres.
_CAPSULES: tuple[tuple[str, str, float], ...] = (
    ("root", "spine02", 0.11),
    ("spine02", "neck01", 0.11),
    ("neck01", "head", 0.06),
    ("upperleg01.L", "lowerleg01.L", 0.065),
    ("upperleg01.R", "lowerleg01.R", 0.065),
)
_ARM_DAMPING, _MAX_DAMPINGS = 0.6, 4


def _resolve_penetration(poses: FloatArray) -> FloatArray:
    """Moves an arm whose hand is inside trunk, neck or thigh towards the rest pose, which is free of penetration."""
    resolved = poses.copy()
    for side in (".L", ".R"):
        arm = [JOINT_INDEX[f"{stem}{side}"] for stem in ("clavicle", "upperarm01", "lowerarm01")]
        remaining = np.arange(len(resolved))
        for _ in range(_MAX_DAMPINGS):
            remaining = remaining[hand_penetrates_body(resolved[remaining], side)]
            if not len(remaining):
                break
            resolved[remaining[:, None], arm] *= _ARM_DAMPING
    return resolved


def hand_penetrates_body(poses: FloatArray, side: str) -> BoolArray:
    """(n, 22, 3) → (n,): whether wrist or knuckles of a side (`.L`, `.R`) are inside trunk, neck or thighs."""
    if not len(poses):
        return np.zeros(0, dtype=np.bool_)
    vectors = poses.astype(np.float64)
    matrices = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(len(poses), -1, 3, 3)
    positions, world = forward_kinematics(matrices)
    wrist = positions[:, JOINT_INDEX[f"wrist{side}"]]
    inside = np.zeros(len(poses), dtype=np.bool_)
    for point in (wrist, tip_positions(positions, world, f"wrist{side}")):
        for start, end, radius_m in _CAPSULES:
            distance_m = _distance_to_bone(point, positions[:, JOINT_INDEX[start]], positions[:, JOINT_INDEX[end]])
            inside |= distance_m < radius_m
    return inside


def _distance_to_bone(point: Float64Array, start: Float64Array, end: Float64Array) -> Float64Array:
    along = end - start
    share = np.sum((point - start) * along, axis=-1) / np.sum(along * along, axis=-1)
    nearest = start + np.clip(share, 0.0, 1.0)[:, None] * along
    return np.asarray(np.linalg.norm(point - nearest, axis=-1))
