"""A session of small articulated bodies whose rest mesh, skeleton and motion are known exactly."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from scipy.spatial.transform import Rotation

from common.arrays import Float64Array
from receiver.config import PublishConfig
from receiver.mesh.mesh_files import Y_UP
from receiver.mesh.skinned_glb import PosedBody, Skeleton, skeleton_from_dense
from receiver.mesh.triangle_mesh import SurfaceMesh
from receiver.publish.frame_record import FrameRecord, PersonRecord
from receiver.publish.session_directory import SessionDirectory
from tests.support.receiver.published_session import OWNER, person_record

# As in the body model, some joints stand between a joint and its children.
NAMES = ("root", "spine", "arm.L", "head", "hand.L")
PARENTS = np.array([-1, 0, 1, 1, 2])
OFFSETS = np.array([[0, 0, 0], [0, 0.3, 0], [0.2, 0.3, 0], [0, 0.4, 0.05], [0.3, 0, 0]], np.float64)
"""(5, 3) from the parent in the rest pose, metres, y up; the root is at the origin."""
STEP_S = 0.05


def rest_positions() -> Float64Array:
    positions = OFFSETS.copy()
    for joint in range(1, len(NAMES)):
        positions[joint] += positions[PARENTS[joint]]
    return positions


def rest_mesh() -> SurfaceMesh:
    """A box around the joints, y up, with colours."""
    shape = trimesh.creation.box(extents=[1.2, 1.6, 0.3]).subdivide().subdivide()
    vertices = (shape.vertices + np.array([0.2, 0.3, 0.0])).astype(np.float32)
    colours = np.random.default_rng(0).integers(0, 256, (len(vertices), 3)).astype(np.uint8)
    return SurfaceMesh(vertices, shape.faces.astype(np.int32), colours)


def skeleton() -> Skeleton:
    """The four nearest joints of each vertex move it."""
    distance = np.linalg.norm(rest_mesh().vertices[:, None] - rest_positions(), axis=2)
    weights = np.exp(-8 * distance)
    weights[np.arange(len(weights)), distance.argmax(axis=1)] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    return skeleton_from_dense(NAMES, PARENTS, weights.astype(np.float32))


@dataclass(frozen=True, slots=True)
class Pose:
    """Local rotations (5, 4) as quaternions x, y, z, w, and the root's position (3,), y up."""

    rotations: Float64Array
    root: Float64Array

    def joints(self, scale: float = 1.0) -> tuple[Float64Array, Float64Array]:
        """World rotations (5, 3, 3) and positions (5, 3) of the joints, y up."""
        local = Rotation.from_quat(self.rotations).as_matrix()
        rotations, positions = local.copy(), np.tile(self.root, (len(NAMES), 1))
        for joint in range(1, len(NAMES)):
            parent = PARENTS[joint]
            rotations[joint] = rotations[parent] @ local[joint]
            positions[joint] = positions[parent] + rotations[parent] @ (scale * OFFSETS[joint])
        return rotations, positions

    def vertices(self, scale: float = 1.0) -> Float64Array:
        """(V, 3) by linear blend skinning, y up."""
        rotations, positions = self.joints(scale)
        bound = skeleton()
        rest = scale * rest_positions()
        local = scale * rest_mesh().vertices[:, None] - rest[bound.vertex_joints]
        moved = np.einsum("vkab,vkb->vka", rotations[bound.vertex_joints], local) + positions[bound.vertex_joints]
        vertices: Float64Array = np.einsum("vk,vka->va", bound.vertex_weights, moved)
        return vertices

    def body(self, scale: float = 1.0) -> PosedBody:
        """In camera space."""
        rotations, positions = self.joints(scale)
        mesh = SurfaceMesh((self.vertices(scale) * Y_UP).astype(np.float32), rest_mesh().faces, rest_mesh().colours)
        flipped = rotations * Y_UP[:, None] * Y_UP
        return PosedBody(mesh, (positions * Y_UP).astype(np.float32), flipped.astype(np.float32))


def random_poses(count: int, seed: int = 7, bend_degrees: float = 100.0) -> list[Pose]:
    """A smooth motion: each joint swings about its own axis, and the root turns all round and walks."""
    random = np.random.default_rng(seed)
    axes = random.normal(size=(len(NAMES), 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    phases = random.uniform(0, 2 * np.pi, len(NAMES))
    poses = []
    for number in range(count):
        angles = np.radians(bend_degrees) * np.sin(0.4 * number + phases)
        angles[0] = 0.5 * number
        rotations = Rotation.from_rotvec(axes * angles[:, None])
        poses.append(Pose(rotations.as_quat(), np.array([0.05 * number, 0.2, -3.0])))
    return poses


def publish_motion(
    out: Path,
    people: Sequence[Sequence[Pose | None]],
    scales: Sequence[float] = (),
    mesh_format: str = "glb",
    bodies: bool = True,
    identifier: str = "01",
    timely: bool = False,
) -> Path:
    """Publishes one session: a person for each sequence of poses, who is not in the frames where the pose is None.

    Args:
        out: the output directory.
        people: poses by person and frame, `STEP_S` apart.
        scales: size of the bodies by frame; 1 where it ends.
        mesh_format: of the bodies.
        bodies: write the bodies.
        identifier: of the session; another one makes another session.
        timely: as of `SessionDirectory.session`.
    """
    with SessionDirectory(PublishConfig(out, format=mesh_format)) as directory:  # type: ignore[arg-type]
        session = directory.session(identifier, OWNER, timely=timely)
        for frame in range(max(len(poses) for poses in people)):
            records = []
            for person, poses in enumerate(people):
                pose = poses[frame] if frame < len(poses) else None
                if pose is not None:
                    body = pose.body(scales[frame] if frame < len(scales) else 1.0)
                    path = session.write_body(frame, body, skeleton(), person) if bodies else None
                    shown = person_record()
                    records.append(PersonRecord(person, shown.score, shown.keypoints_2d, shown.joints_3d, body=path))
            session.append(
                FrameRecord(frame, "clip.mp4", 100.0 + STEP_S * frame, 50.0, 1.0, {"total": 50}, people=tuple(records))
            )
    return out
