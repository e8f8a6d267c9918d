"""Gives the skin eyes: the lining of each eye socket is laid over the front of the eyeball.

In MakeHuman's base mesh the eyeballs are components of their own, and the skin lines the sockets behind them.  The skin
alone therefore has holes for eyes.  The lining of a socket consists of closed loops of vertices from the edge of the
lids to the back.  Here the loops behind the lids are moved onto the eyeball, the last one around the iris's centre: the
skin stays one closed component with the same triangles and texture coordinates, and looks out of the sockets.

The loops follow the eyeball through the shape space by an affine map per direction, fitted to the eyeball's vertices.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csgraph, csr_matrix

from common.arrays import BoolArray, Float64Array, IntArray
from common.body.anatomy import LID_LOOPS
from common.body.connectivity import largest_component, vertex_adjacency, vertex_components

# Distance of a loop from the centre of the iris relative to the loop before: about equal texels from rim to centre.
_LOOP_RATIO = 0.8
# Height of the iris's centre in the opening between the lids, 0 at the lower lid and 1 at the upper one.
_GAZE_HEIGHT = 0.56
# A lining is as far from an eyeball's centre as this, at most.
_SOCKET_RADIUS_M = 0.025


@dataclass(frozen=True, slots=True, eq=False)
class _Eye:
    """One eye of the mean body.

    Args:
        ball: vertices of the eyeball.
        loops: (L, n) vertices of the socket's lining from the lids inwards.
    """

    ball: IntArray
    loops: IntArray


def bake_eyes(rest: Float64Array, faces: IntArray, internal: BoolArray) -> IntArray:
    """Moves the linings of the eye sockets, in place.

    Args:
        rest: (1 + 10, V, 3) rest positions of the mean shape and displacements per shape coefficient, camera axes,
            metres.
        faces: (F, 3).
        internal: (V,) vertices that no face of the outer skin has.

    Returns:
        (2, L, n) vertices of the left and the right eye's loops, from the edge of the lids to the centre of the iris.
    """
    eyes = _find(rest[0], faces, internal)
    for eye in eyes:
        _lay_over(rest, eye)
    return np.stack([eye.loops for eye in eyes])


def _find(vertices: Float64Array, faces: IntArray, internal: BoolArray) -> list[_Eye]:
    """The left and the right eye: the person's left is where x is positive."""
    skin = largest_component(faces, len(vertices))
    _, component = vertex_components(faces.astype(np.int32), len(vertices))
    adjacency = vertex_adjacency(faces.astype(np.int32), len(vertices))
    balls = [
        ball
        for ball in (np.flatnonzero(component == number) for number in np.unique(component[~skin]))
        if np.abs(vertices[ball, 0].mean()) > _SOCKET_RADIUS_M / 2
    ]
    balls.sort(key=lambda ball: -float(vertices[ball, 0].mean()))
    lining = np.flatnonzero(skin & internal)
    _, part = csgraph.connected_components(adjacency[lining][:, lining])
    eyes = []
    for ball in balls:
        centre = _ellipsoid(vertices[ball])[0]
        nearest = part[np.linalg.norm(vertices[lining] - centre, axis=1).argmin()]
        eyes.append(_Eye(ball, _loops(adjacency, lining[part == nearest], vertices)))
    return eyes


def _loops(adjacency: csr_matrix, lining: IntArray, vertices: Float64Array) -> IntArray:
    """(L, n) vertices of a lining by their distance from its edge; each is next to its neighbour in the loop before."""
    left = np.zeros(adjacency.shape[0], np.bool_)
    left[lining] = True
    loop = np.flatnonzero((adjacency @ left > 0) & ~left)
    centre = vertices[loop].mean(axis=0)
    loops: list[IntArray] = []
    while left.any():
        loop = np.flatnonzero((adjacency[:, loop].sum(axis=1).A1 > 0) & left)
        left[loop] = False
        x, y, _ = (vertices[loop] - centre).T
        loop = loop[np.argsort(np.arctan2(y, x))]
        if loops:
            turns = [np.roll(loop, turn) for turn in range(len(loop))]
            loop = min(turns, key=lambda turn: float(np.square(vertices[turn] - vertices[loops[-1]]).sum()))
        loops.append(loop)
    return np.stack(loops)


def _ellipsoid(ball: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Centre (3,) and radii (3,) of an eyeball's bounds."""
    low, high = ball.min(axis=0), ball.max(axis=0)
    return (low + high) / 2, (high - low) / 2


def _lay_over(rest: Float64Array, eye: _Eye) -> None:
    """Moves the loops behind the lids onto the eyeball of each direction of the shape space."""
    ball, moved = rest[0, eye.ball], eye.loops[LID_LOOPS:]
    # Affine maps (4, 3) from the eyeball's positions in the mean shape to its displacements.
    displacements = rest[1:, eye.ball].swapaxes(0, 1).reshape(len(ball), -1)
    maps = np.linalg.lstsq(np.column_stack([ball, np.ones(len(ball))]), displacements, rcond=None)[0]
    centre, radii = _ellipsoid(ball)
    lids = rest[0, eye.loops[0], 1]
    gaze = np.array([centre[0], lids.max() + _GAZE_HEIGHT * (lids.min() - lids.max())])
    ratio = _LOOP_RATIO ** np.arange(len(moved))[:, None, None]
    flat = gaze + ratio * (rest[0, moved[0], :2] - gaze)
    depth = np.sqrt(1 - np.square((flat - centre[:2]) / radii[:2]).sum(axis=-1).clip(max=1))
    front = np.concatenate([flat, (centre[2] - radii[2] * depth)[..., None]], axis=-1).reshape(-1, 3)
    rest[0, moved.ravel()] = front
    followed = np.column_stack([front, np.ones(len(front))]) @ maps
    rest[1:, moved.ravel()] = followed.reshape(len(front), -1, 3).swapaxes(0, 1)
