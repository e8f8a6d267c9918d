"""The package's table of captured poses and clips, retargeted to the body's joints (`common.synthetic.motion.sources`).

Label space, codec tables and networks were made of it.  It has diverse poses of subjects 1 to 7 of CMU, of DeepMimic
and of MakeHuman, and some contiguous clips.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from common.arrays import FloatArray, IntArray
from common.synthetic.dataset.split import Split, clip_split

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

    def poses_of(self, split: Split) -> FloatArray:
        """(M, 22, 3): the poses of the split."""
        in_split = np.array([clip_split(name) == split for name in self.clip_names])
        return np.asarray(self.poses[in_split[self.pose_clip]])


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
