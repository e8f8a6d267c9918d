"""Meshes as GLB, OBJ or PLY files, written whole or not at all.

Inside Bodywire a mesh stands in camera space: x right, y down, z forward.  Every file that leaves it is y up, as glTF
demands and as viewers expect: (x, y, z) becomes (x, −y, −z), half a turn about x, so faces keep their winding and the
person still looks at the camera, which stands at the origin and looks along −z.  Units are metres.
"""

from pathlib import Path
from typing import Any

import numpy as np
import trimesh

from common.arrays import ByteArray, FloatArray
from common.errors import OutputError
from common.io.atomic_write import atomic_write
from receiver.mesh.glb import read_colours, static_mesh_glb
from receiver.mesh.triangle_mesh import SurfaceMesh

MESH_FORMATS = ("glb", "obj", "ply")

# Its own inverse, and a rotation: the same factors lead there and back.
Y_UP = np.array([1.0, -1.0, -1.0], dtype=np.float32)


def to_y_up(points: FloatArray) -> FloatArray:
    """(N, 3) from camera space to y up, or back."""
    turned: FloatArray = np.ascontiguousarray(points * Y_UP, dtype=np.float32)
    return turned


def encode_mesh(mesh: SurfaceMesh, mesh_format: str) -> bytes:
    """The bytes of a file, y up.

    Raises:
        ValueError: the format is none of `MESH_FORMATS`.
    """
    if mesh_format not in MESH_FORMATS:
        raise ValueError(f"unknown mesh format {mesh_format!r}; choose one of {', '.join(MESH_FORMATS)}")
    turned = SurfaceMesh(to_y_up(mesh.vertices), mesh.faces, mesh.colours)
    if mesh_format == "glb":
        return static_mesh_glb(turned)
    return _obj(turned) if mesh_format == "obj" else _ply(turned)


def _obj(mesh: SurfaceMesh) -> bytes:
    """Text: micrometres, and colours behind the positions as most readers take them; a tenth of trimesh's time."""
    columns = mesh.vertices if mesh.colours is None else np.hstack([mesh.vertices, mesh.colours / 255.0])
    row = "v" + " %.6f" * 3 + " %.4f" * (columns.shape[1] - 3) + "\n"
    vertices = row * len(columns) % tuple(columns.ravel().tolist())
    faces = "f %d %d %d\n" * len(mesh.faces) % tuple((mesh.faces.ravel() + 1).tolist())
    return f"# Bodywire: metres, y up\n{vertices}{faces}".encode()


def _ply(mesh: SurfaceMesh) -> bytes:
    """Binary, little endian."""
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


def write_mesh(path: Path, mesh: SurfaceMesh) -> None:
    """Write a mesh in the format that the path's suffix names.

    Raises:
        OutputError: the file cannot be written.
        ValueError: the suffix is none of `MESH_FORMATS`.
    """
    publish_file(path, encode_mesh(mesh, path.suffix.removeprefix(".")))


def read_mesh(path: Path) -> SurfaceMesh:
    """Read a file that `write_mesh` or `encode_body` made, back into camera space.

    Raises:
        ValueError: the file is missing or no mesh can be read from it.
    """
    try:
        loaded = trimesh.load_mesh(path, process=False)
    except Exception as error:  # trimesh lets whatever its parsers raise pass through
        raise ValueError(f"cannot read a mesh from {path}: {error}") from error
    if not isinstance(loaded, trimesh.Trimesh) or len(loaded.faces) == 0:
        raise ValueError(f"{path} holds no triangle mesh")
    return SurfaceMesh(
        to_y_up(loaded.vertices.astype(np.float32)), loaded.faces.astype(np.int32), _colours_of(path, loaded)
    )


def _colours_of(path: Path, loaded: trimesh.Trimesh) -> ByteArray | None:
    """(V, 3) colours of the vertices; trimesh passes over those of a GLB that also has a material."""
    if path.suffix == ".glb":
        return read_colours(path.read_bytes())
    visual: Any = loaded.visual
    if visual is None or visual.kind != "vertex":
        return None
    return np.asarray(visual.vertex_colors[:, :3], dtype=np.uint8)


def publish_file(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a kill at any moment, finds the old content or the new, never a part.

    Raises:
        OutputError: the file cannot be written; nothing is left behind.
    """
    try:
        atomic_write(path, content)
    except OSError as error:
        raise output_error(path, error) from error


def output_error(path: Path, error: OSError) -> OutputError:
    """One line that says which path, why, and what to do."""
    reason = error.strerror or str(error)
    return OutputError(f"cannot write {path}: {reason}; free some space or choose another --out")
