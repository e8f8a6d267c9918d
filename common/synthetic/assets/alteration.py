"""Altered garments: looser or tighter, flared, with shorter sleeves, legs or hems, open in front, cut in two.

Alterations move the vertices of a garment on the mean body in the rest pose and cut its triangles along lines of its
limb coordinates; shape, pose and paint then work as for the original.

Shapes: N vertices of a garment, F triangles.
"""

from dataclasses import replace

import numpy as np

from common.arrays import BoolArray, FloatArray, IntArray
from common.body.triangles import VertexNormals
from common.synthetic.assets.body_canvas import Canvas
from common.synthetic.assets.garment import ENDLESS, Garment, Tailoring

_COVER_MARGIN = 0.03
"""Skin stays hidden this far inside a cut, in limb coordinates."""


def tailor(garment: Garment, canvas: Canvas, tailoring: Tailoring) -> Garment:
    """An altered garment.

    Its first N vertices are those of the original, moved; vertices on the cuts follow.
    """
    if tailoring == Tailoring():
        return garment
    offset = _loosening(garment, tailoring)
    scale = np.maximum(np.abs(garment.scale[0]), 1e-6)
    moved = replace(garment, offset=garment.offset + offset / scale, rest=garment.rest + offset)
    removal = cut_field(garment.limb, garment.rest, tailoring, canvas)
    if removal.max() <= 0:
        return moved
    skin = cut_field(canvas.limb[garment.covered], canvas.rest[garment.covered], tailoring, canvas)
    return replace(_cut(moved, removal), covered=garment.covered[skin < -_COVER_MARGIN], removal=removal)


def cut_field(limb: FloatArray, rest: FloatArray, tailoring: Tailoring, canvas: Canvas) -> FloatArray:
    """(N,) positive where alterations cut off what has limb coordinates (N, 4) and rest position (N, 3)."""
    arm, leg, torso = limb[:, 0], limb[:, 1], limb[:, 2]
    on_arm = arm > 0
    parts = [arm - tailoring.sleeve_end, leg - tailoring.leg_end]
    parts.append(np.where(on_arm, -1.0, tailoring.hem - torso))
    parts.append(np.where(on_arm, 1.0 if tailoring.waist < ENDLESS else -1.0, torso - tailoring.waist))
    if tailoring.opening_m > 0:
        # Wider towards the hem, like a jacket.
        half_width = tailoring.opening_m * np.clip(1.3 - torso, 0.2, 1.3)
        front = (rest[:, 2] < canvas.face[3, 2]) & ~on_arm & (leg < 0.2)
        parts.append(np.where(front, (half_width - np.abs(rest[:, 0] - canvas.face[3, 0])) * 10, -1.0))
    return np.asarray(np.max(parts, axis=0), np.float32)


def _loosening(garment: Garment, tailoring: Tailoring) -> FloatArray:
    """(N, 3) offset along the normals of the garment on the mean body, metres."""
    arm, leg = np.clip(garment.limb[:, 0], 0, 2), np.clip(garment.limb[:, 1], 0, 2)
    amount = tailoring.loose_m + tailoring.sleeve_flare_m * arm / 2 + tailoring.leg_flare_m * leg / 2
    normals = VertexNormals(garment.faces, len(garment.rest))(garment.rest)
    return np.asarray(normals * amount[:, None], np.float32)


def _cut(garment: Garment, removal: FloatArray) -> Garment:
    """The garment without the part in which `removal` (N,), interpolated over the triangles, is positive."""
    outside = removal > 0
    kept = garment.faces[~outside[garment.faces].any(1)]
    crossed = garment.faces[outside[garment.faces].any(1) & ~outside[garment.faces].all(1)]
    inner, outer, triangles = _split(crossed, outside, len(garment.rest))
    share = (removal[inner] / (removal[inner] - removal[outer])).astype(np.float32)

    def extended(values: FloatArray, axis: int = 0) -> FloatArray:
        """Values of all vertices, then of those on the cut."""
        along = np.moveaxis(values, axis, 0)
        weight = share.reshape(-1, *(1,) * (along.ndim - 1))
        on_cut = (1 - weight) * along[inner] + weight * along[outer]
        return np.asarray(np.moveaxis(np.concatenate([along, on_cut]), 0, axis), np.float32)

    return replace(
        garment,
        attachment=extended(garment.attachment, axis=1),
        offset=extended(garment.offset),
        weights=extended(garment.weights),
        faces=np.concatenate([kept, triangles]),
        rest=extended(garment.rest),
        limb=extended(garment.limb),
        region=np.concatenate([garment.region, garment.region[inner]]),
    )


def _split(crossed: IntArray, outside: BoolArray, count: int) -> tuple[IntArray, IntArray, IntArray]:
    """Cuts triangles (K, 3) with one or two corners outside.

    Returns:
        (M,) inner and (M,) outer end of each edge on which a new vertex `count + i` lies, and the triangles inside.
    """
    if not len(crossed):
        return crossed[:, 0], crossed[:, 0], crossed
    # Rotate so that the first corner is alone on its side.
    state = outside[crossed]
    alone = np.where(state.sum(1) == 1, state.argmax(1), (~state).argmax(1))
    rolled = crossed[np.arange(len(crossed))[:, None], (alone[:, None] + np.arange(3)) % 3]
    first, second, third = rolled.T
    single_inside = ~outside[first]
    ends = np.concatenate([np.stack([first, second], 1), np.stack([first, third], 1)])
    ends = np.where(outside[ends[:, :1]], ends[:, ::-1], ends)
    edges, number = np.unique(ends, axis=0, return_inverse=True)
    on_second, on_third = (count + number.reshape(-1)).reshape(2, -1)
    ears = np.stack([first, on_second, on_third], 1)[single_inside]
    quads = np.flatnonzero(~single_inside)
    lower = np.stack([on_second, second, third], 1)[quads]
    upper = np.stack([on_second, third, on_third], 1)[quads]
    return edges[:, 0], edges[:, 1], np.concatenate([ears, lower, upper])
