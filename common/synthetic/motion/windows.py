"""What is known of a clip by its name and by what its source says: in what manner somebody moves.

Windows of motion for training a motion model, in memory-mapped files outside the repository.

Axes are ours, of a camera that a person at the start faces: x to the person's left, y down, z away from the camera;
metres, the floor is y = 0.  Frames of all clips lie one after the other; bodies have the reference skeleton's size.

    python -m common.synthetic.motion.windows --motions motions --fps 30 --out windows
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from common.arrays import BoolArray, Float64Array, FloatArray, IntArray
from common.body.anatomy import JOINT_INDEX, SHAPE_SIZE
from common.body.model import BodyParameters, axis_angle_to_matrix
from common.io.command_line import parser_of
from common.synthetic.dataset import Split, clip_split
from common.synthetic.motion.retarget import SIDES, Motion, forward_kinematics, resample, tip_positions
from common.synthetic.motion.sources import READERS, read_motions

KINDS: tuple[str, ...] = (
    "walk", "run", "sit", "stand_talk", "gesture", "dance", "reach", "crouch_lie", "sport", "other",
)  # fmt: skip

# The first pattern that is found in name and activity decides. Trials 001 to 007 of CMU have no activity in words.
_PATTERNS: tuple[tuple[str, str], ...] = (
    ("gesture", r"invite"),
    ("sit", r"sit|driving|meditate"),
    ("other", r"levitat|flying|swim|power_up"),
    ("dance", r"danc|ballet|cmu/005_(?!01)"),
    (
        "gesture",
        r"signal|direct traffic|laugh|wave|cheer|clap|shrug|present|greet|/bow|nod|reject|victory|angry",
    ),
    ("reach", r"jump up to grab|reach|scaption|shoulder|pick|document|work|picture|drink|bottle|door|interact|fixing"),
    ("sport", r"jump|soccer|boxing|kick|punch|jab|flip|cartwheel|fight|sword|throw|climb|lunge|hurdle|leg raise"),
    ("sport", r"/push_|spin|pistol|spell|blast|defend|gym|hit_chest|cmu/001|cmu/006_(?!01)|cmu/002_0[45789]"),
    ("crouch_lie", r"crouch|crawl|kneel|sleep|pushup|/roll|getup|squat"),
    ("run", r"run|jog|sprint|cmu/002_03"),
    ("walk", r"walk|zombie|turn|navigate|stride|cmu/00[37]_|cmu/00[256]_0[12]"),
    ("reach", r"window|cmu/002_(06|10)"),
    ("stand_talk", r"listen|talk|idle|phone|gestic|standing|confused|tired|shiver"),
)


def clip_kind(name: str, activity: str = "") -> str:
    """One of `KINDS`, of a clip such as `rocketbox/f_wave_01` and its activity in words."""
    text = f"{name} {activity}".lower()
    return next((kind for kind, pattern in _PATTERNS if re.search(pattern, text)), "other")


_VERSION = 1
_FIELDS = ("joints", "rotations", "root", "curl", "contacts")
# From the ankle to the heel's sole, in our rest pose.
_HEEL = np.array([0.0, 0.047, 0.045])
_CONTACT_HEIGHT_M, _CONTACT_SPEED_MPS = 0.05, 0.3


@dataclass(frozen=True, slots=True)
class MotionWindows:
    """The F frames of all clips, and what is known of each of C clips.

    Args:
        joints: (F, 22, 3) float32 positions in the world, metres.
        rotations: (F, 22, 3) float32 local axis-angle, radians; the root's is the orientation in the world.  With
            `root` and `curl` they are the `BodyParameters` of which `LabelSpace.encode` makes label entries.
        root: (F, 3) float32 position in the world, metres.
        curl: (F, 4) float32 radians per phalanx in the order of `CURLS`; NaN where the source has no fingers.
        contacts: (F, 4) whether left heel, left toe, right heel, right toe stand on the floor: low and slow.
        lengths: (C,) frames.
        names, kinds: C each, see `common.synthetic.motion.windows`.
        fps: frames per second.
    """

    joints: FloatArray
    rotations: FloatArray
    root: FloatArray
    curl: FloatArray
    contacts: BoolArray
    lengths: IntArray
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    fps: float

    def starts(self, split: Split, frames: int, stride: int = 1) -> tuple[IntArray, IntArray]:
        """First frames (N,) of the windows of `frames` frames inside clips of the split, and their clips (N,)."""
        found = [
            (first, clip)
            for clip, (name, length, end) in enumerate(
                zip(self.names, self.lengths, self.lengths.cumsum(), strict=True)
            )
            if clip_split(name) == split
            for first in range(end - length, end - frames + 1, stride)
        ]
        first, clip = np.array(found, dtype=np.int64).reshape(-1, 2).T
        return first, clip

    def bodies(self, rows: IntArray, curl: Sequence[float]) -> BodyParameters:
        """Bodies of mean shape (N,) in frames (N,); `curl` (4,) where the source has no fingers."""
        rotations, root, known = (np.asarray(each[rows]) for each in (self.rotations, self.root, self.curl))
        curls = np.where(np.isnan(known), np.asarray(curl, np.float32), known)
        turns, shape = axis_angle_to_matrix(torch.from_numpy(rotations)), torch.zeros(len(rows), SHAPE_SIZE)
        return BodyParameters(turns, torch.from_numpy(curls), shape, torch.from_numpy(root))


def write_windows(motions: Iterable[Motion], directory: Path, fps: float) -> None:
    """Writes motions at a frame rate; `clips.npz` comes last, so a folder without it is incomplete."""
    names, frames = zip(*((motion, _frames(resample(motion, fps))) for motion in motions), strict=True)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "clips.npz").unlink(missing_ok=True)
    for field, arrays in zip(_FIELDS, zip(*frames, strict=True), strict=True):
        np.save(directory / f"{field}.npy", np.concatenate(arrays))
    np.savez(
        directory / "clips.npz",
        version=_VERSION,
        fps=fps,
        lengths=[len(arrays[0]) for arrays in frames],
        names=[motion.name for motion in names],
        kinds=[clip_kind(motion.name, motion.activity) for motion in names],
    )


def open_windows(directory: Path, fps: float | None = None) -> MotionWindows:
    """Opens a folder of `write_windows`; its frames are mapped, not read.

    Args:
        fps: that they must have, if given.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: another version of this program wrote them, or they have another frame rate.
    """
    with np.load(directory / "clips.npz", allow_pickle=False) as clips:
        if clips["version"] != _VERSION:
            raise ValueError(f"{directory} has version {clips['version']}, not {_VERSION}; write it again")
        arrays: dict[str, Any] = {key: tuple(clips[key].tolist()) for key in ("names", "kinds")}
        arrays |= {"lengths": clips["lengths"], "fps": float(clips["fps"])}
    if fps is not None and arrays["fps"] != fps:
        raise ValueError(f"{directory} has {arrays['fps']:g} frames a second, not {fps:g}; write it again")
    for field in _FIELDS:
        arrays[field] = np.load(directory / f"{field}.npy", mmap_mode="r")
    return MotionWindows(**arrays)


def _frames(motion: Motion) -> tuple[NDArray[Any], ...]:
    """The arrays of `_FIELDS`."""
    positions, world = forward_kinematics(motion.local_rotations)
    rotations = Rotation.from_matrix(motion.local_rotations.reshape(-1, 3, 3)).as_rotvec().reshape(positions.shape)
    root = motion.root_translation[:, None]
    moving = (positions + root, rotations, root[:, 0], motion.curl)
    return *(array.astype(np.float32) for array in moving), contacts(soles(positions, world) + root, motion.fps)


def soles(positions: Float64Array, world: Float64Array) -> Float64Array:
    """(T, 4, 3) left heel, left toe, right heel, right toe, of joints (T, J, 3) with orientations (T, J, 3, 3)."""
    points = []
    for foot in (f"foot{side}" for side in SIDES):
        heel = positions[:, JOINT_INDEX[foot]] + world[:, JOINT_INDEX[foot]] @ _HEEL
        points += [heel, tip_positions(positions, world, foot)]
    return np.stack(points, axis=1)


def contacts(points: Float64Array, fps: float) -> BoolArray:
    """(T, P, 3) points of soles → (T, P) whether they are near the floor and hardly move."""
    speed_mps = np.linalg.norm(np.gradient(points, axis=0), axis=-1) * fps
    return np.asarray((points[..., 1] > -_CONTACT_HEIGHT_M) & (speed_mps < _CONTACT_SPEED_MPS))


def main() -> None:
    parser = parser_of("python -m common.synthetic.motion.windows", __doc__)
    parser.add_argument("--motions", type=Path, required=True, help="folder with a folder for each source")
    parser.add_argument("--fps", type=float, required=True, help="frames a second")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    options = parser.parse_args()
    write_windows(read_motions(options.motions, tuple(READERS)), options.out, options.fps)


if __name__ == "__main__":
    main()
