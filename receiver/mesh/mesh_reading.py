"""Reads meshes, in camera space, from the files of all formats that the receiver writes."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from common.io.files import read_regular
from receiver.mesh.body_file import read_body
from receiver.mesh.glb_reader import GlbReader
from receiver.mesh.mesh_files import to_y_up
from receiver.mesh.triangle_mesh import SurfaceMesh

_MAX_BYTES = 256_000_000


def read_mesh(path: Path) -> SurfaceMesh:
    """Reads a file of a triangle mesh into camera space. Raises ValueError if it is missing, a link or no such."""
    try:
        if path.suffix == ".gltf":
            mesh = read_body(path, morphed=True).mesh
        else:
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
