"""Poses of fingers: rotation vectors of a left hand's phalanges in our rest pose's frames, from Rocketbox's animations.

Shapes: N poses, 15 phalanges in the order of `FINGER_BONES`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from common.arrays import Float64Array, FloatArray
from common.body.anatomy import FINGER_BONES, SKELETON
from common.body.model import BodyModel
from common.synthetic.dataset import Split, clip_split
from common.synthetic.motion.retarget import REST_FLEXION, ROCKETBOX, twist
from common.synthetic.motion.windows import Bvh, read_bvh

PHALANGES: Final = len(FINGER_BONES) // 2
# Axes of a biped's bones: along it, the spread of the fingers, the hinge.
_AXES: Final = np.eye(3)


def hand_axes(body: BodyModel) -> Float64Array:
    """(15, 3, 3) of the left hand's phalanges in their own frames: rows along the bone, of spread, of flexion."""
    rest = body.rest_joints[0].double().numpy()
    axes = []
    for phalanx, hinge in zip(FINGER_BONES[:PHALANGES], body.curl_axes.double().numpy(), strict=False):
        finger = SKELETON.index(f"{phalanx[:-3]}1.L"), SKELETON.index(f"{phalanx[:-3]}3.L")
        along = rest[finger[1]] - rest[finger[0]]
        along -= hinge * (along @ hinge)
        along /= np.linalg.norm(along)
        axes.append([along, np.cross(hinge, along), hinge])
    return np.array(axes)


def recorded_fingers(folder: Path, body: BodyModel, split: Split) -> FloatArray:
    """(N, 15, 3) poses of both hands, as left ones, 30 a second.

    Args:
        folder: BVH files of Rocketbox's animations.
        split: the one whose motions are read.

    Raises:
        FileNotFoundError: there are none.
        ValueError: a file is not BVH, or has another rig.
    """
    files = sorted(folder.glob("*.bvh"))
    if not files:
        raise FileNotFoundError(f"no *.bvh in {folder}")
    hands = [np.concatenate(list(_turns(read_bvh(path)))) for path in files]
    turns = np.concatenate(hands)
    # The rest poses of the skeletons differ in how hands are spread and thumbs stand.
    turns[:, 0] -= np.median(turns[:, 0], axis=0)
    turns[:, :, 1] -= np.median(turns[:, :, 1], axis=0)
    kept = [split == clip_split(f"rocketbox/{path.stem}") for path in files]
    turns = turns[np.repeat(kept, [len(each) for each in hands])]
    return np.asarray(np.einsum("npk,pkd->npd", turns, hand_axes(body)), np.float32)


def _turns(bvh: Bvh) -> Iterator[Float64Array]:
    """(T, 15, 3) of each hand about the three axes; the outer phalanges have hinges alone."""
    for side in "LR":
        axes = [ROCKETBOX.axis(axis, side) for axis in _AXES]
        turns = np.zeros((len(bvh.local_rotations), PHALANGES, 3))
        for place, phalanx in enumerate(FINGER_BONES[:PHALANGES]):
            finger, joint = int(phalanx[6]) - 1, int(phalanx[8]) - 1
            node = bvh.names.index(f"Bip01_{side}_Finger{finger}{joint or ''}")
            rotations = bvh.local_rotations[:, node]
            turns[:, place, 2] = twist(rotations, axes[2]) - REST_FLEXION
            if joint == 0:
                turns[:, place, 1] = twist(rotations, axes[1])
            if joint == 0 and finger == 0:
                turns[:, place, 0] = twist(rotations, axes[0])
        yield turns


def drawn_fingers(count: int, body: BodyModel, rng: np.random.Generator) -> FloatArray:
    """(N, 15, 3) poses in which every finger is curled on its own, as when somebody counts or signs.

    Flexion of knuckle, middle and outer joint of a closed finger: 1.3, 1.7 and 0.9 radians beyond our rest pose.
    """
    closed = rng.beta(0.35, 0.35, (count, 5, 1))
    flexion = closed * (1.3, 1.7, 0.9) * rng.uniform(0.8, 1.1, (count, 5, 3)) + rng.normal(-0.08, 0.1, (count, 5, 3))
    flexion[:, 0] = closed[:, 0] * (0.3, 0.6, 0.9) + rng.normal(0, 0.15, (count, 3))
    turns = np.zeros((count, 5, 3, 3))
    turns[..., 2] = flexion
    spread = rng.normal(0, 0.6, (count, 1)) * (0.2, 0.05, -0.08, -0.2) + rng.normal(0, 0.04, (count, 4))
    turns[:, 1:, 0, 1] = spread * (1 - closed[:, 1:, 0])
    turns[:, 0, 0, :2] = rng.normal(0, 0.25, (count, 2))
    return np.asarray(np.einsum("npk,pkd->npd", turns.reshape(count, PHALANGES, 3), hand_axes(body)), np.float32)
