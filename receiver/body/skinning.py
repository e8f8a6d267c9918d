"""Posed bodies: the template with clothes, face, mouth and spanning cloth, skinned.

The template's eyes are the linings of the sockets, laid over the eyeballs, and its mouth is a bag without teeth.  Both
follow what they stand for: the eyes the eyeballs of the body model, and of the bag's first loops behind the lips, which
are laid over a row of teeth in each jaw, the upper ones the skull and the lower ones the jaw.  One of these loops
becomes the edge of the gums, two become the edge of the teeth, and one is where palate and floor begin; in the corners
of the mouth they stay where they are.  The teeth are behind closed lips; whose face does not move has none, and the
mesh of the bare template.

In a skirt, a dress or the tails of a coat the insides of both legs lie in the front and back middle, and skinning would
tear the cloth in two there when the legs part.  What spans the legs therefore follows both, the more the nearer it is
to the middle; that is linear blend skinning by weights that are blended with those of the other leg.  Published bodies,
surfaces and exported characters all have these weights, which depend on the outfit alone.

Shapes: B people, V' vertices of the template, M of them move with the face, L are on hips and legs, T on the teeth;
A = 52 actions, S bones, R rows down the legs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional as F

from common.arrays import BoolArray, ByteArray, Float64Array, FloatArray, IntArray
from common.body.anatomy import FACIAL_ACTIONS, LID_LOOPS, REGION_INDEX, SKELETON, mirror_permutation
from common.body.faces import load_facial_actions
from common.body.model import BodyModel
from common.body.template import BodyTemplate
from common.body.triangles import vertex_components
from common.weights.devices import device_of, to_numpy
from receiver.mesh.face_shapes import FaceShapes
from receiver.mesh.mesh_files import Y_UP
from receiver.mesh.skinned_glb import INFLUENCES, Reweighted, Skeleton, largest_weights, skeleton_from_dense

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


# An eye turns with its eyeball up to this distance from the centre of the iris, and less and less up to the other.
_TURNING_M, _RIM_M = 0.0062, 0.0145


class FacialMotion(nn.Module):
    """Displaces the template at rest by activations.

    Attributes:
        moved: (M,) the vertices of the template that any action moves.
        actions: (1 + A, M, 3) displacement of each at full activation, camera axes, metres; the first one is that of
            the teeth, which is whole whenever the face moves.
    """

    moved: Tensor
    actions: Tensor

    def __init__(self, body: BodyModel, template: BodyTemplate) -> None:
        super().__init__()
        actions = _actions(body, template)
        moved = np.flatnonzero(actions.any(axis=(0, 2)))
        self.register_buffer("moved", torch.from_numpy(moved), persistent=False)
        self.register_buffer("actions", torch.from_numpy(actions[:, moved]).contiguous(), persistent=False)

    def forward(self, activations: Tensor) -> Tensor:
        """(B, M, 3) displacements at rest by activations (B, A), 0…1; exactly zero where all are zero."""
        teeth = (activations != 0).any(1, keepdim=True).to(activations.dtype)
        displacements: Tensor = torch.cat([teeth, activations], 1) @ self.actions.flatten(1)
        moved: Tensor = displacements.unflatten(1, (-1, 3))
        return moved


def _actions(body: BodyModel, template: BodyTemplate) -> FloatArray:
    """(1 + A, V', 3) as `FacialMotion.actions`, of all vertices."""
    loaded = load_facial_actions(len(body.vertex_region))
    of_model = np.stack([to_numpy(loaded[name]) for name in FACIAL_ACTIONS]).astype(np.float64)
    rest = to_numpy(body.rest_vertices[0]).astype(np.float64)
    actions = np.concatenate([np.zeros((1, len(template), 3)), of_model[:, template.kept]])
    inner = list(_separate_parts(body, template))
    eyeballs = [next(part for part in inner if side * rest[part, 0].mean() > 0.01) for side in (1, -1)]
    tongue = next(part for part in inner if abs(rest[part, 0].mean()) <= 0.01)
    for loops, eyeball in zip(template.place[to_numpy(body.eyes)], eyeballs, strict=True):
        loop = loops[LID_LOOPS:].ravel()
        points = template.rest[loop]
        away_m = np.linalg.norm((points - template.rest[loops[-1]].mean(axis=0))[:, :2], axis=1)
        turning = np.clip((_RIM_M - away_m) / (_RIM_M - _TURNING_M), 0, 1)[:, None]
        actions[1:, loop] = turning * _followed(rest, of_model, eyeball, points)
    teeth = Teeth.from_loops(template, mouth_loops(body, template))
    share, vertices = teeth.shares[:, None], teeth.vertices
    jaw = np.where(teeth.upper[:, None], 0.0, _followed(rest, of_model, tongue, teeth.places))
    actions[0, vertices] = share * (teeth.places - template.rest[vertices])
    actions[1:, vertices] += share * (jaw - actions[1:, vertices])
    return actions.astype(np.float32)


def _separate_parts(body: BodyModel, template: BodyTemplate) -> Iterator[IntArray]:
    """The body model's vertices that the template leaves out, by connected component: eyeballs and tongue."""
    faces = to_numpy(body.faces).astype(np.int32)
    _, component = vertex_components(faces, len(template.place))
    for number in np.unique(component[template.place < 0]):
        yield np.flatnonzero(component == number)


def _followed(
    rest: Float64Array, actions: Float64Array, part: IntArray, points: FloatArray | Float64Array
) -> Float64Array:
    """(A, N, 3) displacements of points (N, 3) that move as a part of the body model, by an affine map an action.

    Args:
        rest, actions: (V, 3) and (A, V, 3) of the body model.
        part: its vertices.
    """
    places = np.column_stack([rest[part], np.ones(len(part))])
    maps = np.linalg.lstsq(places, actions[:, part].swapaxes(0, 1).reshape(len(part), -1), rcond=None)[0]
    moved = np.column_stack([points, np.ones(len(points))]) @ np.asarray(maps, np.float64)
    return np.asarray(moved.reshape(len(points), -1, 3).swapaxes(0, 1))


class SparseProduct(nn.Module):
    """Multiplies by a matrix (N, M), given as an array or sparse."""

    columns: Tensor
    starts: Tensor
    values: Tensor

    def __init__(self, matrix: object) -> None:
        super().__init__()
        rows = sparse.csr_array(matrix)
        for name, array in (("columns", rows.indices), ("starts", rows.indptr[:-1])):
            self.register_buffer(name, torch.from_numpy(array.astype(np.int32)), persistent=False)
        self.register_buffer("values", torch.from_numpy(rows.data.astype(np.float32)), persistent=False)

    def forward(self, table: Tensor) -> Tensor:
        """(M, …) → (N, …)."""
        bags = self.columns, table.flatten(1), self.starts
        product: Tensor = F.embedding_bag(*bags, mode="sum", per_sample_weights=self.values)
        return product.reshape(-1, *table.shape[1:])


_LEGS = ("hips", "thigh.L", "thigh.R", "shin.L", "shin.R")
_ROWS = 24
# The inside of a leg faces the other one by so much.
_FACING = 0.4
# Trousers let the insides of the legs out; what moves them along the skin by more than the first of these, metres,
# spans the legs in part, and wholly from the second.  What moves less than the last is bare.
_ALONG_M, _WORN_M = (0.042, 0.055), 0.01
# From the middle out to so many times the distance of the legs' axes, the weights of both legs are blended.
_REACH = 1.6
# Where published weights of both legs differ by less, a vertex moves the same with either; and the smallest share that
# is told from the rounding of float32.
_DIFFERENT, _LEAST_SHARE = 1e-3, 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Clothes:
    """What a person wears, on the template; the same in all frames in which the outfit is. Tensors are on the host.

    Args:
        displacement: (V', 3) in the rest pose, camera axes, metres.
        shares: (L,) how far legs follow the other one, 0…1; None if nothing spans both.
        reweighted: what these shares change.
        part: (V',) the outermost layer, index into `receiver.outfits.dressing.PARTS`; None if only the shape is known.
    """

    displacement: Tensor
    shares: Tensor | None = None
    reweighted: Reweighted | None = None
    part: IntArray | None = None


def stacked(worn: Sequence[Clothes]) -> tuple[Tensor, Tensor]:
    """Displacements (B, V', 3) of people, and shares (B, L) of their legs, or (B, 0) if nobody's follow the other."""
    spanning = next((each.shares for each in worn if each.shares is not None), torch.zeros(0))
    nothing = torch.zeros_like(spanning)
    shares = [nothing if each.shares is None else each.shares for each in worn]
    return torch.stack([each.displacement for each in worn]), torch.stack(shares)


class LegSpan(nn.Module):
    """Finds what spans the legs, on the host.

    Attributes:
        vertices: (L,) indices of the hips and legs in the template.
    """

    legs: Tensor
    rest: Tensor
    normals: Tensor
    to_rows: Tensor
    from_rows: Tensor
    reach_m: Tensor
    change: Tensor

    def __init__(self, template: BodyTemplate) -> None:
        super().__init__()
        legs = np.flatnonzero(np.isin(template.region, [REGION_INDEX[name] for name in _LEGS]))
        rest, normals = template.rest[legs], template.vertex_normals(template.rest)[legs]
        row = (rest[:, 1] - rest[:, 1].min()) / np.ptp(rest[:, 1]) * (_ROWS - 1)
        near = np.maximum(1 - np.abs(row[:, None] - np.arange(_ROWS)), 0)
        inside = near * (normals[:, :1] * np.sign(rest[:, :1]) < -_FACING)
        axis_m = (near * np.abs(rest[:, :1])).sum(0) / near.sum(0)
        self.vertices: IntArray = legs
        self._weights: FloatArray = template.weights[legs]
        self._change: FloatArray = self._weights[:, mirror_permutation(SKELETON)] - self._weights
        self.register_buffer("legs", torch.from_numpy(legs), persistent=False)
        arrays = {
            "rest": rest,
            "normals": normals,
            "to_rows": inside / np.maximum(inside.sum(0), 1e-6),
            "from_rows": near.T,
            "reach_m": _REACH * near @ axis_m,
            "change": self._change,
        }
        for name, array in arrays.items():
            self.register_buffer(name, torch.from_numpy(array).float(), persistent=False)

    def clothes(self, displacement: Tensor) -> Clothes:
        """The clothes that displace the template by (V', 3) in the rest pose, camera axes, metres."""
        shares = self.shares(displacement)
        if not bool(shares.any()):
            return Clothes(displacement)
        return Clothes(displacement, shares, self.reweighted(to_numpy(shares)))

    def shares(self, displacement: Tensor) -> Tensor:
        """(L,) how far the vertices of a template with a displacement (V', 3) follow the other leg, 0…1.

        Those of the mean body, so that they change with the outfit only.
        """
        moved = displacement[self.legs]
        # The halves lie over each other in the middle, so that some of a half is on the other side.
        across = ((self.rest + moved)[:, 0] * self.rest[:, 0].sign() / self.reach_m).clamp(-1, 1)
        return 0.5 * self._spans(moved) * (1 - across * (1.5 - 0.5 * across.square()))

    def reweighted(self, shares: FloatArray) -> Reweighted:
        """The vertices that follow the other leg by shares (L,), with their largest weights."""
        spanning = np.flatnonzero(shares)
        weights = self._weights[spanning] + shares[spanning, None] * self._change[spanning]
        return Reweighted(self.vertices[spanning], *largest_weights(weights, INFLUENCES))

    def shares_of(self, skeleton: Skeleton) -> FloatArray:
        """(L,) the shares that a body was published with, by its weights: the inverse of `reweighted`.

        The weights t of a vertex are the largest of w + s d, divided by their sum; of all s and sums, those with the
        smallest squared error.
        """
        joints, kept = skeleton.vertex_joints[self.vertices], skeleton.vertex_weights[self.vertices].astype(np.float64)
        own, change = (
            np.where(kept > 0, np.take_along_axis(dense, joints.astype(np.int64), axis=1), 0)
            for dense in (self._weights, self._change)
        )
        along = kept / np.linalg.norm(kept, axis=1, keepdims=True)
        own, change = (each - along * (along * each).sum(axis=1, keepdims=True) for each in (own, change))
        difference = np.linalg.norm(change, axis=1)
        found = -(own * change).sum(axis=1) / np.maximum(difference, _DIFFERENT) ** 2
        return np.where((difference > _DIFFERENT) & (found > _LEAST_SHARE), found.clip(max=1), 0).astype(np.float32)

    def _spans(self, moved: Tensor) -> Tensor:
        """(L,) whether a vertex of the legs, displaced by (L, 3), is of something that spans them: 0…1."""
        outwards = (moved * self.normals).sum(-1, keepdim=True) * self.normals
        along_m = (moved - outwards).norm(dim=-1) @ self.to_rows
        rows = ((along_m - _ALONG_M[0]) / (_ALONG_M[1] - _ALONG_M[0])).clamp(0, 1)
        # What spans the legs does so from the hips down.
        worn = (moved.norm(dim=-1) / _WORN_M).clamp(max=1)
        spans: Tensor = worn * (rows.flip(0).cummax(0).values.flip(0) @ self.from_rows)
        return spans


class TemplateSkinning(nn.Module):
    """Linear blend skinning of templates in their clothes; L vertices of the legs may follow both (`LegSpan`).

    Args:
        face: moves the face, on the device of the model.
    """

    rest: Tensor
    rest_joints: Tensor
    legs: Tensor

    def __init__(self, model: BodyModel, template: BodyTemplate, span: LegSpan, face: FacialMotion) -> None:
        super().__init__()
        device = device_of(model)
        self.register_buffer("rest", model.rest_vertices[:, template.kept], persistent=False)
        self.register_buffer("rest_joints", model.rest_joints, persistent=False)
        self.register_buffer("legs", span.legs.to(device), persistent=False)
        self.face = face.to(device)
        self.weights = SparseProduct(template.weights).to(device)
        self.change = SparseProduct(to_numpy(span.change)).to(device)

    def forward(
        self,
        shape: Tensor,
        positions: Tensor,
        rotations: Tensor,
        displacement: Tensor,
        shares: Tensor,
        activations: Tensor,
    ) -> Tensor:
        """(B, V', 3) templates in camera space.

        Args:
            shape: (B, 10).
            positions, rotations: of the bones, as `BodyModel.forward_kinematics` has them.
            displacement: (B, V', 3) in the rest pose.
            shares: (B, L) how far the legs follow the other one; (B, 0) if none does.
            activations: (B, 52) of the facial actions, 0…1; (B, 0) if no face moves.
        """
        rows = F.pad(shape, (1, 0), value=1.0)
        joints = (rows @ self.rest_joints.flatten(1)).unflatten(1, (-1, 3))
        rest = (rows @ self.rest.flatten(1)).unflatten(1, (-1, 3)) + displacement
        rest = rest.transpose(0, 1)
        if activations.shape[1]:
            rest = rest.index_add(0, self.face.moved, self.face(activations).transpose(0, 1))
        offsets = positions - (rotations @ joints[..., None])[..., 0]
        # Columns of the rotation, then the translation: (S, 4, B, 3).
        transforms = torch.cat([rotations.permute(1, 3, 0, 2), offsets.transpose(0, 1)[:, None]], 1)
        vertices = _moved(self.weights(transforms), rest).transpose(0, 1)
        if shares.shape[1]:
            change = _moved(self.change(transforms), rest.index_select(0, self.legs))
            vertices = vertices.index_add(1, self.legs, shares[..., None] * change.transpose(0, 1))
        return vertices.contiguous()


def _moved(transforms: Tensor, points: Tensor) -> Tensor:
    """Points (N, B, 3) by transforms (N, 4, B, 3) of their own."""
    x, y, z, translation = transforms.unbind(1)
    moved = torch.addcmul(translation, x, points[..., :1])
    moved = torch.addcmul(moved, y, points[..., 1:2])
    return torch.addcmul(moved, z, points[..., 2:])


@dataclass(frozen=True, eq=False)
class BodySkin:
    """How all published bodies are posed."""

    model: BodyModel
    template: BodyTemplate
    skeleton: Skeleton
    span: LegSpan
    skinning: TemplateSkinning

    @classmethod
    def from_model(cls, model: BodyModel) -> Self:
        """Extracts template and skeleton of a body model."""
        template = BodyTemplate.from_model(model)
        span, face = LegSpan(template), FacialMotion(model, template)
        skinning = TemplateSkinning(model, template, span, face)
        actions = to_numpy(face.actions) * Y_UP
        shapes = FaceShapes.from_actions(FACIAL_ACTIONS, to_numpy(face.moved), actions)
        skeleton = skeleton_from_dense(SKELETON, np.array(model.parents), template.weights)
        return cls(model, template, replace(skeleton, face=shapes), span, skinning)

    @property
    def bare(self) -> Clothes:
        """Nothing is worn."""
        return Clothes(torch.zeros(len(self.template), 3))

    def skeleton_with(self, influences: int) -> Skeleton:
        """The skeleton with as many weights of each vertex as `influences`, a multiple of 4."""
        joints, weights = largest_weights(self.template.weights, influences)
        return replace(self.skeleton, vertex_joints=joints, vertex_weights=weights)

    def coloured(self, region_colours: FloatArray) -> ByteArray:
        """(V', 3) the colours of the template's vertices by those of the regions (R, 3), RGB 0…1."""
        levels = np.round(np.clip(region_colours, 0.0, 1.0) * 255.0).astype(np.uint8)
        return np.asarray(levels[self.template.region], np.uint8)
