"""A small posed body for exact checks: a box with two joints, the second bent."""

import numpy as np
import torch
import trimesh
from scipy.spatial.transform import Rotation

from receiver.mesh.skinned_glb import PosedBody, Skeleton, skeleton_from_dense
from receiver.mesh.triangle_mesh import SurfaceMesh
from receiver.surface.people import PeopleSurfaces


def box(colours: bool = False, lift_m: float = 0.0) -> SurfaceMesh:
    """A closed box of 0.4 × 1.6 × 0.3 m, 3 m in front of the camera; its top has the smallest y."""
    shape = trimesh.creation.box(extents=[0.4, 1.6, 0.3]).subdivide()
    vertices = (shape.vertices + np.array([0.1, -lift_m, 3.0])).astype(np.float32)
    rgb = np.random.default_rng(0).integers(0, 256, (len(vertices), 3)).astype(np.uint8) if colours else None
    return SurfaceMesh(vertices, shape.faces.astype(np.int32), rgb)


def posed_box() -> tuple[PosedBody, Skeleton]:
    """The box bound to a root joint and a child joint that is rotated by 40 degrees about z."""
    mesh = box(colours=True)
    upper = (mesh.vertices[:, 1] < 0.0).astype(np.float32)
    weights = np.stack([1.0 - 0.8 * upper, 0.8 * upper], axis=1).astype(np.float32)
    skeleton = skeleton_from_dense(("root", "head"), np.array([-1, 0]), weights)
    rotations = Rotation.from_euler("xyz", [[0, 20, 0], [0, 20, 40]], degrees=True).as_matrix().astype(np.float32)
    positions = np.array([[0.1, 0.0, 3.0], [0.15, -0.4, 3.05]], dtype=np.float32)
    return PosedBody(mesh, positions, rotations), skeleton


def carried_surface(surfaces: PeopleSurfaces, body: PosedBody) -> SurfaceMesh:
    """The mesh that all people have in common, on one of them."""
    carrying, posed = surfaces.binding.carrying, (body.mesh.vertices, body.joint_rotations)
    (vertices,) = carrying(*(torch.from_numpy(each[None]) for each in posed))
    return surfaces.coloured(vertices.numpy(), body.mesh.colours)
