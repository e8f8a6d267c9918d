"""Reads meshes from and writes them atomically to GLB, OBJ and PLY files.

In memory, meshes are in camera space: x right, y down, z forward.  Files are y up, as glTF requires and viewers expect:
(x, y, z) becomes (x, −y, −z), a rotation by 180° about x, which preserves the winding of faces.  In a file, the camera
is at the origin and looks along −z.  Units are metres.
"""

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.arrays import ByteArray, FloatArray
from common.io.regular_file import read_regular
from receiver.mesh.formats import MESH_FORMATS
from receiver.mesh.glb import GlbReader, static_mesh_glb
from receiver.mesh.mesh_texture import MeshTexture, originals
from receiver.mesh.plain_meshes import obj, ply
from receiver.mesh.triangle_mesh import SurfaceMesh

if TYPE_CHECKING:
    import trimesh

_MAX_BYTES = 256_000_000

# Factors of the axes between camera space and y up; a rotation and its own inverse.
Y_UP = np.array([1.0, -1.0, -1.0], dtype=np.float32)


def to_y_up(points: FloatArray) -> FloatArray:
    """Converts (N, 3) points from camera space to y up, or back."""
    converted: FloatArray = np.ascontiguousarray(points * Y_UP, dtype=np.float32)
    return converted


def encode_mesh(mesh: SurfaceMesh, mesh_format: str, texture: MeshTexture | None = None) -> bytes:
    """Encodes a mesh in camera space as the bytes of a y-up file; only GLB files have a texture.

    Raises:
        ValueError: the format is not in `MESH_FORMATS`.
    """
    if mesh_format not in MESH_FORMATS:
        raise ValueError(f"unknown mesh format {mesh_format!r}; choose one of {', '.join(MESH_FORMATS)}")
    y_up = SurfaceMesh(to_y_up(mesh.vertices), mesh.faces, mesh.colours)
    return static_mesh_glb(y_up, texture) if mesh_format == "glb" else {"obj": obj, "ply": ply}[mesh_format](y_up)


def read_mesh(path: Path) -> SurfaceMesh:
    """Reads a file of a triangle mesh into camera space. Raises ValueError if it is missing, a link or no such."""
    try:
        return _mesh(read_regular(path, _MAX_BYTES), path.suffix)
    except Exception as error:  # trimesh passes on any exception of its parsers
        raise ValueError(f"cannot read a mesh from {path}: {error}") from error


def _mesh(content: bytes, suffix: str) -> SurfaceMesh:
    # Not imported before a mesh is read: the receiver only writes them, and trimesh takes a tenth of its start.
    import trimesh

    # Without its path, trimesh opens no other file that it names.
    loaded = trimesh.load_mesh(BytesIO(content), suffix.removeprefix("."), process=False)
    if not isinstance(loaded, trimesh.Trimesh) or len(loaded.faces) == 0:
        raise ValueError("it contains no triangle mesh")
    vertices, faces = loaded.vertices.astype(np.float32), loaded.faces.astype(np.int32)
    colours = GlbReader(content).colours() if suffix == ".glb" else _colours(loaded)
    if loaded.visual is not None and loaded.visual.kind == "texture":
        original = originals(vertices)
        count, faces = int(original.max()) + 1, original[faces].astype(np.int32)
        vertices, colours = vertices[:count], None if colours is None else colours[:count]
    return SurfaceMesh(to_y_up(vertices), faces, colours)


def _colours(loaded: "trimesh.Trimesh") -> ByteArray | None:
    """(V, 3) vertex colours of a format without materials: where a mesh has one, trimesh ignores them."""
    visual: Any = loaded.visual
    if visual is None or visual.kind != "vertex":
        return None
    return np.asarray(visual.vertex_colors[:, :3], dtype=np.uint8)
