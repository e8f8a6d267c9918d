"""What the library returns.

Points and meshes are as in the receiver's mesh files, metres: x right, y up, z towards the camera, which is at the
origin.  Pixels are those of the picture, from its upper left corner.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self, overload

import trimesh

from common.arrays import FloatArray
from common.body.anatomy import FACIAL_ACTIONS
from common.frames import Camera
from receiver.engine.engine import ReconstructedPerson
from receiver.mesh.mesh_files import to_y_up
from receiver.mesh.skinned_glb import Skeleton, encode_body
from receiver.mesh.triangle_mesh import SurfaceMesh
from receiver.publish.frame_record import PersonRecord


@dataclass(frozen=True, eq=False)
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
    keypoints_2d: FloatArray = field(repr=False)
    joints_3d: FloatArray = field(repr=False)
    kinds: Mapping[str, tuple[str, float]] = field(repr=False)
    face: Mapping[str, float] | None = field(repr=False)
    fingers: FloatArray | None = field(repr=False)
    unseen_limbs: frozenset[str]
    height_m: float
    height_sigma_m: float
    _reconstructed: ReconstructedPerson = field(repr=False)
    _skeleton: Skeleton = field(repr=False)

    @classmethod
    def of(cls, person: ReconstructedPerson, record: PersonRecord, skeleton: Skeleton) -> Self:
        """A person whom the receiver has reconstructed."""
        face, scale = record.activations, record.scale
        return cls(
            record.identity,
            record.score,
            record.keypoints_2d,
            to_y_up(record.joints_3d),
            record.wears.likeliest() if record.wears else {},
            None if face is None else dict(zip(FACIAL_ACTIONS, face.tolist(), strict=True)),
            record.fingers,
            frozenset(record.unseen_limbs),
            scale.height_m if scale else float("nan"),
            scale.height_sigma_m if scale else float("nan"),
            person,
            skeleton,
        )

    @cached_property
    def surface(self) -> trimesh.Trimesh:
        """The watertight mesh with clothes and hair, with colours at its vertices."""
        return _trimesh(self._reconstructed.surface)

    @cached_property
    def body(self) -> trimesh.Trimesh:
        """The same person with the vertices that every body has, in the same order in every frame."""
        return _trimesh(self._reconstructed.body.mesh)

    def body_glb(self) -> bytes:
        """The content of a GLB file of the body with skeleton, skinning, facial actions and texture."""
        return encode_body(self._reconstructed.body, self._skeleton)


@dataclass(frozen=True, eq=False)
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


def _trimesh(mesh: SurfaceMesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(to_y_up(mesh.vertices), mesh.faces, vertex_colors=mesh.colours, process=False)
