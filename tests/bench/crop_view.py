"""Meshes as a crop of their picture shows them."""

from dataclasses import replace

import numpy as np

from common.frames import Camera
from receiver.mesh.triangle_mesh import SurfaceMesh
from sender.perception.inference.crop import CropBox


def in_crop(mesh: SurfaceMesh, camera: Camera, crop: CropBox, size: int) -> tuple[SurfaceMesh, Camera]:
    """A mesh and a camera that project it to a crop's pixels.

    The crop's centre is moved to the principal point by a shear along x and y, which keeps depths.

    Args:
        mesh: in the space of `camera`.
        camera: of the whole picture.
        crop: a part of the picture.
        size: side of the crop as it is drawn, pixels.
    """
    x, y = crop.centre
    shear = np.array([x - camera.width / 2, y - camera.height / 2, 0.0]) / camera.focal_px
    moved = (mesh.vertices - shear * mesh.vertices[:, 2:]).astype(np.float32)
    return replace(mesh, vertices=moved), Camera(size, size, camera.focal_px * size / crop.side)
