"""The receiver's answer to labels, judged against the truth."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from common.arrays import ByteArray, Float64Array, FloatArray
from common.frames import Camera, LabelFrame, PersonLabels
from receiver.engine.engine import ReconstructedPerson, ReconstructionRequest
from receiver.engine.reconstructor import Reconstructor
from receiver.mesh.render import render
from receiver.mesh.triangle_mesh import SurfaceMesh
from tests.bench import measures
from tests.bench.crops import TruePerson
from tests.bench.measures import Surface, centred

# Two views, from the front and from the side, wide enough for raised arms.
_VIEW = Camera(160, 160, 240.0)
_VIEW_DISTANCE_M = 4.0
_VIEW_YAWS = (0.0, np.pi / 2)


class Receiver:
    """The receiver's stages in process, at their defaults; every frame is a new person's first.

    Raises:
        WeightsError: weights are missing or of another version.
    """

    def __init__(self) -> None:
        self._reconstructor = Reconstructor.load()

    def reconstruct(self, people: Sequence[PersonLabels], camera: Camera) -> tuple[ReconstructedPerson, ...]:
        """Nobody has a previous cloud, so people are independent, whatever their identities."""
        frame = LabelFrame(0, "bench", 0.0, camera, tuple(people))
        return self._reconstructor.reconstruct(ReconstructionRequest("bench", frame)).people


def figures(found: ReconstructedPerson, truth: TruePerson, views: Sequence[ByteArray]) -> dict[str, float]:
    """Everything that is measured on one reconstruction; all but watertightness with the middles of the hips as one.

    Args:
        views: `views_of` the truth.
    """
    joints = centred(found.joints_3d)
    body = _about_hips(found.body.mesh, found)
    mesh = _about_hips(found.surface, found)
    surface = measures.surface_distances(Surface(mesh.vertices, mesh.faces), truth.surface)
    bare = measures.surface_distances(Surface(body.vertices, body.faces), truth.surface)
    seen = views_of(mesh)
    pairs = list(zip(seen, views, strict=True))
    return {
        "mpjpe_mm": measures.mean_distance_mm(joints, truth.keypoints),
        "pa_mpjpe_mm": measures.mean_distance_mm(measures.procrustes(joints, truth.keypoints), truth.keypoints),
        "pve_mm": measures.mean_distance_mm(body.vertices, truth.mesh.vertices),
        "chamfer_surface_mm": surface["chamfer_mm"],
        "chamfer_body_mm": bare["chamfer_mm"],
        "p2s_surface_mm": surface["p2s_mm"],
        "p2s_body_mm": bare["p2s_mm"],
        "normal_consistency": surface["normal_consistency"],
        "normal_consistency_body": bare["normal_consistency"],
        "watertight": float(measures.is_watertight_piece(found.surface.vertices, found.surface.faces)),
        "view_mse": float(np.mean([measures.view_mse(one, other) for one, other in pairs])),
        "view_ssim": float(np.mean([measures.view_ssim(one, other) for one, other in pairs])),
    }


def _about_hips(mesh: SurfaceMesh, found: ReconstructedPerson) -> SurfaceMesh:
    return replace(mesh, vertices=centred(found.joints_3d, mesh.vertices).astype(np.float32))


def views_of(mesh: SurfaceMesh) -> list[ByteArray]:
    """Renderings of a mesh whose hips are the origin: as the crop's camera sees it, and from its side."""
    views = []
    for yaw in _VIEW_YAWS:
        turned = mesh.vertices @ _about_vertical(yaw).T + np.array([0.0, 0.0, _VIEW_DISTANCE_M], np.float32)
        views.append(render(replace(mesh, vertices=turned.astype(np.float32)), _VIEW))
    return views


def _about_vertical(angle: float) -> FloatArray:
    turn: Float64Array = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    return turn.astype(np.float32)
