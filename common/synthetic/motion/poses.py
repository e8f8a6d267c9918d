"""Draws poses for synthetic people: captured ones, blends of them, and free ones within the limits of the joints."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from common.arrays import BoolArray, Float64Array, FloatArray, IntArray
from common.body.anatomy import JOINT_INDEX, JOINTS
from common.synthetic.dataset.presets import WIDE, DatasetPreset
from common.synthetic.dataset.split import Split, check_seed, clip_split
from common.synthetic.motion.joint_limits import AT_EASE, HIGH, LOW, clamp, from_axes, mirror, mirror_curl
from common.synthetic.motion.motion_table import Clip, MotionTable, clips, load_table
from common.synthetic.motion.reference_skeleton import bone_direction, forward, tip_positions

__all__ = ["RECIPES", "Clip", "PoseBatch", "PoseSampler", "clips"]


RECIPES: tuple[str, ...] = ("captured", "blended", "free", "wide")
CURL_LIMIT = 1.4
_FRONT_HALF_ANGLE = np.deg2rad(70.0)
_UPRIGHT_COSINE = np.cos(np.deg2rad(45.0))

_ARMS = [
    JOINT_INDEX[f"{stem}{side}"] for side in (".L", ".R") for stem in ("clavicle", "upperarm01", "lowerarm01", "wrist")
]
_LEGS = [JOINT_INDEX[f"{stem}{side}"] for side in (".L", ".R") for stem in ("upperleg01", "lowerleg01", "foot")]
_SPINE = [JOINT_INDEX[f"spine0{number}"] for number in range(1, 6)]
_HEAD = [JOINT_INDEX["neck01"], JOINT_INDEX["head"]]
_WRISTS = [JOINT_INDEX["wrist.L"], JOINT_INDEX["wrist.R"]]

# Standard deviations, radians.
_JOINT_NOISE, _WRIST_NOISE, _NECK_NOISE, _TILT_NOISE = 0.04, 0.25, 0.12, 0.08
# The larger, the closer a free joint stays to its place at ease (sum of the parameters of its beta distribution).
_FREE_CONCENTRATION, _WIDE_CONCENTRATION = 14.0, 2.5
_SEATED_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class PoseBatch:
    """Poses of n people.

    Args:
        rotation_vectors: (n, 22, 3) float32 local axis-angle, radians; the root's is tilt, then heading (0 faces the
            camera); pitch and roll of the camera are not in it.
        curl: (n, 4) float32 radians per phalanx: fingers and thumb of the left hand, then of the right.
        recipe: (n,) index into `RECIPES`.
    """

    rotation_vectors: FloatArray
    curl: FloatArray
    recipe: IntArray


class PoseSampler:
    """A seeded stream of poses of one split, in the shares of a preset.

    Raises:
        ValueError: the seed is not one of the split's.
    """

    def __init__(self, split: Split, seed: int, table: MotionTable | None = None, preset: DatasetPreset = WIDE) -> None:
        self._preset = preset
        self._random = np.random.default_rng(check_seed(split, seed))
        table = table or load_table()
        self._captured = table.poses_of(split)
        self._chances = _frame_chances(table, split)
        if preset.upright:
            self._chances = self._chances * _upright(self._captured)
            self._chances /= self._chances.sum()

    def sample(self, n: int) -> PoseBatch:
        """The next n poses of the stream."""
        random = self._random
        recipe = random.choice(len(RECIPES), size=n, p=self._preset.recipes)
        poses = self._draw_captured(n)
        blended = np.flatnonzero(recipe == 1)
        poses[blended] = self._blend(poses[blended])
        for number, concentration in ((2, _FREE_CONCENTRATION), (3, _WIDE_CONCENTRATION)):
            which = np.flatnonzero(recipe == number)
            poses[which] = _draw_free(random, len(which), concentration)
        if self._preset.seated:
            sits = np.flatnonzero((recipe < 2) & (random.random(n) < self._preset.seated))
            poses[sits[:, None], [0, *_LEGS]] = _draw_free(random, len(sits), _FREE_CONCENTRATION, 1.0)[:, [0, *_LEGS]]
        poses = clamp(_with_noise(random, poses))
        poses = _free_hands(poses)
        curl = _draw_curl(random, n)
        flip = random.random(n) < 0.5
        poses = np.where(flip[:, None, None], mirror(poses), poses)
        curl = np.where(flip[:, None], mirror_curl(curl), curl)
        poses[:, 0] = _turned(poses[:, 0], _draw_heading(random, n, self._preset.facing))
        return PoseBatch(poses.astype(np.float32), curl.astype(np.float32), recipe)

    def _draw_captured(self, n: int) -> FloatArray:
        return self._captured[self._random.choice(len(self._captured), size=n, p=self._chances)]

    def _blend(self, legs_and_root: FloatArray) -> FloatArray:
        """Arms of one captured pose, trunk and head of another, legs and the way they stand of a third."""
        n = len(legs_and_root)
        arms, trunk = self._draw_captured(n), self._draw_captured(n)
        blend = legs_and_root.copy()
        blend[:, _ARMS] = arms[:, _ARMS]
        swapped = np.flatnonzero(self._random.random(n) < 0.5)[:, None]
        blend[swapped, _SPINE + _HEAD] = trunk[swapped, _SPINE + _HEAD]
        return blend


def _frame_chances(table: MotionTable, split: Split) -> Float64Array:
    """A clip is drawn in proportion to the root of its length, so that long walks do not crowd out the rest."""
    wanted = np.array([clip_split(name) == split for name in table.clip_names])
    clip = table.pose_clip[wanted[table.pose_clip]]
    weight = 1.0 / np.sqrt(np.bincount(clip, minlength=len(wanted))[clip])
    return np.asarray(weight / weight.sum())


def _with_noise(random: np.random.Generator, poses: FloatArray) -> FloatArray:
    noise = random.normal(scale=_JOINT_NOISE, size=poses.shape)
    noise[:, _WRISTS] += random.normal(scale=_WRIST_NOISE, size=(len(poses), 2, 3))
    # Neck and head turn together, to the side more than up and down, and least of all onto a shoulder.
    noise[:, _HEAD] += random.normal(scale=_NECK_NOISE, size=(len(poses), 1, 3)) * np.array([1.0, 1.5, 0.5])
    return (poses + noise).astype(np.float32)


def _draw_curl(random: np.random.Generator, n: int) -> FloatArray:
    """Per hand open, at ease or a fist; the thumb goes part of the way."""
    mean = random.choice([0.06, 0.35, 1.05], size=(n, 2), p=[0.3, 0.5, 0.2])
    fingers = np.clip(mean * random.uniform(0.3, 1.5, size=(n, 2)), 0.0, CURL_LIMIT)
    thumbs = np.clip(fingers * random.uniform(0.2, 0.9, size=(n, 2)) + 0.15 * random.random((n, 2)), 0.0, CURL_LIMIT)
    return np.stack([fingers[:, 0], thumbs[:, 0], fingers[:, 1], thumbs[:, 1]], axis=-1).astype(np.float32)


def _upright(poses: FloatArray) -> BoolArray:
    """(n,) whose hips lean by less than 45°."""
    return np.asarray(Rotation.from_rotvec(poses[:, 0]).as_matrix()[:, 1, 1] > _UPRIGHT_COSINE)


def _draw_heading(random: np.random.Generator, n: int, facing: float) -> FloatArray:
    front = random.uniform(-_FRONT_HALF_ANGLE, _FRONT_HALF_ANGLE, size=n)
    behind = random.uniform(_FRONT_HALF_ANGLE, 2.0 * np.pi - _FRONT_HALF_ANGLE, size=n)
    return np.where(random.random(n) < facing, front, behind).astype(np.float32)


def _turned(tilt: FloatArray, heading: FloatArray) -> FloatArray:
    about_vertical = np.zeros((len(heading), 3))
    about_vertical[:, 1] = heading
    turned = Rotation.from_rotvec(about_vertical) * Rotation.from_rotvec(tilt)
    return np.asarray(turned.as_rotvec(), dtype=np.float32)


# --- Poses within the limits -----------------------------------------------------------------------------------------


def _draw_free(random: np.random.Generator, n: int, concentration: float, seated: float = _SEATED_SHARE) -> FloatArray:
    """Beta-distributed turns between each joint's limits, around its place at ease; arms over their whole reach."""
    span = HIGH - LOW
    place = (AT_EASE - LOW) / span
    share = random.beta(place * concentration, (1.0 - place) * concentration, size=(n, len(JOINTS), 3))
    parts = (LOW + span * share).astype(np.float32)
    # The back bends as one, with a little play in each joint.
    parts[:, _SPINE] = 0.7 * parts[:, _SPINE[:1]] + 0.3 * parts[:, _SPINE]
    _seat(random, parts, np.flatnonzero(random.random(n) < seated))
    parts[:, 0] = random.normal(scale=_TILT_NOISE, size=(n, 3)) * np.array([1.0, 0.0, 1.0])
    poses = from_axes(parts)
    for side in (".L", ".R"):
        poses[:, JOINT_INDEX[f"upperarm01{side}"]] = _draw_upper_arm(random, n, side)
    return poses


def _seat(random: np.random.Generator, parts: FloatArray, which: IntArray) -> None:
    """Bend hips and knees as on a chair, in place."""
    lean = random.normal(scale=0.15, size=(len(which), 1))
    for stem, bend in (("upperleg01", -1.4), ("lowerleg01", 1.45)):
        joints = [JOINT_INDEX[f"{stem}.L"], JOINT_INDEX[f"{stem}.R"]]
        parts[which[:, None], joints, 0] = bend + lean + random.normal(scale=0.15, size=(len(which), 2))


def _draw_upper_arm(random: np.random.Generator, n: int, side: str) -> FloatArray:
    """(n, 3): four in ten hang, the others point anywhere an arm can, each with a turn about the bone."""
    hangs = random.random(n) < 0.4
    raised = np.where(hangs, random.uniform(0.05, 0.5, n), np.pi * random.beta(1.6, 1.6, n))
    # From across the chest (-50 degrees) over forward and sideways to behind, where the arm does not rise far.
    outwards = np.deg2rad(random.uniform(-50.0, 130.0, n))
    behind = np.clip((outwards - np.pi / 2) / np.deg2rad(40.0), 0.0, 1.0)
    raised = raised * (1.0 - 0.6 * behind)
    across = 1.0 if side == ".L" else -1.0
    target = np.stack(
        [across * np.sin(raised) * np.sin(outwards), np.cos(raised), -np.sin(raised) * np.cos(outwards)], axis=-1
    )
    bone = bone_direction(f"upperarm01{side}")
    axis = np.cross(bone, target)
    sine = np.linalg.norm(axis, axis=-1, keepdims=True)
    swing = axis / np.maximum(sine, 1e-9) * np.arctan2(sine, (target @ bone)[:, None])
    twist = np.clip(random.normal(scale=0.4, size=(n, 1)), -1.2, 1.2) * bone
    turned = Rotation.from_rotvec(swing) * Rotation.from_rotvec(twist)
    return np.asarray(turned.as_rotvec(), dtype=np.float32)


# --- Hands out of the body -------------------------------------------------------------------------------------------

# Bones that hands keep clear of, and how far: radius of the flesh around them, metres.
_FLESH: tuple[tuple[str, str, float], ...] = (
    ("root", "spine02", 0.11),
    ("spine02", "neck01", 0.11),
    ("neck01", "head", 0.06),
    ("upperleg01.L", "lowerleg01.L", 0.065),
    ("upperleg01.R", "lowerleg01.R", 0.065),
)
_DAMPING, _ROUNDS = 0.6, 4


def _free_hands(poses: FloatArray) -> FloatArray:
    """Where a hand is inside trunk, neck or thigh, move that arm towards its place at rest, which is clear of all."""
    freed = poses.copy()
    for side in (".L", ".R"):
        arm = [JOINT_INDEX[f"{stem}{side}"] for stem in ("clavicle", "upperarm01", "lowerarm01")]
        stuck = np.arange(len(freed))
        for _ in range(_ROUNDS):
            stuck = stuck[hand_inside(freed[stuck], side)]
            if not len(stuck):
                break
            freed[stuck[:, None], arm] *= _DAMPING
    return freed


def hand_inside(poses: FloatArray, side: str) -> BoolArray:
    """(n, 22, 3) → (n,): whether wrist or knuckles of a side (`.L`, `.R`) lie within the flesh of trunk or thighs."""
    if not len(poses):
        return np.zeros(0, dtype=np.bool_)
    upright = poses.astype(np.float64)
    matrices = Rotation.from_rotvec(upright.reshape(-1, 3)).as_matrix().reshape(len(poses), -1, 3, 3)
    positions, world = forward(matrices)
    wrist = positions[:, JOINT_INDEX[f"wrist{side}"]]
    inside = np.zeros(len(poses), dtype=np.bool_)
    for point in (wrist, tip_positions(positions, world, f"wrist{side}")):
        for start, end, radius_m in _FLESH:
            clearance = _distance_to_bone(point, positions[:, JOINT_INDEX[start]], positions[:, JOINT_INDEX[end]])
            inside |= clearance < radius_m
    return inside


def _distance_to_bone(point: Float64Array, start: Float64Array, end: Float64Array) -> Float64Array:
    along = end - start
    share = np.sum((point - start) * along, axis=-1) / np.sum(along * along, axis=-1)
    nearest = start + np.clip(share, 0.0, 1.0)[:, None] * along
    return np.asarray(np.linalg.norm(point - nearest, axis=-1))
