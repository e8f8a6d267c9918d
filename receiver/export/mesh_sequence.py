"""A sequence of OBJ or PLY files of one person, `frame-000000.obj` and so on.

All files have the same faces and the same order of vertices. The meshes are those that were published: each frame has
its own shape. They are read and written one at a time.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from common.errors import UsageError
from receiver.export.destination import sequence_file, write_file
from receiver.export.recorded_session import BodyAt
from receiver.export.rigging import LeftOut
from receiver.mesh.body_file import read_body
from receiver.mesh.mesh_files import encode_mesh, to_y_up
from receiver.mesh.triangle_mesh import SurfaceMesh


def write_sequence(folder: Path, bodies: Sequence[BodyAt], mesh_format: str, left_out: LeftOut) -> int:
    """Writes the bodies of a person into an empty folder, numbered from 0 without gaps.

    Args:
        bodies: in order of time.
        left_out: counts the bodies that cannot be read, or have other faces than the first one.

    Returns:
        the number of files.

    Raises:
        UsageError: none of the bodies can be read.
        OutputError: a file cannot be written.
    """
    written = 0
    for mesh in _meshes(bodies, left_out):
        content = encode_mesh(SurfaceMesh(to_y_up(mesh.vertices), mesh.faces, mesh.colours), mesh_format)
        write_file(folder / sequence_file(written, mesh_format), [content], synced=False)
        written += 1
    if not written:
        raise UsageError(f"none of the {len(bodies)} bodies can be read: {left_out.reason}")
    return written


def _meshes(bodies: Sequence[BodyAt], left_out: LeftOut) -> Iterator[SurfaceMesh]:
    """The meshes that can be read, y up."""
    faces = None
    for body in bodies:
        left_out.seen += 1
        try:
            mesh = read_body(body.path).mesh
        except ValueError as error:
            left_out.add(error)
            continue
        faces = mesh.faces if faces is None else faces
        if np.array_equal(mesh.faces, faces):
            yield mesh
        else:
            left_out.add(f"{body.path} has other faces")
