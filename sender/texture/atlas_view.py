"""What one frame shows of one person's texture atlas: the visible texels, with colours, weights and normals."""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import sparse

from common.arrays import FloatArray, Image, IntArray
from common.body.triangles import VertexNormals
from common.frames import Camera
from common.texture.atlas import AtlasLayout
from sender.perception.crop import CropBox
from sender.texture.observation import Observation
from sender.texture.point_visibility import view_cosine

# Pixels along a side of the crop that colours are taken from; a larger one is reduced, which averages over pixels.
_MAX_IMAGE_SIZE_PX = 1024
# Size of a texel on the body: at a coarser pixel, an observation is less sharp and weighs less.
_TEXEL_M = 0.003
_MIN_SHARPNESS = 0.15
_ROW = 256


@dataclass(frozen=True, slots=True, eq=False)
class AtlasView:
    """N visible texels of one person in one frame.

    Args:
        texels: (N,) positions among the layout's texels.
        colours: (N, 3) RGB 0…255, as the frame shows them.
        weights: (N,) above 0 and up to 1: how well each texel is seen.
        normals: (N, 3) approximate unit normals, camera space.
    """

    texels: IntArray
    colours: FloatArray
    weights: FloatArray
    normals: FloatArray


class AtlasCamera:
    """Takes `AtlasView`s.

    Args:
        faces: (F, 3) triangles of the body, of which the layout's `face` are indices.
        region: (V,) body region of each vertex.
    """

    def __init__(self, layout: AtlasLayout, faces: IntArray, region: IntArray) -> None:
        self.layout = layout
        self._corners_of_faces = np.ascontiguousarray(faces.T)
        self._region = region
        self._normals = VertexNormals(faces, len(region))
        self._starts = np.arange(0, layout.corners.size + 1, 3, dtype=np.int32)

    def view(
        self,
        frame: Image,
        crop: CropBox,
        observation: Observation,
        vertices: FloatArray,
        camera: Camera,
        hidden: IntArray | None = None,
    ) -> AtlasView:
        """The texels that a frame shows.

        Args:
            frame: (H, W, 3) uint8 RGB.
            crop: the person's part of it.
            observation: says which pixels show the person, and which body regions.
            vertices: (V, 3) of the posed body, camera space, metres.
            hidden: indices of vertices that are not seen for another reason than the body tells.
        """
        normals = self._normals(vertices)
        pixels = camera.project(vertices)
        weights = np.square(view_cosine(vertices, normals, camera))
        weights *= observation.weight_at(pixels, self._region)
        sharpness = _TEXEL_M * camera.focal_px / np.maximum(vertices[:, 2], _TEXEL_M)
        weights *= np.square(np.clip(sharpness, _MIN_SHARPNESS, 1))
        if hidden is not None:
            weights[hidden] = 0
        # A triangle with a corner that is not seen may be seen in part only.
        positive = np.asarray(weights > 0)
        first, second, third = (positive[corners] for corners in self._corners_of_faces)
        texels = np.flatnonzero((first & second & third)[self.layout.face])
        at_texels = self._of_texels(texels) @ np.column_stack([pixels, weights, normals])
        return AtlasView(texels, _colours(frame, crop, at_texels[:, :2]), at_texels[:, 2], at_texels[:, 3:])

    def _of_texels(self, texels: IntArray) -> sparse.csr_array:
        """(N, V): values of texels from those of the vertices."""
        corners, barycentric = (each.take(texels, axis=0) for each in (self.layout.corners, self.layout.barycentric))
        parts = (barycentric.ravel(), corners.ravel(), self._starts[: len(texels) + 1])
        return sparse.csr_array(parts, shape=(len(texels), len(self._region)))


def _colours(frame: Image, crop: CropBox, pixels: FloatArray) -> FloatArray:
    """(N, 3) colours of a frame at (N, 2) pixels within the crop."""
    size = min(crop.side, _MAX_IMAGE_SIZE_PX)
    image = crop.cut(frame, size)
    at = np.asarray(crop.to_units(pixels) * size - 0.5, np.float32)
    # OpenCV maps at most 32,767 rows at once, and at least one.
    grid = np.zeros((len(at) // _ROW + 1, _ROW, 2), np.float32)
    grid.reshape(-1, 2)[: len(at)] = at
    colours = cv2.remap(
        image, grid[..., 0].copy(), grid[..., 1].copy(), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(colours.reshape(-1, 3)[: len(at)], np.float32)
