"""Reads BVH motion files: a joint hierarchy with offsets, and Euler angles for each frame."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from common.arrays import Float64Array


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
        return _parse(path.read_text())
    except (IndexError, ValueError) as error:
        raise ValueError(f"{path} is not a BVH file: {error}") from error


def _parse(text: str) -> Bvh:
    head, _, motion = text.partition("MOTION")
    names, parents, offsets, channels = _parse_tree(head)
    lines = [line for line in motion.splitlines() if line.strip()]
    frame_time_s = float(lines[1].split(":")[1])
    table = np.array([line.split() for line in lines[2:]], dtype=np.float64)
    rotations = np.empty((len(table), len(names), 3, 3))
    root_positions, column = np.zeros((len(table), 3)), 0
    for joint, joint_channels in enumerate(channels):
        values = table[:, column : column + len(joint_channels)]
        column += len(joint_channels)
        rotations[:, joint] = _euler(joint_channels, values)
        if parents[joint] < 0:
            order = [joint_channels.index(f"{axis}position") for axis in "XYZ"]
            root_positions = values[:, order]
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


def _euler(joint_channels: list[str], values: Float64Array) -> Float64Array:
    columns = [k for k, name in enumerate(joint_channels) if name.endswith("rotation")]
    # Upper case for SciPy: BVH angles are intrinsic rotations.
    order = "".join(joint_channels[k][0] for k in columns)
    return np.asarray(Rotation.from_euler(order, values[:, columns], degrees=True).as_matrix())
