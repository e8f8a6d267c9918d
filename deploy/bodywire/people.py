"""What the library returns.

Points and meshes are as in the receiver's mesh files, metres: x right, y up, z towards the camera, which is at the
origin.  Pixels are those of the picture, from its upper left corner.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isnan
from typing import TYPE_CHECKING, overload

from common.arrays import FloatArray
from common.frames import Camera

if TYPE_CHECKING:
    import trimesh

    from receiver.engine.engine import ReconstructedPerson
    from receiver.mesh.skinned_glb import Skeleton
    from receiver.mesh.triangle_mesh import SurfaceMesh

_SHOWN_CHARACTERS = 60


@dataclass(frozen=True, eq=False, repr=False)
class Person:
    """One person of a frame.

    Args:
        identity: stays the same within a video or camera, 0 to 255.
        score: confidence that this is a person, 0 to 1.
        keypoints_2d: (17, 3) x, y in pixels and a score, COCO order.
        joints_3d: (17, 3) metres, COCO order.
        kinds: attribute, such as `hair`, `sleeve` or `shoes`, → its likeliest kind and that kind's probability.
        face: facial action of ARKit, such as `jawOpen` → 0 to 1; None where nothing is known of the face.
        fingers: (30, 3) rotation vectors of the phalanges; None where nothing is known of the hands.
        unseen_limbs: limbs that the camera does not see: their pose is invented.
        height_m: how tall the person is, with `height_sigma_m`, its standard deviation; NaN if that is not known.
    """

    identity: int
    score: float
    keypoints_2d: FloatArray
    joints_3d: FloatArray
    kinds: Mapping[str, tuple[str, float]]
    face: Mapping[str, float] | None
    fingers: FloatArray | None
    unseen_limbs: frozenset[str]
    height_m: float
    height_sigma_m: float
    _reconstructed: "ReconstructedPerson"
    _skeleton: "Skeleton"

    def __repr__(self) -> str:
        height = "" if isnan(self.height_m) else f", {self.height_m:.2f} ± {self.height_sigma_m:.2f} m"
        unseen = f", unseen: {', '.join(sorted(self.unseen_limbs))}" if self.unseen_limbs else ""
        return f"<Person {self.identity}: score {self.score:.2f}{height}{unseen}>"

    @cached_property
    def surface(self) -> "trimesh.Trimesh":
        """The watertight mesh with clothes and hair, with colours at its vertices."""
        return _trimesh(self._reconstructed.surface)

    @cached_property
    def body(self) -> "trimesh.Trimesh":
        """The same person with the vertices that every body has, in the same order in every frame."""
        return _trimesh(self._reconstructed.body.mesh)

    def body_glb(self) -> bytes:
        """The content of a GLB file of the body with skeleton, skinning, facial actions and texture."""
        from receiver.mesh.skinned_glb import encode_body

        return encode_body(self._reconstructed.body, self._skeleton)


@dataclass(frozen=True, eq=False, repr=False)
class People(Sequence[Person]):
    """The people of a frame, most prominent first; empty where nobody is found.

    Args:
        source: file name, camera or address.
        time_s: seconds since the source's first frame; 0 of a picture.
        camera: width and height of the picture, and the focal length in pixels that the reconstruction supposes.
    """

    _people: tuple[Person, ...]
    source: str
    time_s: float
    camera: Camera

    @overload
    def __getitem__(self, index: int) -> Person: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Person, ...]: ...
    def __getitem__(self, index: int | slice) -> Person | tuple[Person, ...]:
        return self._people[index]

    def __len__(self) -> int:
        return len(self._people)

    def __repr__(self) -> str:
        source = self.source if len(self.source) <= _SHOWN_CHARACTERS else f"{self.source[:_SHOWN_CHARACTERS]}…"
        return f"<People: {len(self)} in {source}, {self.time_s:.3f} s>"


def _trimesh(mesh: "SurfaceMesh") -> "trimesh.Trimesh":
    # Imported here: not every program wants meshes, and these libraries take half a second.
    import trimesh

    from receiver.mesh.mesh_files import to_y_up

    return trimesh.Trimesh(to_y_up(mesh.vertices), mesh.faces, vertex_colors=mesh.colours, process=False)
