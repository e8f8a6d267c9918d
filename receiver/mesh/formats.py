"""The file formats of meshes and animations, in one table.

A new one is a row here and an encoder, of frames in `receiver.mesh.mesh_files`, of animations in
`receiver.export.session_export`.  Imports nothing that takes time, for command lines.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final


class Export(Enum):
    """What a session becomes in a format."""

    SCENE = auto()
    """One animated file of everybody."""
    CHARACTER = auto()
    """An animated file for each person."""
    SEQUENCE = auto()
    """A folder for each person, with a mesh for each frame."""
    TABLE = auto()
    """A file of the numbers that `frames.jsonl` has of everybody."""


@dataclass(frozen=True, slots=True)
class Format:
    """A file format.

    Args:
        name: the ending of its files.
        of_frames: whether the receiver can write its frames in it.
    """

    name: str
    media_type: str
    export: Export
    of_frames: bool


FORMATS: Final = {
    row.name: row
    for row in (
        Format("glb", "model/gltf-binary", Export.SCENE, of_frames=True),
        Format("bvh", "application/octet-stream", Export.CHARACTER, of_frames=False),
        Format("obj", "model/obj", Export.SEQUENCE, of_frames=True),
        Format("ply", "application/octet-stream", Export.SEQUENCE, of_frames=True),
        Format("usdz", "model/vnd.usdz+zip", Export.SCENE, of_frames=False),
        Format("npz", "application/octet-stream", Export.TABLE, of_frames=False),
        Format("csv", "text/csv", Export.TABLE, of_frames=False),
    )
}
"""By the name."""

MESH_FORMATS: Final = tuple(name for name, row in FORMATS.items() if row.of_frames)
