"""The surfaces of people: one closed mesh for everybody, carried by the template, or solved anew in a pose.

The mesh is the surface of the mean person in the mean clothes, solved with arms and legs apart so that nothing touches.
What people differ in, shape and clothes, moves the template, and so the mesh.  A mesh for each person and outfit is not
closer to the clothed truth, and would change whenever the labels of clothes do.

Where limbs touch, a carried mesh passes through itself.  One that is solved in the pose does not, but takes thirty
times as long and has other vertices in each frame.

Both have the template's texture.  A triangle of the surface lies in it where its centre's place on the template does.
Its corners lie where their places do; across a seam, they go on from the centre as the template's triangle there does.
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from common.arrays import ByteArray, FloatArray
from common.body.anatomy import JOINTS, REGION_INDEX
from common.body.model import BodyModel, BodyParameters, axis_angle_to_matrix
from common.body.template import BodyTemplate
from common.body.triangles import triangle_normals
from common.weights.devices import device_of, to_numpy
from receiver.config import SurfaceConfig
from receiver.mesh.mesh_texture import MeshTexture, TextureCorners
from receiver.mesh.skinned_glb import PosedBody
from receiver.mesh.triangle_mesh import SameArray, SurfaceMesh, vertex_normals
from receiver.surface.binding import PosedTemplate, SurfaceBinding, barycentric, corners_of, nearest_places
from receiver.surface.stage import REFINED_PAIRS, DetailedPlaces, adaptive_resolution, reconstruct
from receiver.texture.face_features import FaceGeometry

# In shares of the texture's side, which has 512 texels of 2 to 3 mm: how far a corner may be from where the triangle
# below the centre would have it, and how far that may be from the centre. Triangles have edges of 5 to 25 mm.
_SAME_CHART, _FARTHEST = 0.02, 0.03


def carried_texture(mesh: SurfaceMesh, template: SurfaceMesh, texture: MeshTexture) -> MeshTexture:
    """A template's texture for a mesh that lies on it."""
    corners = carried_corners(mesh, template, texture.corners)
    return MeshTexture(corners, texture.jpeg, texture.unseen_share)


def carried_corners(mesh: SurfaceMesh, template: SurfaceMesh, corners: TextureCorners) -> TextureCorners:
    """Where the triangles of a mesh that lies on a template are in the template's textures."""
    places = np.ascontiguousarray(corners.coordinates[corners.faces].transpose(1, 2, 0))
    own_corners = corners_of(mesh.vertices, mesh.faces)
    points = np.concatenate([np.asarray(own_corners.mean(axis=0).T, np.float32), mesh.vertices])
    normals = np.concatenate([triangle_normals(mesh.vertices, mesh.faces), vertex_normals(mesh.vertices, mesh.faces)])
    triangles, coordinates = nearest_places(points, normals, template.vertices, template.faces)
    below = triangles[: len(mesh.faces)]
    at = (coordinates.T[:, None] * places.take(triangles, axis=2)).sum(axis=0)
    centre, own = at[:, None, : len(mesh.faces)], at[:, len(mesh.faces) :][:, mesh.faces.T]
    around = corners_of(template.vertices, template.faces[below])[:, :, None]
    beyond = barycentric(own_corners.swapaxes(0, 1), around)
    steps = (beyond[:, None] * places.take(below, axis=2)[:, :, None]).sum(axis=0) - centre
    going_on = centre + steps * np.minimum(1, _FARTHEST / np.maximum(np.linalg.norm(steps, axis=0), 1e-9))
    same = np.linalg.norm(own - going_on, axis=0) < _SAME_CHART
    coordinates = np.where(same, own, going_on).clip(0, 1).astype(np.float32).transpose(2, 1, 0)
    return TextureCorners.from_triangles(mesh.faces, coordinates)


# Where hair, collars, cuffs, hems and soles are, the mesh that is carried is finer than its grid: regions, how far
# around the middle of each, and the greatest length of an edge.
_DETAILED = {"scalp": 0.13, "foot.L": 0.14, "foot.R": 0.14, "hand.L": 0.08, "hand.R": 0.08}
_COLLAR_M = 0.09
_DETAIL_M = 0.017
# In the face it is finer around eyes with brows, mouth, tip of the nose, and, less fine, the mean of the first three.
_FACE_RADII_M = np.array([0.026, 0.026, 0.026, 0.016, 0.060], np.float32)
_FACE_EDGES_M = np.array([0.006, 0.006, 0.006, 0.006, 0.012], np.float32)
_AROUND_FACE = 3
# Turns about the camera's z axis, from the rest pose, whose arms are half raised.  With higher arms the skin above the
# shoulders is folded, and its edges would stretch when the arms hang down.
_SPREAD_DEG = {"upperarm01.L": -10.0, "upperarm01.R": 10.0, "upperleg01.L": -10.0, "upperleg01.R": 10.0}

# People whose colours on the carried mesh are kept.
_COLOURED_PEOPLE = 64


class PeopleSurfaces:
    """Makes the surfaces of posed templates.

    Args:
        clothes: (V', 3) mean displacement at rest of what people wear, metres.
        corners: where the template's triangles are in textures.

    Attributes:
        binding: of the carried mesh.
        corners: where its triangles are.
    """

    def __init__(
        self,
        config: SurfaceConfig,
        body: BodyModel,
        template: BodyTemplate,
        face: FaceGeometry,
        clothes: Tensor,
        corners: TextureCorners,
    ) -> None:
        self._resolution, self._template, self._face = config.grid_resolution, template, face
        self._visible = template.outside | face.eye_vertices
        self.binding, self.corners = self._bound(body, clothes, corners)
        self._coloured = lru_cache(_COLOURED_PEOPLE)(lambda colours: self.binding.coloured(colours.array))

    def coloured(self, vertices: FloatArray, colours: ByteArray | None) -> SurfaceMesh:
        """The carried mesh with vertices (N, 3), in the colours of the template (V', 3), which must not be changed."""
        return SurfaceMesh(
            vertices, self.binding.faces, None if colours is None else self._coloured(SameArray(colours))
        )

    def solved(self, body: PosedBody, pixels_per_metre: float, people_in_frame: int) -> SurfaceMesh:
        """The surface around a posed template, which never passes through itself.

        Args:
            pixels_per_metre: scale of the picture at the person.
            people_in_frame: number of people in the picture.
        """
        size_px = pixels_per_metre * float(np.ptp(body.mesh.vertices, axis=0).max())
        resolution = adaptive_resolution(self._resolution, size_px, people_in_frame)
        return self._solved(body.mesh, self._face_places(body.mesh.vertices), resolution)

    def _solved(self, template: SurfaceMesh, places: DetailedPlaces, resolution: int) -> SurfaceMesh:
        normals, areas = self._template.vertex_normals.with_areas(template.vertices)
        # Points without an area, which line the mouth and the eye sockets, are ignored.
        return reconstruct(template, normals, np.where(self._visible, areas, 0), places, resolution)

    def _bound(
        self, body: BodyModel, clothes: Tensor, corners: TextureCorners
    ) -> tuple[SurfaceBinding, TextureCorners]:
        device = device_of(body)
        turns = torch.zeros(1, len(JOINTS), 3)
        for joint, degrees in _SPREAD_DEG.items():
            turns[0, JOINTS.index(joint), 2] = np.deg2rad(degrees)
        rest = BodyParameters.rest()
        spread = axis_angle_to_matrix(turns), rest.curl, rest.shape, rest.translation
        parameters = BodyParameters(*(tensor.to(device) for tensor in spread))
        with torch.inference_mode():
            posed = self._template.posed(body, parameters, clothes[None].to(device))
        vertices: FloatArray = to_numpy(posed.vertices[0])
        visible = self._template.faces[self._visible[self._template.faces].all(axis=1)]
        template = PosedTemplate(vertices, to_numpy(posed.joint_rotations[0]), self._template.weights, visible)
        places = self._face_places(vertices).joined(self._hems(vertices, to_numpy(posed.joint_positions[0])))
        around = SurfaceMesh(vertices, self._template.faces)
        mesh = self._solved(around, places, self._resolution)
        binding = SurfaceBinding.bind(mesh, template, REFINED_PAIRS)
        binding.carrying.to(device)
        return binding, carried_corners(mesh, around, corners)

    def _face_places(self, vertices: FloatArray) -> DetailedPlaces:
        """Where the surface of a posed template (V', 3) needs short edges to show its face."""
        centres = np.stack([vertices[part].mean(axis=0) for part in self._face.landmarks])
        centres = np.vstack([centres, centres[:_AROUND_FACE].mean(axis=0)])
        return DetailedPlaces(centres.astype(np.float32), _FACE_RADII_M, _FACE_EDGES_M)

    def _hems(self, vertices: FloatArray, joints: FloatArray) -> DetailedPlaces:
        region = self._template.region
        centres = [vertices[region == REGION_INDEX[name]].mean(axis=0) for name in _DETAILED]
        centres.append(joints[JOINTS.index("neck01")])
        radii_m = np.array([*_DETAILED.values(), _COLLAR_M], np.float32)
        return DetailedPlaces(np.array(centres, np.float32), radii_m, np.full_like(radii_m, _DETAIL_M))
