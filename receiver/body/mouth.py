"""The lining of the template's mouth: a bag of loops of vertices, and two rows of teeth that it can be laid over.

The body model has no teeth.  Of the loops behind the lips, one becomes the edge of the gums, two become the edge of the
teeth, and one is where palate and floor begin; in the corners of the mouth they stay where they are.

Shapes: T vertices of the teeth.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from common.arrays import BoolArray, Float64Array, FloatArray, IntArray
from common.body.model import BodyModel
from common.body.template import BodyTemplate
from common.weights.devices import to_numpy

TEETH_LOOPS = (2, 3, 4, 5)
"""Loops from the lips inwards: edge of the gums, front and back of the teeth's edge, and where the teeth end behind."""

# Of these loops: how far above the line between the lips in the upper jaw, and below it in the lower one; and how far
# behind the front of the teeth.
_UPPER_M, _LOWER_M = (0.0100, 0.0004, 0.0004, 0.0100), (0.0110, 0.0035, 0.0035, 0.0110)
_BEHIND_M = (0.0, 0.0, 0.0025, 0.0060)
# The front of the teeth behind that of the line between the lips, in the upper and the lower jaw; how the rows curve,
# 1/m; and how far from the middle they are whole, and end.
_UPPER_FRONT_M, _LOWER_FRONT_M, _CURVATURE, _ROW_M = 0.0065, 0.0090, 20.0, (0.017, 0.025)


def mouth_loops(body: BodyModel, template: BodyTemplate) -> list[IntArray]:
    """The vertices of the lining by their distance from the lips."""
    left: BoolArray = ~template.outside
    left[template.place[to_numpy(body.eyes)].ravel()] = False
    reached, loops = template.outside, list[IntArray]()
    while left.any():
        loop = (template.adjacency @ reached > 0) & left
        loops.append(np.flatnonzero(loop))
        left, reached = left & ~loop, loop
    return loops


@dataclass(frozen=True, slots=True, eq=False)
class Teeth:
    """Where the lining lies over the teeth.

    Args:
        vertices: (T,) of the template.
        places: (T, 3) on the teeth of the mean body at rest, camera axes, metres.
        shares: (T,) how much of the way there a vertex goes; less than 1 towards the corners of the mouth.
        upper: (T,) whether it is of the upper jaw.
    """

    vertices: IntArray
    places: Float64Array
    shares: FloatArray
    upper: BoolArray

    @classmethod
    def from_loops(cls, template: BodyTemplate, loops: list[IntArray]) -> Self:
        """Of `mouth_loops`."""
        line = template.rest[loops[0]]
        height, front = line[:, 1].mean(), line[:, 2].min()
        vertices = np.concatenate([loops[number] for number in TEETH_LOOPS])
        place = np.repeat(np.arange(len(TEETH_LOOPS)), [len(loops[number]) for number in TEETH_LOOPS])
        x, y, _ = template.rest[vertices].T
        upper = y < height
        offset = np.where(upper, -np.array(_UPPER_M)[place], np.array(_LOWER_M)[place])
        behind = np.where(upper, _UPPER_FRONT_M, _LOWER_FRONT_M) + np.array(_BEHIND_M)[place]
        places = np.column_stack([x, height + offset, front + behind + _CURVATURE * np.square(x)])
        shares = np.clip((_ROW_M[1] - np.abs(x)) / (_ROW_M[1] - _ROW_M[0]), 0, 1)
        return cls(vertices, places, shares.astype(np.float32), upper)
