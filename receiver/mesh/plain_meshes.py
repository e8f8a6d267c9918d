"""Meshes without texture and skeleton: OBJ and PLY, ten times as fast as by trimesh."""

import numpy as np

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
