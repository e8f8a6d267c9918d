"""An animated character: the body of one person in its rest pose, its skeleton, and the motion of a session."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from common.arrays import BoolArray, Float64Array, FloatArray, IntArray
from common.frames import Camera
from receiver.export.recorded_session import Interval, frame_rate
from receiver.mesh.face_shapes import FaceShapes
from receiver.mesh.mesh_texture import MeshTexture
from receiver.mesh.posing import rest_positions
from receiver.mesh.skinned_glb import Skeleton
from receiver.mesh.triangle_mesh import SurfaceMesh


@dataclass(frozen=True, slots=True)
class Motion:
    """The poses of N frames, for a skeleton of J joints; metres, y up, camera at the origin.

    Args:
        times_s: (N,) strictly increasing, also as float32.
        rotations: (N, J, 4) unit quaternions x, y, z, w relative to the parent, of the same hemisphere from frame to
            frame; the identity is the rest pose.
        root_positions: (N, 3) metres.
        legs_seen: (N, 2) whether a camera sees the left and the right leg; None if that was not recorded.
        activations: (N, 52) of the facial actions, 0…1; None if no face was recorded.
    """

    times_s: Float64Array
    rotations: FloatArray
    root_positions: FloatArray
    legs_seen: BoolArray | None = None
    activations: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.times_s)

    @property
    def frame_rate(self) -> float:
        """As of `timeline.frame_rate`."""
        return frame_rate(self.times_s)

    def resampled(self, times_s: Float64Array, present: Sequence[Interval] = ()) -> "Motion":
        """The motion at other times: spherical and linear interpolation, and still before the first frame, after the
        last one, and while the person is not present."""
        inside = np.clip(times_s, self.times_s[0], self.times_s[-1])
        for (_, end_s), (begin_s, _) in pairwise(present):
            last_s = self.times_s[max(int(np.searchsorted(self.times_s, end_s)) - 1, 0)]
            inside[(last_s < inside) & (inside < begin_s)] = last_s
        if len(self) == 1:
            rotations = np.repeat(self.rotations, len(inside), axis=0)
        else:
            joints = [Rotation.from_quat(self.rotations[:, joint]) for joint in range(self.rotations.shape[1])]
            slerped = [Slerp(self.times_s, joint)(inside).as_quat() for joint in joints]
            rotations = continuous(np.stack(slerped, axis=1).astype(np.float32))

        def between(values: FloatArray) -> FloatArray:
            columns = [np.interp(inside, self.times_s, column) for column in values.T]
            return np.stack(columns, axis=1).astype(np.float32)

        activations = None if self.activations is None else between(self.activations)
        return Motion(times_s, rotations, between(self.root_positions), activations=activations)


@dataclass(frozen=True, slots=True)
class Placement:
    """From the camera's axes, y up and z back, to a world whose floor is y = 0, with the camera above the origin.

    Args:
        rotation: (3, 3).
        height_m: of the camera.
    """

    rotation: Float64Array
    height_m: float

    @property
    def position(self) -> Float64Array:
        """(3,) of the camera, metres."""
        return np.array([0.0, self.height_m, 0.0])

    def placed(self, points: FloatArray | Float64Array) -> FloatArray:
        """(N, 3) points in the world, of points in the camera's axes."""
        return (points @ self.rotation.T + self.position).astype(np.float32)


@dataclass(frozen=True, slots=True)
class View:
    """The camera that recorded characters, in their world."""

    placement: Placement
    lens: Camera


@dataclass(frozen=True, slots=True)
class Character:
    """A person, ready for animation.

    Args:
        skeleton: joints, and the skinning weights of the mesh.
        offsets: (J, 3) position of each joint in the rest pose relative to its parent, metres; the root's is above the
            origin, so that the lowest vertex of the mesh is at y = 0.
        mesh: in the rest pose with a neutral face, y up; the joints' frames are aligned with the axes.
        texture: of the mesh, in more detail than the colours of its vertices, or None.
        kinds: attribute → value of what the person wears, as far as it is known (`common.wears`).
        unseen_limbs: limbs that no camera saw in any frame.
        present: when the person is there, in order; nothing: always.
        timely: no filter has delayed the motion.
    """

    identity: int
    skeleton: Skeleton
    offsets: Float64Array
    mesh: SurfaceMesh
    motion: Motion
    texture: MeshTexture | None = None
    kinds: Mapping[str, str] = field(default_factory=dict)
    unseen_limbs: Set[str] = frozenset()
    present: Sequence[Interval] = ()
    timely: bool = False

    @property
    def name(self) -> str:
        """`person-3`."""
        return f"person-{self.identity}"

    def switches(self, last_s: float) -> list[tuple[float, bool]]:
        """Times from 0 s on until the last pose of a file, from each of which on the person is there or not; empty for
        one who is always there."""
        edges = [(begin_s, True) for begin_s, _ in self.present] + [(end_s, False) for _, end_s in self.present]
        inside = sorted(edge for edge in edges if 0 < edge[0] <= last_s)
        return [(0.0, not inside[0][1]), *inside] if inside else []

    @property
    def face(self) -> FaceShapes | None:
        """What moves the face; None if it does not move."""
        return None if self.motion.activations is None else self.skeleton.face

    @property
    def bound_mesh(self) -> SurfaceMesh:
        """The mesh that joints and blend shapes move: of a face that moves, the mouth has teeth."""
        return self.mesh if self.face is None else moved_mesh(self.mesh, self.face.vertices, self.face.lining)

    @property
    def rest_positions(self) -> Float64Array:
        """(J, 3) joints in the rest pose, metres."""
        return rest_positions(self.skeleton.parents.tolist(), self.offsets)


def moved_mesh(mesh: SurfaceMesh, vertices: IntArray, displacements: FloatArray) -> SurfaceMesh:
    """A mesh of which vertices (M,) are displaced by (M, 3)."""
    moved = mesh.vertices.copy()
    moved[vertices] += displacements
    return replace(mesh, vertices=moved)


def continuous(rotations: FloatArray) -> FloatArray:
    """(N, J, 4) quaternions with signs such that each is on the hemisphere of the one before."""
    flips = np.sum(rotations[1:] * rotations[:-1], axis=2) < 0
    signs = np.where(np.cumsum(flips, axis=0) % 2 == 1, -1, 1).astype(np.float32)
    signed: FloatArray = np.concatenate([rotations[:1], rotations[1:] * signs[:, :, None]])
    return signed
