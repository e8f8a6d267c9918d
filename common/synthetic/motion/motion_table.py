"""Retargets motion capture to the body's joints, selects diverse poses and writes a motion table.

The package has the selection `original`, from which its label space, codec tables and networks were made: subjects 1 to
7 of `cmu`, `deepmimic` and `makehuman`.  `extended` has all folders of `common.synthetic.motion.sources.READERS`.

Examples:
  python -m common.synthetic.motion.motion_table --source motions --selection original
  python -m common.synthetic.motion.motion_table --source motions --selection extended --out extended.npz
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from common.arrays import Float64Array, FloatArray, IntArray
from common.body.anatomy import CURLS, JOINT_INDEX
from common.io.command_line import parser_of
from common.synthetic.dataset.split import Split, clip_split
from common.synthetic.motion.clips import clip_kind
from common.synthetic.motion.retarget import Motion, about_vertical, heading, resample
from common.synthetic.motion.sources import READERS, read_motions

TABLE_FILE = Path(__file__).resolve().parent.parent / "data" / "motions.npz"

ANGLE_STEP = np.pi / 32767
"""Radians per unit of the table's integers."""
LENGTH_STEP = 5e-4
"""Metres per unit of the table's integers."""
FORMAT_VERSION = 2
"""Version 1, which names none, has neither kinds nor curls."""
SELECTIONS: dict[str, tuple[tuple[str, ...], str]] = {
    "original": (("cmu", "deepmimic", "makehuman"), r"cmu/00[1-7]_|deepmimic/|makehuman/"),
    "extended": (tuple(READERS), ""),
}
"""Name → sources, and a pattern that the beginnings of their clips' names match."""
_UNKNOWN = np.iinfo(np.int16).min
CLIP_FPS = 30.0
_POSE_FPS = 15.0
_MAX_POSES = 11_000
# Poses closer than this (root mean square over joints, radians) are duplicates.
_MIN_POSE_DISTANCE = 0.02

# Rotation angles beyond human limits, radians: the ballet clips have tracking errors that flip a leg or a foot.
_HIPS = [JOINT_INDEX["upperleg01.L"], JOINT_INDEX["upperleg01.R"]]
_MAX_HIP_ANGLE = 2.4
_MAX_FOOT_ANGLE = 1.6
_RELAXED_FOOT = np.array([0.4, 0.0, 0.0])

# Source clip, first and last second of the contiguous clips, which the demo and the codec's statistics use.
_CLIPS: tuple[tuple[str, float, float], ...] = (
    ("cmu/001_08", 0.0, 10.0),
    ("cmu/002_03", 0.0, 5.0),
    ("cmu/002_04", 0.0, 8.0),
    ("cmu/002_05", 2.0, 12.0),
    ("cmu/002_06", 2.0, 12.0),
    ("cmu/002_07", 2.0, 10.0),
    ("cmu/002_08", 0.0, 10.0),
    ("cmu/005_02", 0.0, 10.0),
    ("cmu/005_13", 0.0, 9.0),
    ("cmu/006_10", 0.0, 8.0),
    ("cmu/006_11", 0.0, 8.0),
    ("cmu/007_01", 0.0, 5.0),
    ("cmu/007_10", 0.0, 5.0),
    ("deepmimic/dance_b", 0.0, 3.0),
    ("deepmimic/jump", 0.0, 2.0),
    ("deepmimic/long_walk1", 0.0, 8.0),
    ("deepmimic/long_walk3", 0.0, 8.0),
    ("deepmimic/stealthy_walk0", 0.0, 8.0),
)


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
    """Contents of the file.

    Args:
        poses: (N, 22, 3) float32 local axis-angle; the root's has tilt but no heading.
        curls: (N, 4) float32 radians per phalanx in the order of `CURLS`; NaN where the source has no fingers.
        pose_clip: (N,) index into `clip_names`.
        clip_names: all source clips.
        clip_kinds: their kinds of motion, of `common.synthetic.motion.clips.KINDS`.
        clips: the contiguous clips.
    """

    poses: FloatArray
    curls: FloatArray
    pose_clip: IntArray
    clip_names: tuple[str, ...]
    clip_kinds: tuple[str, ...]
    clips: tuple[Clip, ...]

    def poses_of(self, split: Split) -> FloatArray:
        """(M, 22, 3): the poses of the split."""
        in_split = np.array([clip_split(name) == split for name in self.clip_names])
        return np.asarray(self.poses[in_split[self.pose_clip]])


@lru_cache(maxsize=1)
def load_table() -> MotionTable:
    """The table of the package."""
    return read_table(TABLE_FILE)


def read_table(path: Path) -> MotionTable:
    """Reads a table.

    Raises:
        FileNotFoundError: there is no such file.
        KeyError: the file has another format.
        ValueError: a later version of this program wrote the file.
    """
    with np.load(path, allow_pickle=False) as file:
        version = int(file["version"]) if "version" in file else 1
        if version > FORMAT_VERSION:
            raise ValueError(f"{path} has version {version}; this program reads up to {FORMAT_VERSION}")
        clip_names = tuple(str(name) for name in file["clip_names"])
        kinds = file["clip_kinds"].tolist() if version > 1 else [clip_kind(name) for name in clip_names]
        curls = file["pose_curls"] if version > 1 else np.full((len(file["poses"]), len(CURLS)), _UNKNOWN)
        lengths, names = file["clip_lengths"], [str(name) for name in file["clip_titles"]]
        rotations = (file["clip_rotations"] * ANGLE_STEP).astype(np.float32)
        positions = (file["clip_positions"] * LENGTH_STEP).astype(np.float32)
        ends = np.cumsum(lengths)
        clips = tuple(
            Clip(name, rotations[end - length : end], positions[end - length : end], CLIP_FPS)
            for name, length, end in zip(names, lengths, ends, strict=True)
        )
        return MotionTable(
            poses=(file["poses"] * ANGLE_STEP).astype(np.float32),
            curls=np.where(curls == _UNKNOWN, np.nan, curls * ANGLE_STEP).astype(np.float32),
            pose_clip=file["pose_clip"].astype(np.int64),
            clip_names=clip_names,
            clip_kinds=tuple(kinds),
            clips=clips,
        )


def clips(split: Split) -> list[Clip]:
    """The contiguous clips of the split."""
    return [clip for clip in load_table().clips if clip_split(clip.name) == split]


# --- Writing the table -----------------------------------------------------------------------------------------------


def make_table(
    motions: list[Motion], out: Path, max_poses: int = _MAX_POSES, version: int = FORMAT_VERSION
) -> MotionTable:
    """Selects diverse poses and the contiguous clips, and writes the file."""
    names = [motion.name for motion in motions]
    stacked, curls, pose_clip = _stacked(motions)
    chosen = np.sort(_farthest_point_sampling(_pose_features(stacked), max_poses))
    chosen_clips = [_cut(motions[names.index(name)], start_s, end_s) for name, start_s, end_s in _CLIPS]
    lengths = np.array([len(motion.local_rotations) for motion in chosen_clips], dtype=np.int64)
    rotations = np.concatenate([_rotation_vectors(motion.local_rotations) for motion in chosen_clips])
    positions = np.concatenate([motion.root_translation for motion in chosen_clips])
    arrays: dict[str, Any] = {
        "poses": _integers(stacked[chosen], ANGLE_STEP),
        # One byte for up to 256 clips: the package's file stays what it was.
        "pose_clip": pose_clip[chosen].astype(np.min_scalar_type(len(names) - 1)),
        "clip_names": np.array(names),
        "clip_titles": np.array([name for name, _, _ in _CLIPS]),
        "clip_lengths": lengths,
        "clip_rotations": _integers(rotations, ANGLE_STEP),
        "clip_positions": _integers(positions, LENGTH_STEP),
    }
    if version > 1:
        arrays["version"] = np.array(version)
        arrays["clip_kinds"] = np.array([clip_kind(motion.name, motion.activity) for motion in motions])
        arrays["pose_curls"] = _integers(curls[chosen], ANGLE_STEP)
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out, **arrays)
    return read_table(out)


def table_of(motions: Sequence[Motion]) -> MotionTable:
    """All poses of some motions, at least one, without contiguous clips."""
    poses, curls, pose_clip = _stacked(motions)
    kinds = tuple(clip_kind(motion.name, motion.activity) for motion in motions)
    names = tuple(motion.name for motion in motions)
    return MotionTable(poses.astype(np.float32), curls.astype(np.float32), pose_clip, names, kinds, ())


def _stacked(motions: Sequence[Motion]) -> tuple[Float64Array, Float64Array, IntArray]:
    """(N, 22, 3) the poses of all motions, their curls (N, 4), and which motion each is of (N,)."""
    poses, curls = zip(*(_candidates(motion) for motion in motions), strict=True)
    return np.concatenate(poses), np.concatenate(curls), np.repeat(np.arange(len(motions)), [len(p) for p in poses])


def _integers(values: Float64Array, step: float) -> NDArray[np.int16]:
    return np.asarray(np.where(np.isnan(values), _UNKNOWN, np.round(values / step)).astype(np.int16))


def _candidates(motion: Motion) -> tuple[Float64Array, Float64Array]:
    """Poses without heading and tracking errors, and their curls."""
    resampled = resample(motion, _POSE_FPS)
    poses = _rotation_vectors(_without_heading(resampled.local_rotations))
    valid = np.linalg.norm(poses[:, _HIPS], axis=-1).max(axis=-1) < _MAX_HIP_ANGLE
    return _with_relaxed_feet(poses[valid]), resampled.curl[valid]


def _rotation_vectors(rotations: Float64Array) -> Float64Array:
    flat = Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_rotvec()
    return np.asarray(flat.reshape(*rotations.shape[:-2], 3))


def _with_relaxed_feet(poses: Float64Array) -> Float64Array:
    """Relaxes feet with an impossible angle."""
    corrected, angles = poses.copy(), np.linalg.norm(poses, axis=-1)
    for foot in (JOINT_INDEX["foot.L"], JOINT_INDEX["foot.R"]):
        corrected[angles[:, foot] > _MAX_FOOT_ANGLE, foot] = _RELAXED_FOOT
    return np.asarray(corrected)


def _without_heading(local: Float64Array) -> Float64Array:
    upright = local.copy()
    upright[:, 0] = about_vertical(-heading(local[:, 0])) @ local[:, 0]
    return upright


def _cut(motion: Motion, start_s: float, end_s: float) -> Motion:
    resampled = resample(motion, CLIP_FPS)
    span = slice(round(start_s * CLIP_FPS), round(end_s * CLIP_FPS))
    rotations, translation = resampled.local_rotations[span].copy(), resampled.root_translation[span].copy()
    to_camera = about_vertical(-heading(rotations[0, 0]))
    rotations[:, 0] = to_camera @ rotations[:, 0]
    translation -= translation[0] * np.array([1.0, 0.0, 1.0])
    return replace(resampled, local_rotations=rotations, root_translation=translation @ to_camera.T)


def _pose_features(rotation_vectors: Float64Array) -> FloatArray:
    """(N, 22, 3) → (N, 198) rotation matrices, scaled so that distances approximate RMS radians per joint."""
    matrices = Rotation.from_rotvec(rotation_vectors.reshape(-1, 3)).as_matrix().reshape(len(rotation_vectors), -1)
    return np.asarray((matrices / np.sqrt(2.0 * rotation_vectors.shape[1])).astype(np.float32))


def _farthest_point_sampling(features: FloatArray, max_count: int) -> IntArray:
    """Indices by greedy farthest point sampling, until `max_count` or until the rest are near-duplicates."""
    distance = np.full(len(features), np.inf, dtype=np.float32)
    squares = np.square(features).sum(-1)
    chosen: list[int] = []
    current = 0
    while len(chosen) < max_count:
        chosen.append(current)
        to_current = squares + squares[current] - 2.0 * (features @ features[current])
        distance = np.minimum(distance, to_current)
        current = int(distance.argmax())
        if distance[current] < _MIN_POSE_DISTANCE**2:
            break
    return np.array(chosen, dtype=np.int64)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = parser_of("python -m common.synthetic.motion.motion_table", __doc__)
    parser.add_argument("--source", type=Path, required=True, help="folder with a folder for each source")
    parser.add_argument("--selection", choices=tuple(SELECTIONS), default="original", help="clips (default: original)")
    parser.add_argument("--out", type=Path, default=TABLE_FILE, help="file to write (default: that of the package)")
    options = parser.parse_args(arguments)
    try:
        sources, pattern = SELECTIONS[options.selection]
        motions = [motion for motion in read_motions(options.source, sources) if re.match(pattern, motion.name)]
        table = make_table(motions, options.out, version=1 if options.selection == "original" else FORMAT_VERSION)
    except (OSError, ValueError) as error:
        print(f"cannot write the table: {error}")
        return 2
    frames = sum(len(clip.rotation_vectors) for clip in table.clips)
    print(
        f"{options.out}: {len(table.poses)} poses of {len(table.clip_names)} sources, {len(table.clips)} clips with "
        f"{frames} frames, {options.out.stat().st_size / 1e6:.2f} MB"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
