"""Which limb of a person a vertex belongs to, so that limbs that nobody saw can be left out."""

from typing import Final

import numpy as np

from common.arrays import ByteArray
from common.body.label_space import GROUP_JOINTS
from common.labels import LIMBS
from receiver.mesh.skinned_glb import Skeleton

NO_LIMB: Final = 255
# Of the weights: where a limb begins, they are ragged.
_ALONE: Final = 0.95
# Shoulders stay with the trunk.
_SHOULDERS: Final = ("clavicle.L", "clavicle.R")
_LIMBS: Final = {joint: number for number, limb in enumerate(LIMBS) for joint in GROUP_JOINTS[limb]}


def limbs_of_vertices(skeleton: Skeleton) -> ByteArray:
    """(V,) the index in `LIMBS` of the limb whose bones alone each vertex follows, or `NO_LIMB`."""
    limbs: list[int] = []
    for name, parent in zip(skeleton.names, skeleton.parents, strict=True):
        above = limbs[parent] if parent >= 0 else NO_LIMB
        limbs.append(above if name in _SHOULDERS else _LIMBS.get(name, above))
    followed = np.array(limbs, np.uint8)[skeleton.vertex_joints]
    shares = [(skeleton.vertex_weights * (followed == limb)).sum(axis=1) for limb in range(len(LIMBS))]
    return np.where(np.max(shares, axis=0) > _ALONE, np.argmax(shares, axis=0), NO_LIMB).astype(np.uint8)
