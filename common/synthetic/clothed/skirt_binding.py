"""Binding of the legs to the made skirt: each leg covers its half, so that the template closes between the legs."""

import numpy as np

from common.arrays import FloatArray, IntArray
from common.body.anatomy import JOINT_INDEX, REGION_INDEX
from common.body.model import BodyModel
from common.body.template import BodyTemplate
from common.synthetic.assets.body_garments import SKIRT_COLUMNS, SKIRT_ROWS
from common.synthetic.assets.garment import Garment
from common.synthetic.clothed.binding import GarmentBinding

_OVERLAP = 1.2
"""The vertices near the innermost line all go to the middle, so that the two legs meet there."""
_LEG_JOINTS = ("upperleg01", "lowerleg01", "foot")


def bind_legs(binding: GarmentBinding, skirt: Garment, model: BodyModel, template: BodyTemplate) -> GarmentBinding:
    """A fitted binding of the skirt in which the legs are bound by the angle around them.

    The outside of a leg goes to the side of the skirt, its inside to the middle of front and back; the innermost line
    of the leg is where it changes between these, inside the skirt.

    Args:
        binding: fitted by registration, good for the hips.
    """
    parts = [binding]
    bound = np.zeros(len(template), np.bool_)
    for side, sign in (("L", 1.0), ("R", -1.0)):
        legs = np.isin(template.region, [REGION_INDEX[f"{name}.{side}"] for name in ("thigh", "shin")])
        below = (template.rest[:, 1] > skirt.rest[:, 1].min()) & (template.rest[:, 1] < skirt.rest[:, 1].max())
        vertices = np.flatnonzero(legs & below & template.outside)
        bound[vertices] = True
        joints = model.rest_joints[0, [JOINT_INDEX[f"{name}.{side}"] for name in _LEG_JOINTS]].cpu().numpy()
        parts.append(_around(vertices, template.rest[vertices], joints, sign, skirt))
    hips = ~bound[binding.vertices]
    parts[0] = GarmentBinding(
        binding.vertices[hips], binding.corners[hips], binding.barycentric[hips], binding.offset[hips]
    )
    names = ("vertices", "corners", "barycentric", "offset")
    return GarmentBinding(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _around(
    vertices: IntArray,
    rest: FloatArray,
    joints: FloatArray,
    sign: float,
    skirt: Garment,
) -> GarmentBinding:
    """Binds vertices (n, 3) of one leg; `sign` is that of the leg's x."""
    axis = np.stack([np.interp(rest[:, 1], joints[:, 1], joints[:, k]) for k in (0, 2)], 1)
    across, back = sign * (rest[:, 0] - axis[:, 0]), rest[:, 2] - axis[:, 1]
    # 0 at the back, π/2 outside, π in front; the innermost line is at −π/2 and 3π/2.
    angle = np.arctan2(across, back)
    angle = np.where(angle < -np.pi / 2, angle + 2 * np.pi, angle)
    # −1 in the middle of the back, 0 at the side, 1 in the middle of the front.
    forward = np.clip(_OVERLAP * (angle / np.pi - 0.5), -1, 1)
    around = sign * (1 + forward) / 4 * SKIRT_COLUMNS % SKIRT_COLUMNS
    heights = skirt.rest.reshape(SKIRT_ROWS, SKIRT_COLUMNS, 3)[:, 0, 1]
    along = np.interp(rest[:, 1], heights, np.arange(SKIRT_ROWS))
    row, column = np.minimum(along.astype(np.int64), SKIRT_ROWS - 2), around.astype(np.int64) % SKIRT_COLUMNS
    here = row * SKIRT_COLUMNS + column
    beside = row * SKIRT_COLUMNS + (column + 1) % SKIRT_COLUMNS
    down, right = along - row, np.minimum(around - column, 1.0)
    corners = np.stack([here, beside, here + SKIRT_COLUMNS], 1)
    barycentric = np.stack([1 - right - down, right, down], 1).astype(np.float32)
    return GarmentBinding(vertices, corners, barycentric, np.zeros((len(vertices), 3), np.float32))
