"""Reads BVH files and poses their skeleton, independently of the writer."""

import re

import numpy as np
from scipy.spatial.transform import Rotation

from common.arrays import Float64Array


class Bvh:
    """A parsed BVH file; lengths are in the file's unit.

    Attributes:
        names: joints in the order of the file; end sites are left out.
        parents: of the joints, −1 for the root.
        offsets: (J, 3).
        ends: joint → (3,) offset of its end site.
        frame_time_s: seconds between frames.
        values: (N, channels).
    """

    def __init__(self, text: str) -> None:
        hierarchy, _, motion = text.partition("MOTION\n")
        self.names: list[str] = []
        self.parents: list[int] = []
        self.channels: list[list[str]] = []
        self.ends: dict[int, Float64Array] = {}
        offsets: list[list[float]] = []
        stack: list[int] = []
        end = False
        for line in hierarchy.splitlines()[1:]:
            word, *rest = line.split()
            if word in ("ROOT", "JOINT"):
                self.names.append(rest[0])
                self.parents.append(stack[-1] if stack else -1)
            elif word == "End":
                end = True
            elif word == "{" and not end:
                stack.append(len(self.names) - 1)
            elif word == "OFFSET" and end:
                self.ends[stack[-1]] = np.array([float(value) for value in rest])
            elif word == "OFFSET":
                offsets.append([float(value) for value in rest])
            elif word == "CHANNELS":
                assert int(rest[0]) == len(rest) - 1
                self.channels.append(rest[1:])
            elif word == "}" and end:
                end = False
            elif word == "}":
                stack.pop()
        assert not stack
        self.offsets = np.array(offsets)
        frames = re.match(r"Frames: (\d+)\nFrame Time: (\S+)\n", motion)
        assert frames is not None
        self.frame_time_s = float(frames[2])
        self.values = np.array([[float(value) for value in row.split()] for row in motion[frames.end() :].splitlines()])
        assert self.values.shape == (int(frames[1]), sum(map(len, self.channels)))

    def joints(self, frame: int) -> dict[str, Float64Array]:
        """(4, 3) of each joint in a frame: its position, and the directions of its axes."""
        rotations: list[Rotation] = []
        positions: list[Float64Array] = []
        values = iter(self.values[frame])
        for joint, (parent, names) in enumerate(zip(self.parents, self.channels, strict=True)):
            moved, turned = self.offsets[joint].copy(), Rotation.identity()
            for name in names:
                value = next(values)
                if name.endswith("position"):
                    moved["XYZ".index(name[0])] = value
                else:
                    turned = turned * Rotation.from_euler(name[0], value, degrees=True)
            before = rotations[parent] if parent >= 0 else Rotation.identity()
            rotations.append(before * turned)
            positions.append(before.apply(moved) + (positions[parent] if parent >= 0 else 0.0))
        axes = [rotation.as_matrix().T for rotation in rotations]
        return dict(zip(self.names, map(np.vstack, zip(positions, axes, strict=True)), strict=True))
