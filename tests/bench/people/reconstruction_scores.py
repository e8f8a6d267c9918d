"""Scores of the receiver's reconstruction of labels against the ground truth."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from common.arrays import BoolArray, ByteArray, Float64Array, FloatArray
from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.frames import Camera, LabelFrame, PersonLabels
from common.labels import concatenate
from receiver.body.skinning import BodySkin
from receiver.engine.engine import PersonAppearance, ReconstructedPerson, ReconstructionRequest
from receiver.engine.reconstructor import Reconstructor
from receiver.mesh.render import depth_map, render
from receiver.mesh.triangle_mesh import SurfaceMesh
from tests.bench import measures
from tests.bench.measures import Surface, centred
from tests.bench.people.crops import TruePerson
from tests.support.meshes.posed_templates import pose, templates

# Two views, front and side, wide enough for raised arms.
VIEW = Camera(160, 160, 240.0)
_VIEW_DISTANCE_M = 4.0
_VIEW_YAWS = (0.0, np.pi / 2)
# Silhouettes are drawn at this multiple of the crop resolution: OpenCV fills every pixel that a triangle touches.
_SUPERSAMPLING = 4


class Receiver:
    """The receiver's stages in process, with default settings; each frame is the first of a new person.

    Raises:
        WeightsError: weights are missing or of another version.
    """

    def __init__(self) -> None:
        self._reconstructor = Reconstructor.load()

    def reconstruct(
        self,
        people: Sequence[PersonLabels],
        camera: Camera,
        appearance: Mapping[int, PersonAppearance] | None = None,
        people_in_frame: int | None = None,
    ) -> tuple[ReconstructedPerson, ...]:
        """Reconstructs people independently.

        Args:
            appearance: by identity.
            people_in_frame: number of people in the whole frame, which sets the resolution, if these are a part.
        """
        frame = LabelFrame(0, "bench", 0.0, camera, tuple(people))
        request = ReconstructionRequest("bench", "bench", frame, appearance or {}, people_in_frame)
        return self._reconstructor.reconstruct(request).people


class BareBodies:
    """The skinned bodies that labels describe, without clothes. Raises WeightsError as `Receiver`."""

    def __init__(self) -> None:
        self._space, self._skin = LabelSpace.load(), BodySkin.from_model(BodyModel.load())

    @torch.inference_mode()
    def of(self, person: PersonLabels) -> SurfaceMesh:
        """In camera space."""
        parameters = self._space.decode(torch.from_numpy(concatenate(person.labels))[None])
        return pose(self._skin, templates(self._skin, parameters)).mesh


def figures(
    found: ReconstructedPerson, bare: SurfaceMesh, truth: TruePerson, background: ByteArray, views: Sequence[ByteArray]
) -> dict[str, float]:
    """All scores of one reconstruction: mask and depth in the crop's camera, the rest relative to the hips' midpoint.

    `surface`, `body` (the displaced template) and `bare` (the skinned body) are compared with the clothed truth.

    Args:
        bare: `BareBodies.of` the labels.
        background: (160, 160, 3) of the views.
        views: `views_of` of the true shell in its unlit colours.
    """
    joints = centred(found.joints_3d)
    mesh, skin = (_about_hips(each, found) for each in (found.surface, bare))
    root_depth_m = float(found.body.joint_positions[0, 2])
    pairs = list(zip(views_of(mesh, background), views, strict=True))
    return {
        "mpjpe_mm": measures.mean_distance_mm(joints, truth.keypoints),
        "pa_mpjpe_mm": measures.mean_distance_mm(measures.procrustes(joints, truth.keypoints), truth.keypoints),
        "pve_mm": measures.mean_distance_mm(skin.vertices, truth.mesh.vertices),
        **surface_figures(found, bare, truth.surface),
        **image_figures(found.surface, root_depth_m, truth),
        "watertight": float(measures.is_watertight_piece(found.surface.vertices, found.surface.faces)),
        "view_mse": float(np.mean([measures.view_mse(view, true_view) for view, true_view in pairs])),
        "view_ssim": float(np.mean([measures.view_ssim(view, true_view) for view, true_view in pairs])),
    }


def surface_figures(found: ReconstructedPerson, bare: SurfaceMesh, truth: Surface) -> dict[str, float]:
    """Distances of the surface, the displaced template and the skinned body from the clothed truth.

    Args:
        bare: `BareBodies.of` its labels.
        truth: the outer shell relative to the midpoint of the hips.
    """
    meshes = (_about_hips(each, found) for each in (found.surface, found.body.mesh, bare))
    surface, template, undressed = (
        measures.surface_distances(Surface(each.vertices, each.faces), truth) for each in meshes
    )
    return {
        "chamfer_surface_mm": surface["chamfer_mm"],
        "chamfer_body_mm": template["chamfer_mm"],
        "chamfer_bare_mm": undressed["chamfer_mm"],
        "p2s_surface_mm": surface["p2s_mm"],
        "normal_consistency": surface["normal_consistency"],
    }


def image_figures(mesh: SurfaceMesh, root_depth_m: float, truth: TruePerson) -> dict[str, float]:
    """`mask_iou` of a mesh's silhouette, and `depth_mm` of the visible surface where silhouette and true mask overlap.

    Args:
        mesh: in the space of the crop's camera.
        root_depth_m: camera z of its root joint; depths are compared relative to the root joints.
    """
    mask, depth = visible_surface(mesh, truth.camera)
    both = mask & truth.mask
    error = np.abs(depth - root_depth_m - truth.depth)[both]
    return {
        "mask_iou": measures.intersection_over_union(mask, truth.mask),
        "depth_mm": 1000 * float(error.mean()) if error.size else float("nan"),
    }


def visible_surface(mesh: SurfaceMesh, camera: Camera) -> tuple[BoolArray, FloatArray]:
    """Silhouette and mean camera z (m) of a mesh, both (S/2, S/2), by the rules of the data set's mask and depth."""
    fine = Camera(_SUPERSAMPLING * camera.width, _SUPERSAMPLING * camera.height, _SUPERSAMPLING * camera.focal_px)
    depth = depth_map(mesh, fine)
    covered = _cells(depth > 0, _SUPERSAMPLING)
    mask = _cells(covered >= _SUPERSAMPLING**2 / 2, 2) > 2
    samples = _cells(depth > 0, 2 * _SUPERSAMPLING)
    return mask, (_cells(depth, 2 * _SUPERSAMPLING) / np.maximum(samples, 1)).astype(np.float32)


def _cells(image: FloatArray | BoolArray, side: int) -> Float64Array:
    """Sums over square cells of an image."""
    height, width = image.shape
    sums: Float64Array = image.reshape(height // side, side, width // side, side).sum((1, 3), dtype=np.float64)
    return sums


def _about_hips(mesh: SurfaceMesh, found: ReconstructedPerson) -> SurfaceMesh:
    return replace(mesh, vertices=centred(found.joints_3d, mesh.vertices).astype(np.float32))


def views_of(mesh: SurfaceMesh, onto: ByteArray) -> list[ByteArray]:
    """Renderings of a mesh with its hips in the origin: from the crop's camera direction and from the side."""
    views = []
    for yaw in _VIEW_YAWS:
        turned = mesh.vertices @ _about_vertical(yaw).T + np.array([0.0, 0.0, _VIEW_DISTANCE_M], np.float32)
        views.append(render(replace(mesh, vertices=turned.astype(np.float32)), VIEW, onto=onto))
    return views


def _about_vertical(angle: float) -> FloatArray:
    turn: Float64Array = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    return turn.astype(np.float32)
