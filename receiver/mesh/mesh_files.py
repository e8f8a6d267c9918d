"""Reads meshes from and writes them atomically to GLB, OBJ and PLY files.

In memory, meshes are in camera space: x right, y down, z forward.  Files are y up, as glTF requires and viewers expect:
(x, y, z) becomes (x, −y, −z), a rotation by 180° about x, which preserves the winding of faces.  In a file, the camera
is at the origin and looks along −z.  Units are metres.
"""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from common.arrays import FloatArray
from common.io.regular_file import read_regular
from receiver.mesh.formats import MESH_FORMATS
from receiver.mesh.glb import static_mesh_glb
from receiver.mesh.glb_reader import GlbReader
from receiver.mesh.mesh_texture import MeshTexture
from receiver.mesh.plain_meshes import obj, ply
from receiver.mesh.triangle_mesh import SurfaceMesh

_MAX_BYTES = 256_000_000

# Factors of the axes between camera space and y up; a rotation and its own inverse.
Y_UP = np.array([1.0, -1.0, -1.0], dtype=np.float32)


def to_y_up(points: FloatArray) -> FloatArray:
    """Converts (N, 3) points from camera space to y up, or back."""
    converted: FloatArray = np.array(points, np.float32, order="C")
    # A column at a time takes a fifth of the time of a product with three factors.
    for column in (1, 2):
        converted[:, column] *= -1
    return converted


def encode_mesh(
    mesh: SurfaceMesh, mesh_format: str, texture: MeshTexture | None = None, *, quantised: bool = False
) -> bytes:
    """Encodes a mesh in camera space as the bytes of a y-up file; only GLB files have a texture, or are quantised.

    Raises:
        ValueError: the format is not in `MESH_FORMATS`, or a vertex that is quantised is not finite.
    """
    if mesh_format not in MESH_FORMATS:
        raise ValueError(f"unknown mesh format {mesh_format!r}; choose one of {', '.join(MESH_FORMATS)}")
    y_up = SurfaceMesh(to_y_up(mesh.vertices), mesh.faces, mesh.colours)
    if mesh_format == "glb":
        return static_mesh_glb(y_up, texture, quantised=quantised)
    return {"obj": obj, "ply": ply}[mesh_format](y_up)


def read_mesh(path: Path) -> SurfaceMesh:
    """Reads a file of a triangle mesh into camera space. Raises ValueError if it is missing, a link or no such."""
    try:
        mesh = _mesh(read_regular(path, _MAX_BYTES), path.suffix)
    except Exception as error:  # trimesh passes on any exception of its parsers
        raise ValueError(f"cannot read a mesh from {path}: {error}") from error
    return SurfaceMesh(to_y_up(mesh.vertices), mesh.faces, mesh.colours)


def _mesh(content: bytes, suffix: str) -> SurfaceMesh:
    """The y-up mesh of a file."""
    if suffix == ".glb":
        return GlbReader(content).mesh()[0]
    # Not imported before a mesh is read: the receiver only writes them, and trimesh takes a tenth of its start.
    import trimesh

    # Without its path, trimesh opens no other file that it names.
    loaded = trimesh.load_mesh(BytesIO(content), suffix.removeprefix("."), process=False)
    if not isinstance(loaded, trimesh.Trimesh) or len(loaded.faces) == 0:
        raise ValueError("it contains no triangle mesh")
    visual: Any = loaded.visual
    coloured = visual is not None and visual.kind == "vertex"
    colours = np.asarray(visual.vertex_colors[:, :3], np.uint8) if coloured else None
    return SurfaceMesh(loaded.vertices.astype(np.float32), loaded.faces.astype(np.int32), colours)
