"""Garments that fit any body shape: posed, painted, altered, and made from the body itself.

Alterations move the vertices of a garment on the mean body in the rest pose and cut its triangles along lines of its
limb coordinates; shape, pose and paint then work as for the original.

Shapes: V vertices of the body, N of a garment, F triangles, S = 52 bones; 11 rows of the shape space.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Self

import numpy as np
import torch
from scipy.spatial import cKDTree

from common.arrays import BoolArray, FloatArray, IntArray
from common.body.anatomy import COCO_KEYPOINTS, JOINT_INDEX, REGION_INDEX, SHAPE_SIZE
from common.body.model import BodyModel, skin
from common.body.triangles import VertexNormals, neighbour_mean, vertex_adjacency
from common.synthetic.assets.appearance import ENDLESS, Appearance, Borders


class Kind(StrEnum):
    """What a garment covers."""

    SUIT = "suit"
    SHOES = "shoes"
    HAIR = "hair"
    HAT = "hat"


@dataclass(frozen=True, slots=True)
class Tailoring:
    """Alterations of a garment; the defaults change nothing.

    Args:
        loose_m: outward offset everywhere, metres; negative is tighter.
        sleeve_flare_m: additional offset at the wrist, growing from the shoulder.
        leg_flare_m: additional offset at the ankle, growing from the hip.
        sleeve_end: along the arm (0 shoulder, 1 elbow, 2 wrist); the rest is cut off.
        leg_end: along the leg (0 hip, 1 knee, 2 ankle); the rest is cut off.
        hem: up the torso (0 hips, 1 neck); what is below is cut off, which leaves a top.
        waist: up the torso; what is above is cut off, with the sleeves, which leaves a bottom.
        opening_m: half width of an open front.
    """

    loose_m: float = 0.0
    sleeve_flare_m: float = 0.0
    leg_flare_m: float = 0.0
    sleeve_end: float = ENDLESS
    leg_end: float = ENDLESS
    hem: float = -ENDLESS
    waist: float = ENDLESS
    opening_m: float = 0.0


@dataclass(frozen=True, eq=False)
class PosedSkeleton:
    """One person's skeleton in the rest pose and posed by `BodyModel`.

    Args:
        shape: (10,) coefficients.
        rest: (S, 3) heads of the bones in the rest pose, metres.
        positions: (S, 3) heads of the bones in camera space.
        rotations: (S, 3, 3) from the rest pose to camera space.
    """

    shape: FloatArray
    rest: FloatArray
    positions: FloatArray
    rotations: FloatArray


@dataclass(frozen=True, eq=False)
class Garment:
    """A garment over the shape space; it has the paint coordinates of a `Canvas`.

    Args:
        attachment: (11, N, 3) bound positions: on the mean body, then per unit of each shape coefficient, metres.
        offset: (N, 3) offset from the bound positions, in units of `scale`.
        scale: (11, 3) measure of the body that scales the offset, over the shape space.
        weights: (N, S) skinning weights.
        faces: (F, 3) triangles.
        rest: (N, 3) vertices on the mean body in the rest pose.
        limb: (N, 4) coordinates of the nearest skin, as in `Canvas.limb`.
        region: (N,) region of the nearest skin.
        covered: (C,) vertices of the body that the garment hides.
    """

    name: str
    kind: Kind
    attachment: FloatArray
    offset: FloatArray
    scale: FloatArray
    weights: FloatArray
    faces: IntArray
    rest: FloatArray
    limb: FloatArray
    region: IntArray
    covered: IntArray

    def rest_vertices(self, shape: FloatArray) -> FloatArray:
        """(N, 3) vertices in the rest pose, for shape coefficients (10,)."""
        rows = np.concatenate([[np.float32(1)], shape]).astype(np.float32)
        bound = (rows @ self.attachment.reshape(len(rows), -1)).reshape(-1, 3)
        return np.asarray(bound + self.offset * np.abs(rows @ self.scale), np.float32)

    def posed_vertices(self, skeleton: PosedSkeleton) -> FloatArray:
        """(N, 3) vertices in camera space, by linear blend skinning."""
        arrays = (self.rest_vertices(skeleton.shape), skeleton.rest, skeleton.positions, skeleton.rotations)
        rest, rest_joints, positions, rotations = (torch.from_numpy(array)[None] for array in arrays)
        vertices = skin(rest, rest_joints, positions, rotations, torch.from_numpy(self.weights))
        return np.asarray(vertices[0].numpy(), np.float32)


# A suit has the material top above the waist and bottom below it, never skin; other garments have one material.
_SUIT = Borders(
    sleeve_end=ENDLESS,
    top_leg_end=ENDLESS,
    neckline=ENDLESS,
    waist=ENDLESS,
    trouser_end=ENDLESS,
    shoe_top=ENDLESS,
    sock_top=ENDLESS,
    hair_length=ENDLESS,
)
_ON_HEAD = Borders(hairline_front=ENDLESS, hairline_side=ENDLESS, hairline_back=ENDLESS)
_BORDERS: dict[Kind, Borders] = {
    Kind.SUIT: _SUIT,
    Kind.SHOES: replace(_SUIT, shoe_top=-ENDLESS),
    Kind.HAIR: _ON_HEAD,
    Kind.HAT: _ON_HEAD,
}


@dataclass(frozen=True, eq=False)
class Outfit:
    """The clothes of one person.

    Args:
        body: appearance of the body itself: skin, and painted clothes in place of garments that are not worn.
        garments: garments, each with its appearance.
        kinds: attribute → the values that are compatible with what the person wears; empty if painted.
    """

    body: Appearance
    garments: tuple[tuple[Garment, Appearance], ...]
    kinds: Mapping[str, frozenset[str]] = field(default_factory=dict)


def undressed(painted: Appearance) -> Appearance:
    """The body under garments, painted as skin, which shows where the garments are short or open."""
    borders = replace(painted.borders, sleeve_end=-1.0, neckline=-2.0, neckline_depth=0.0, trouser_end=0.05, waist=0.1)
    return replace(painted, borders=replace(borders, top_hem=ENDLESS))


def paint(painted: Appearance, kind: Kind) -> Appearance:
    """The person's materials on a garment of one kind, without looseness: the garment is a mesh of its own."""
    finish = painted.finish.copy()
    finish[:, 2] = 0.0
    return replace(painted, borders=_BORDERS[kind], finish=finish)


OUTSIDE = np.float32(-0.05)
"""The limb coordinate of a vertex that is not on the limb."""


@dataclass(frozen=True)
class Canvas:
    """Paint coordinates and topology of the body, independent of pose and shape.

    Args:
        rest: (V, 3) vertices of the mean body in the rest pose, metres.
        limb: (V, 4) along the arm (0 shoulder, 1 elbow, 2 wrist), along the leg (0 hip, 1 knee, 2 ankle), up the
            torso (0 hips, 1 neck), 1 on the head.
        region: (V,) index into `common.body.anatomy.REGIONS`.
        faces: (F, 3) triangles.
        face: (4, 3) left eye, right eye, mouth, centre of the head, in rest space.
        head_radius: (3,) half extents of the head.
    """

    rest: FloatArray
    limb: FloatArray
    region: IntArray
    faces: IntArray
    face: FloatArray
    head_radius: FloatArray

    @classmethod
    def from_model(cls, model: BodyModel) -> Self:
        """Computes the coordinates on the body of mean shape."""
        with torch.no_grad():
            vertices, joints = model.rest(torch.zeros(1, SHAPE_SIZE))
            keypoints = model.coco_keypoints(vertices)[0].numpy()
        rest, joint = vertices[0].numpy(), joints[0].numpy()
        region = model.vertex_region.numpy()
        on_head = (region == REGION_INDEX["face"]) | (region == REGION_INDEX["scalp"])
        above_chin = on_head & (rest[:, 1] < keypoints[COCO_KEYPOINTS.index("nose"), 1] + 0.08)
        low, high = rest[above_chin].min(0), rest[above_chin].max(0)
        # Shrink width and depth to the skull, without ears and nose.
        radius, centre = (high - low) / 2 * np.array([0.93, 1.0, 0.95], np.float32), (high + low) / 2
        hips, neck = joint[JOINT_INDEX["upperleg01.L"], 1], joint[JOINT_INDEX["neck01"], 1]
        torso = ((hips - rest[:, 1]) / (hips - neck)).astype(np.float32)
        limb = np.stack([_along(rest, joint, region, _ARM), _along(rest, joint, region, _LEG), torso, on_head], 1)
        nose, left, right = keypoints[:3]
        mouth = nose + np.array([0, 0.62, 0], np.float32) * (nose[1] - (left[1] + right[1]) / 2)
        return cls(
            rest=rest.astype(np.float32),
            limb=limb.astype(np.float32),
            region=region,
            faces=model.skin_faces.numpy(),
            face=np.stack([left, right, mouth, centre]).astype(np.float32),
            head_radius=radius.astype(np.float32),
        )


_ARM = (("upperarm01", "lowerarm01", "wrist"), ("upper_arm", "forearm", "hand"))
_LEG = (("upperleg01", "lowerleg01", "foot"), ("thigh", "shin", "foot"))


def _along(
    rest: FloatArray, joint: FloatArray, region: IntArray, chain: tuple[tuple[str, ...], tuple[str, ...]]
) -> FloatArray:
    """(V,) position along a limb of two bones, in bone lengths; `OUTSIDE` elsewhere."""
    along = np.full(len(rest), OUTSIDE, np.float32)
    for side in (".L", ".R"):
        first, middle, last = (joint[JOINT_INDEX[name + side]] for name in chain[0])
        upper, lower = _project(rest, first, middle), _project(rest, middle, last)
        on_limb = np.isin(region, [REGION_INDEX[name + side] for name in chain[1]])
        on_extremity = region == REGION_INDEX[chain[1][2] + side]
        position = np.where(upper < 1, np.maximum(upper, 0.0), 1 + np.clip(lower, 0.0, 1.5))
        along[on_limb] = np.where(on_extremity, np.maximum(position, 1.9), position)[on_limb]
    return along


def _project(points: FloatArray, start: FloatArray, end: FloatArray) -> FloatArray:
    axis = end - start
    return np.asarray((points - start) @ axis / (axis @ axis), np.float32)


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
    return replace(_cut(moved, removal), covered=garment.covered[skin < -_COVER_MARGIN])


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


_THICKNESS_M = 0.005
_SMOOTHINGS = 12
_BARE = ("face", "scalp", "hand.L", "hand.R", "foot.L", "foot.R")
SKIRT_ROWS, SKIRT_COLUMNS = 40, 72
"""The grid of the skirt: from the waist down, and around from the back by the left."""
_SKIRT_TOP = 0.32
_SKIRT_GAP_M = 0.008
_SKIRT_NEIGHBOURS = 24
_LEGS = ("hips", "chest", "thigh.L", "thigh.R", "shin.L", "shin.R")


_METRES = np.eye(11, 3, dtype=np.float32)[:, :1].repeat(3, 1)
"""(11, 3) scale of offsets in metres, the same for all shapes."""


@dataclass(frozen=True, eq=False)
class SkinBasis:
    """The body over the shape space.

    Args:
        rest: (11, V, 3) mean vertices, then displacements per unit of each shape coefficient.
        weights: (V, S) skinning weights.
    """

    rest: FloatArray
    weights: FloatArray
    canvas: Canvas


def made_suit(skin: SkinBasis) -> Garment:
    """A thin suit from neck to wrists and ankles, which smooths over navel and muscles."""
    canvas = skin.canvas
    bare = np.isin(canvas.region, [REGION_INDEX[name] for name in _BARE])
    faces = canvas.faces[~bare[canvas.faces].all(1)]
    faces = faces[(canvas.limb[faces, 2] < 1.12).all(1)]
    used, compact = np.unique(faces, return_inverse=True)
    faces = compact.reshape(-1, 3)
    surface = inflated(canvas.rest[used], faces, _THICKNESS_M, _THICKNESS_M, _SMOOTHINGS)
    # The body's vertices of which all triangles are beneath the suit are hidden.
    total, beneath = np.bincount(canvas.faces.ravel(), minlength=used.max() + 1), np.bincount(faces.ravel())
    covered = used[total[used] == beneath]
    return replace(fastened(skin, "made_suit", Kind.SUIT, used, surface, faces), covered=covered)


def made_skirt(skin: SkinBasis) -> Garment:
    """A skirt from the waist to the ankles: the convex outline of the body, which does not narrow below the hips."""
    canvas = skin.canvas
    legs = np.flatnonzero(np.isin(canvas.region, [REGION_INDEX[name] for name in _LEGS]) & (canvas.limb[:, 2] < 0.6))
    body = canvas.rest[legs]
    top = float(np.interp(_SKIRT_TOP, *_sorted(canvas.limb[legs, 2], body[:, 1])))
    bottom = float(body[canvas.limb[legs, 1] > 1.9, 1].min())
    heights = np.linspace(top, bottom, SKIRT_ROWS)
    angles = np.linspace(0, 2 * np.pi, SKIRT_COLUMNS, endpoint=False)
    outward = np.stack([np.sin(angles), np.cos(angles)], 1)
    centre = np.array([0.0, np.median(body[:, 2])])
    radius = np.zeros((SKIRT_ROWS, SKIRT_COLUMNS))
    for row, height in enumerate(heights):
        near = body[np.abs(body[:, 1] - height) < 0.03][:, [0, 2]] - centre
        # The distance along each direction at which the supporting lines of the outline meet it.
        support = (near @ outward.T).max(0)
        between = outward @ outward.T
        radius[row] = np.where(between > 0.2, support / np.maximum(between, 0.2), np.inf).min(1) + _SKIRT_GAP_M
    radius = np.maximum.accumulate(radius, 0)
    plane = centre + radius[..., None] * outward
    rest = np.stack([plane[..., 0], np.broadcast_to(heights[:, None], radius.shape), plane[..., 1]], -1)
    rest = rest.reshape(-1, 3).astype(np.float32)
    # Vertices follow the nearest skin, so that the middle follows both legs.
    distance, nearest = cKDTree(canvas.rest[legs] * [1, 1.5, 1]).query(rest * [1, 1.5, 1], _SKIRT_NEIGHBOURS)
    nearest = legs[nearest]
    shares = np.exp(-((distance / (distance[:, :1] + 0.03)) ** 2))
    shares = (shares / shares.sum(1, keepdims=True)).astype(np.float32)
    attachment = np.einsum("nk,rnkd->rnd", shares, skin.rest[:, nearest]).astype(np.float32)
    weights = np.einsum("nk,nks->ns", shares, skin.weights[nearest])
    limb = np.einsum("nk,nkc->nc", shares, canvas.limb[nearest]).astype(np.float32)
    # Measured by height alone, so that hems are level.
    leg = canvas.limb[legs, 1] > OUTSIDE
    height_of_leg = _sorted(canvas.rest[legs][leg, 1], canvas.limb[legs][leg, 1])
    limb[:, 0], limb[:, 1] = OUTSIDE, np.interp(rest[:, 1], *height_of_leg)
    limb[limb[:, 2] > 0.05, 1] = OUTSIDE
    limb[:, 3] = 0.0
    grid = np.asarray(weights, np.float64).reshape(SKIRT_ROWS, SKIRT_COLUMNS, -1)
    for _ in range(6):
        grid = (np.roll(grid, 1, 1) + 2 * grid + np.roll(grid, -1, 1)) / 4
    return Garment(
        name="made_skirt",
        kind=Kind.SUIT,
        attachment=attachment,
        offset=rest - attachment[0],
        scale=_METRES,
        weights=grid.reshape(weights.shape).astype(np.float32),
        faces=grid_faces(SKIRT_ROWS, SKIRT_COLUMNS, closed=True),
        rest=rest,
        limb=limb,
        region=canvas.region[nearest[:, 0]],
        covered=np.zeros(0, np.int64),
    )


def grid_faces(rows: int, columns: int, *, closed: bool) -> IntArray:
    """Triangles of a grid of vertices, row by row; closed: the last column is beside the first."""
    row, column = (index.ravel() for index in np.mgrid[: rows - 1, : columns if closed else columns - 1])
    here, right = row * columns + column, row * columns + (column + 1) % columns
    below, across = here + columns, right + columns
    return np.concatenate([np.stack([here, right, below], 1), np.stack([right, across, below], 1)])


def inflated(rest: FloatArray, faces: IntArray, height_m: float, least_m: float, smoothings: int) -> FloatArray:
    """A smooth surface (N, 3) above the skin (N, 3): lifted by a height, smoothed, and nowhere lower than the least."""
    mean = neighbour_mean(vertex_adjacency(faces, len(rest)))
    normals = VertexNormals(faces, len(rest))(rest)
    surface = rest + height_m * normals
    for _ in range(smoothings):
        surface = mean @ surface
        lift = np.einsum("nd,nd->n", surface - rest, normals)
        surface = surface + normals * np.maximum(least_m - lift, 0)[:, None]
    return np.asarray(surface, np.float32)


def fastened(skin: SkinBasis, name: str, kind: Kind, used: IntArray, surface: FloatArray, faces: IntArray) -> Garment:
    """The garment with a surface (N, 3), whose vertices follow the body's vertices `used` (N,); it hides nothing."""
    limb = skin.canvas.limb[used].astype(np.float32)
    limb[:, 3] = float(kind is Kind.HAT)
    return Garment(
        name=name,
        kind=kind,
        attachment=skin.rest[:, used].astype(np.float32),
        offset=surface - skin.canvas.rest[used],
        scale=_METRES,
        weights=skin.weights[used].astype(np.float32),
        faces=faces,
        rest=surface,
        limb=limb,
        region=skin.canvas.region[used],
        covered=np.zeros(0, np.int64),
    )


def _sorted(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Points of a curve in the order of x, as `np.interp` needs them."""
    order = np.argsort(x)
    return x[order], y[order]
