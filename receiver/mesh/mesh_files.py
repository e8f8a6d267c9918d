"""Surfaces as files: GLB, and OBJ and PLY ten times as fast as by trimesh.

The content of GLB, OBJ and PLY files of meshes.

In memory, meshes are in camera space: x right, y down, z forward.  Files are y up, as glTF requires and viewers expect:
(x, y, z) becomes (x, −y, −z), a rotation by 180° about x, which preserves the winding of faces.  In a file, the camera
is at the origin and looks along −z.  Units are metres.
"""

import numpy as np

from common.arrays import FloatArray
from receiver.mesh.formats import MESH_FORMATS
from receiver.mesh.glb import static_mesh_glb
from receiver.mesh.mesh_texture import MeshTexture
from receiver.mesh.triangle_mesh import SurfaceMesh


def obj(mesh: SurfaceMesh) -> bytes:
    """OBJ text: micrometre precision, colours after positions, as most readers accept."""
    columns = mesh.vertices if mesh.colours is None else np.hstack([mesh.vertices, mesh.colours / 255.0])
    row = "v" + " %.6f" * 3 + " %.4f" * (columns.shape[1] - 3) + "\n"
    vertices = row * len(columns) % tuple(columns.ravel().tolist())
    faces = "f %d %d %d\n" * len(mesh.faces) % tuple((mesh.faces.ravel() + 1).tolist())
    return f"# Bodywire: metres, y up\n{vertices}{faces}".encode()


def ply(mesh: SurfaceMesh) -> bytes:
    """Binary little-endian PLY."""
    fields: list[tuple[str, str]] = [("x", "<f4"), ("y", "<f4"), ("z", "<f4")]
    if mesh.colours is not None:
        fields += [("red", "u1"), ("green", "u1"), ("blue", "u1")]
    vertices = np.empty(len(mesh.vertices), fields)
    for axis, name in enumerate("xyz"):
        vertices[name] = mesh.vertices[:, axis]
    for channel, (name, _) in enumerate(fields[3:]):
        vertices[name] = mesh.colours[:, channel] if mesh.colours is not None else 0
    faces = np.empty(len(mesh.faces), [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, mesh.faces
    properties = [f"property {'uchar' if kind == 'u1' else 'float'} {name}" for name, kind in fields]
    header = ["ply", "format binary_little_endian 1.0", "comment Bodywire: metres, y up"]
    header += [f"element vertex {len(vertices)}", *properties]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header", ""]
    return "\n".join(header).encode() + vertices.tobytes() + faces.tobytes()


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
