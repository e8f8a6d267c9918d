"""The texture atlas: a square image of the unfolded skin, and which point of the body each of its texels shows.

`ATLAS_SIZE` texels along a side are 1.9 mm of a face and 2.9 mm of a chest each.

Shapes: S = `ATLAS_SIZE`, T texels that show skin, V vertices of the body, F its triangles.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt

from common.arrays import BoolArray, ByteArray, FloatArray, Int32Array, IntArray
from common.body.anatomy import ATLAS_SIZE

if TYPE_CHECKING:
    from common.body.model import BodyModel


@dataclass(frozen=True, slots=True, eq=False)
class Texture:
    """The colours of one person's skin and clothes.

    Args:
        colours: (S, S, 3) uint8 RGB; undefined where unknown.
        known: (S, S) bool; the texels whose colours are known.
    """

    colours: ByteArray
    known: BoolArray


@dataclass(frozen=True, slots=True, eq=False)
class AtlasLayout:
    """Where the texels are on the body.

    Args:
        texel: (T,) indices into the flat atlas of the texels that show skin.
        face: (T,) the triangle of each.
        corners: (T, 3) vertices of that triangle.
        barycentric: (T, 3) position on it.
        mirror: (T,) position in `texel` of the one that shows the mirror point, or −1.
        region: (T,) body region of each.
        nearest: (S, S) indices into the flat atlas of the nearest texel that shows skin.
    """

    texel: Int32Array
    face: Int32Array
    corners: Int32Array
    barycentric: FloatArray
    mirror: Int32Array
    region: IntArray
    nearest: IntArray = field(repr=False)

    @classmethod
    def from_body(cls, body: "BodyModel") -> Self:
        """The layout of a body."""
        texel, face = body.texel.cpu().numpy(), body.texel_face.cpu().numpy()
        corners = body.faces.cpu().numpy()[face].astype(np.int32)
        barycentric = body.texel_barycentric.cpu().numpy()
        closest = np.take_along_axis(corners, barycentric.argmax(axis=1)[:, None], axis=1)[:, 0]
        region = body.vertex_region.cpu().numpy()[closest].astype(np.int64)
        empty = np.ones((ATLAS_SIZE, ATLAS_SIZE), np.bool_)
        empty.ravel()[texel] = False
        rows, columns = distance_transform_edt(empty, return_distances=False, return_indices=True)
        return cls(
            texel,
            face,
            corners,
            barycentric,
            body.texel_mirror.cpu().numpy(),
            region,
            (rows * ATLAS_SIZE + columns).astype(np.int64),
        )

    def areas(self, body: "BodyModel") -> FloatArray:
        """(T,) m² of the body at rest that each texel shows."""
        corners = body.rest_vertices[0].cpu().numpy()[body.faces.cpu().numpy()]
        edges = corners[:, 1:] - corners[:, :1]
        area = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1) / 2
        texels = np.bincount(self.face, minlength=len(area))
        return np.asarray((area / np.maximum(texels, 1))[self.face], np.float32)

    def squares(self, side: int) -> IntArray:
        """(T,) the square of `side` × `side` texels that each lies in, counted in rows from the upper left."""
        rows, columns = np.divmod(self.texel.astype(np.int64), ATLAS_SIZE)
        squares: IntArray = rows // side * (ATLAS_SIZE // side) + columns // side
        return squares

    def extended(self, colours: ByteArray) -> ByteArray:
        """(S, S, C) colours in which each texel that shows no skin has those of the nearest that does."""
        extended: ByteArray = colours.reshape(-1, colours.shape[2]).take(self.nearest, axis=0)
        return extended


def sample(image: ByteArray | FloatArray, coordinates: FloatArray) -> FloatArray:
    """(N, C) bilinear samples of an atlas (S, S, C) at texture coordinates (N, 2), v downwards."""
    if not len(coordinates):
        return np.zeros((0, image.shape[2]), np.float32)
    at = np.asarray(coordinates * [image.shape[1], image.shape[0]] - 0.5, np.float32)
    # OpenCV maps at most 32,767 rows at once.
    parts = [
        cv2.remap(image, part[:, :1], part[:, 1:], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for part in np.array_split(at, len(at) // 32_000 + 1)
    ]
    return np.concatenate(parts)[:, 0].astype(np.float32)
