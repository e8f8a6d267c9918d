"""Windows of motion for training a motion model, from files of many kinds, in memory-mapped files.

Axes are ours, of a camera that a person at the start faces: x to the person's left, y down, z away from the camera;
metres, the floor is y = 0.  Frames of all clips lie one after the other; bodies have the reference skeleton's size.

    python -m common.synthetic.motion.windows --motions motions --fps 30 --out windows
"""

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
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
from common.synthetic.motion.retarget import (
    CMU,
    DEEPMIMIC,
    MESH2MOTION,
    NEXT,
    REST_FLEXION,
    ROCKETBOX,
    SIDES,
    TURNED,
    Motion,
    Rig,
    bone_direction,
    forward_kinematics,
    hinge_axis,
    hinged,
    inverse_kinematics,
    motion_of,
    resample,
    tip_positions,
    twist,
    with_spine,
)


@dataclass(frozen=True, slots=True)
class Bvh:
    """A motion file.

    Args:
        names: names of the J joints, parents first, without end sites.
        parents: index of each joint's parent, -1 for the root.
        offsets: (J, 3), from the parent, in the parent's axes and the file's length unit.
        local_rotations: (T, J, 3, 3).
        root_positions: (T, 3), file's length unit.
        frame_time_s: seconds from one frame to the next.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: Float64Array
    local_rotations: Float64Array
    root_positions: Float64Array
    frame_time_s: float

    def world_rotations(self) -> Float64Array:
        """(T, J, 3, 3): each joint's axes in the file's world coordinates."""
        world = np.empty_like(self.local_rotations)
        for joint, parent in enumerate(self.parents):
            local = self.local_rotations[:, joint]
            world[:, joint] = local if parent < 0 else world[:, parent] @ local
        return world

    def world_positions(self) -> Float64Array:
        """(T, J, 3) in the file's length unit."""
        world = self.world_rotations()
        positions = np.empty((*world.shape[:2], 3))
        for joint, parent in enumerate(self.parents):
            if parent < 0:
                positions[:, joint] = self.root_positions
            else:
                positions[:, joint] = positions[:, parent] + world[:, parent] @ self.offsets[joint]
        return positions


def read_bvh(path: Path) -> Bvh:
    """Parses a file. Raises ValueError if it is not a BVH file, or a frame has the wrong number of channels."""
    try:
        head, _, motion = path.read_text().partition("MOTION")
        return _parse(*_parse_tree(head), [line for line in motion.splitlines() if line.strip()])
    except (IndexError, ValueError) as error:
        raise ValueError(f"{path} is not a BVH file: {error}") from error


def _parse(
    names: list[str], parents: list[int], offsets: list[list[float]], channels: list[list[str]], lines: list[str]
) -> Bvh:
    frame_time_s = float(lines[1].split(":")[1])
    table = np.array([line.split() for line in lines[2:]], dtype=np.float64)
    rotations = np.empty((len(table), len(names), 3, 3))
    root_positions, column = np.zeros((len(table), 3)), 0
    for joint, joint_channels in enumerate(channels):
        values = table[:, column : column + len(joint_channels)]
        column += len(joint_channels)
        turns = [k for k, name in enumerate(joint_channels) if name.endswith("rotation")]
        # Upper case for SciPy: BVH angles are intrinsic rotations.
        order = "".join(joint_channels[k][0] for k in turns)
        rotations[:, joint] = Rotation.from_euler(order, values[:, turns], degrees=True).as_matrix()
        if parents[joint] < 0:
            root_positions = values[:, [joint_channels.index(f"{axis}position") for axis in "XYZ"]]
    if column != table.shape[1]:
        raise ValueError(f"frames have {table.shape[1]} numbers, the hierarchy has {column} channels")
    return Bvh(tuple(names), tuple(parents), np.array(offsets), rotations, root_positions, frame_time_s)


def _parse_tree(head: str) -> tuple[list[str], list[int], list[list[float]], list[list[str]]]:
    names: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[list[str]] = []
    open_joints: list[int] = []
    words = head.split()
    for k, word in enumerate(words):
        if word in ("ROOT", "JOINT"):
            parents.append(open_joints[-1] if open_joints else -1)
            names.append(words[k + 1])
        elif word == "{":
            open_joints.append(-1 if words[k - 1] == "Site" else len(names) - 1)
        elif word == "}":
            open_joints.pop()
        elif word == "OFFSET" and open_joints[-1] >= 0:
            offsets.append([float(value) for value in words[k + 1 : k + 4]])
        elif word == "CHANNELS":
            channels.append(words[k + 2 : k + 2 + int(words[k + 1])])
    return names, parents, offsets, channels


_LEG_LENGTH_M = 0.79
_MAX_ROOT_SPEED_MPS = 10.0
# Sine of the angle by which a limb may bend backwards on average.
_MAX_MEAN_OVEREXTENSION = 0.2
# This clip tumbles at its end.
_FAULTY_FROM = {"c2s_train_walking_23": 124}
_BVH_RIGS = {"cmu": CMU, "mesh2motion": MESH2MOTION, "rocketbox": ROCKETBOX}


def bvh_motion(source: str, path: Path) -> Motion:
    """Retargets a clip of a source of BVH files. Raises ValueError if it is not BVH, or has another rig."""
    rig, bvh = _BVH_RIGS[source], read_bvh(path)
    rotations, positions = bvh.world_rotations(), bvh.world_positions()
    nodes = {bone: _node(bvh, bone, path) for bone in (*map(rig.bone, TURNED), *rig.pelvis)}
    world = rig.aligned(
        {bone: rotations[:, node] for bone, node in nodes.items()}, lambda bone: bvh.offsets[_node(bvh, bone, path)]
    )
    legs = [bvh.offsets[nodes[rig.bone(joint)]] for joint in ("lowerleg01.L", "foot.L")]
    scale = _LEG_LENGTH_M / (rig.leg_length or np.linalg.norm(legs, axis=-1).sum())
    root = np.mean([positions[:, nodes[bone]] for bone in rig.pelvis], axis=0) @ rig.axes.T * scale
    # In some recordings the first frame is metres away from the second one.
    is_outlier = len(root) > 1 and np.linalg.norm(root[1] - root[0]) > _MAX_ROOT_SPEED_MPS * bvh.frame_time_s
    kept = slice(1 if is_outlier else 0, _FAULTY_FROM.get(path.stem))
    world = {joint: part[kept] for joint, part in world.items()}
    world |= _corrected_limbs(world, rig.drawn)
    return motion_of(
        f"{source}/{path.stem}",
        with_spine(world),
        root[kept],
        1.0 / bvh.frame_time_s,
        curl=_curls(bvh, rig, path)[kept] if rig.curls else None,
        ankle_height_m=None if rig.ankle_height is None else rig.ankle_height * scale,
    )


def _corrected_limbs(world: dict[str, Float64Array], drawn: bool) -> dict[str, Float64Array]:
    """Rotations of limbs that bend about their hinge only: of all if drawn, else of those that bend backwards."""
    corrected: dict[str, Float64Array] = {}
    for limb in (stem + side for stem in ("upperarm01", "upperleg01") for side in SIDES):
        along, beyond = (world[joint] @ bone_direction(joint) for joint in (limb, NEXT[limb[:-2]] + limb[-2:]))
        straight = world[limb] @ hinge_axis(limb)
        # In a few recordings an arm is turned by 180 degrees about itself.
        turned = np.sum(np.cross(along, beyond) * straight, axis=-1).mean() < -_MAX_MEAN_OVEREXTENSION
        if drawn or turned:
            corrected |= hinged(along, beyond, -straight if turned else straight, limb)
    return corrected


def _node(bvh: Bvh, name: str, path: Path) -> int:
    if name not in bvh.names:
        raise ValueError(f"{path} has no joint {name}")
    return bvh.names.index(name)


def _curls(bvh: Bvh, rig: Rig, path: Path) -> Float64Array:
    """(T, 4): mean flexion of the phalanges beyond that of our rest pose."""
    curls = []
    for side in "LR":
        for bones, hinge in rig.curls:
            nodes = [_node(bvh, rig.named(bone, side), path) for bone in bones]
            flexions = [twist(bvh.local_rotations[:, node], rig.axis(hinge, side)) for node in nodes]
            curls.append(np.mean(flexions, axis=0) - REST_FLEXION)
    return np.stack(curls, axis=-1)


# --- DeepMimic -------------------------------------------------------------------------------------------------------

# Joint, index of its parent, and number of values (a quaternion, or the angle of a hinge about z), in the file's order.
_DEEPMIMIC_BONES: tuple[tuple[str, int, int], ...] = (
    ("root", -1, 4), ("spine01", 0, 4), ("head", 1, 4),
    ("upperleg01.R", 0, 4), ("lowerleg01.R", 3, 1), ("foot.R", 4, 4), ("upperarm01.R", 1, 4), ("lowerarm01.R", 6, 1),
    ("upperleg01.L", 0, 4), ("lowerleg01.L", 8, 1), ("foot.L", 9, 4), ("upperarm01.L", 1, 4), ("lowerarm01.L", 11, 1),
)  # fmt: skip


def deepmimic_motion(path: Path) -> Motion:
    """Retargets a DeepMimic clip. Raises ValueError if the file has another format."""
    try:
        frames = np.array(json.loads(path.read_text())["Frames"], dtype=np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a DeepMimic motion: {error}") from error
    if frames.ndim != 2 or frames.shape[1] != 44:
        raise ValueError(f"{path} has frames of shape {frames.shape[1:]}, not 44 numbers")
    world = DEEPMIMIC.aligned(_deepmimic_world_rotations(frames), lambda _: np.array([0.0, -1.0, 0.0]))
    for side in SIDES:
        world[f"clavicle{side}"] = world["spine01"]
        world[f"wrist{side}"] = world[f"lowerarm01{side}"]
    root = frames[:, 1:4] @ DEEPMIMIC.axes.T * (_LEG_LENGTH_M / 0.83)
    name = path.stem.removeprefix("humanoid3d_")
    return motion_of(f"deepmimic/{name}", with_spine(world), root, 1.0 / float(frames[0, 0]))


def _deepmimic_world_rotations(frames: Float64Array) -> dict[str, Float64Array]:
    """(T, 44) values of the file → (T, 3, 3) for each bone, in the file's axes."""
    world: list[Float64Array] = []
    column = 4
    for _, parent, size in _DEEPMIMIC_BONES:
        values = frames[:, column : column + size]
        column += size
        rotation = Rotation.from_quat(values, scalar_first=True) if size == 4 else Rotation.from_euler("z", values)
        world.append(rotation.as_matrix() if parent < 0 else world[parent] @ rotation.as_matrix())
    return {joint: rotations for (joint, _, _), rotations in zip(_DEEPMIMIC_BONES, world, strict=True)}


# --- UI-PRMD: joint positions, x to the person's left, y up, z forward, metres ---------------------------------------

_UIPRMD_ANKLE_M = 0.068


def uiprmd_motions(path: Path) -> Iterator[Motion]:
    """Fits rotations to the joint positions of `uiprmd.npz`. Raises ValueError if the file has another format."""
    try:
        with np.load(path, allow_pickle=False) as file:
            joints, names, exercises = (file[key].tolist() for key in ("joints", "names", "exercise"))
            positions = file["positions"].astype(np.float64) * [1.0, -1.0, -1.0]
            lengths, fps = file["lengths"], float(file["fps"])
    except KeyError as error:
        raise ValueError(f"{path} has no array {error}") from error
    for clip, name, exercise in zip(np.split(positions, np.cumsum(lengths)[:-1]), names, exercises, strict=True):
        points = {joint: clip[:, k] for k, joint in enumerate(joints)}
        legs = [points["knee.L"] - points["hip.L"], points["ankle.L"] - points["knee.L"]]
        scale = _LEG_LENGTH_M / float(np.linalg.norm(legs, axis=-1).mean(axis=1).sum())
        motion = motion_of(
            f"uiprmd/{name}",
            with_spine(inverse_kinematics(points)),
            points["pelvis"] * scale,
            fps,
            ankle_height_m=_UIPRMD_ANKLE_M * scale,
        )
        yield replace(motion, activity=exercise)


# --- All of them -----------------------------------------------------------------------------------------------------


def read_motions(directory: Path, sources: tuple[str, ...]) -> Iterator[Motion]:
    """Yields the motions of the named sources, folders of `directory`, retargeted.

    Raises:
        FileNotFoundError: a source is missing.
        ValueError: a file has another format.
    """
    for source in sources:
        pattern, read = READERS[source]
        files = sorted((directory / source).glob(pattern))
        if not files:
            raise FileNotFoundError(f"no {pattern} in {directory / source}")
        activities: dict[str, str] = {}
        if (table := directory / source / "activities.tsv").exists():
            with table.open(newline="") as lines:
                activities = {row["clip"]: row["activity"] for row in csv.DictReader(lines, delimiter="\t")}
        for file in files:
            for motion in read(file):
                yield replace(motion, activity=activities.get(file.stem, motion.activity))


def _one(read: Callable[[Path], Motion]) -> Callable[[Path], Iterable[Motion]]:
    return lambda path: (read(path),)


READERS: Mapping[str, tuple[str, Callable[[Path], Iterable[Motion]]]] = {
    "cmu": ("*.bvh", _one(partial(bvh_motion, "cmu"))),
    "deepmimic": ("humanoid3d_*.txt", _one(deepmimic_motion)),
    "mesh2motion": ("*.bvh", _one(partial(bvh_motion, "mesh2motion"))),
    "rocketbox": ("*.bvh", _one(partial(bvh_motion, "rocketbox"))),
    "uiprmd": ("uiprmd.npz", uiprmd_motions),
}
"""Source → its files, and what reads one of them."""


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
        names, kinds: C each, see `clip_kind`.
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
    soles = []
    for foot in (f"foot{side}" for side in SIDES):
        heel = positions[:, JOINT_INDEX[foot]] + world[:, JOINT_INDEX[foot]] @ _HEEL
        soles += [heel, tip_positions(positions, world, foot)]
    points = np.stack(soles, axis=1) + root
    # On the floor is what is near it and hardly moves.
    speed_mps = np.linalg.norm(np.gradient(points, axis=0), axis=-1) * motion.fps
    contacts = (points[..., 1] > -_CONTACT_HEIGHT_M) & (speed_mps < _CONTACT_SPEED_MPS)
    moving = (positions + root, rotations, root[:, 0], motion.curl)
    return *(array.astype(np.float32) for array in moving), contacts


def main() -> None:
    parser = parser_of("python -m common.synthetic.motion.windows", __doc__)
    parser.add_argument("--motions", type=Path, required=True, help="folder with a folder for each source")
    parser.add_argument("--fps", type=float, required=True, help="frames a second")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    options = parser.parse_args()
    write_windows(read_motions(options.motions, tuple(READERS)), options.out, options.fps)


if __name__ == "__main__":
    main()
