"""A garment that fits any body shape and is posed with the body.

Shapes: N vertices of a garment, F triangles, S = 52 bones, R body regions.
"""

from dataclasses import dataclass

import numpy as np
import torch

from common.arrays import FloatArray, IntArray
from common.body.model import skin
from common.synthetic.assets.garment_files import Kind

ENDLESS = 99.0
"""A border beyond every coordinate: no cut."""


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
        removal: (N₀,) positive at those vertices of the original that were cut off; None without cuts.
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
    removal: FloatArray | None = None

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
