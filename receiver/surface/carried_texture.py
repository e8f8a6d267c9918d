"""The texture of a template on a surface that was solved around it.

A triangle of the surface lies in the texture where its centre's place on the template does. Its corners lie where their
places do; across a seam, they go on from the centre as the template's triangle there does.
"""

import numpy as np

from common.arrays import FloatArray, IntArray
from common.body.triangles import triangle_normals
from receiver.mesh.mesh_texture import MeshTexture, TextureCorners
from receiver.mesh.triangle_mesh import SurfaceMesh, vertex_normals
from receiver.surface.binding import barycentric, nearest_places

# In shares of the texture's side, which has 512 texels of 2 to 3 mm: how far a corner may be from where the triangle
# below the centre would have it, and how far that may be from the centre. Triangles have edges of 5 to 25 mm.
_SAME_CHART, _FARTHEST = 0.02, 0.03


def carried_texture(mesh: SurfaceMesh, template: SurfaceMesh, texture: MeshTexture) -> MeshTexture:
    """A template's texture for a mesh that lies on it."""
    corners = carried_corners(mesh, template, texture.corners)
    return MeshTexture(corners, texture.jpeg, texture.unseen_share)


def carried_corners(mesh: SurfaceMesh, template: SurfaceMesh, corners: TextureCorners) -> TextureCorners:
    """Where the triangles of a mesh that lies on a template are in the template's textures."""
    places = corners.coordinates[corners.faces]

    def interpolated(triangles: IntArray, coordinates: FloatArray) -> FloatArray:
        return np.asarray(np.einsum("...k,...kc->...c", coordinates, places[triangles]), np.float32)

    points = mesh.vertices[mesh.faces]
    centres = np.asarray(points.mean(axis=1), np.float32)
    below, at_centre = nearest_places(
        centres, triangle_normals(mesh.vertices, mesh.faces), template.vertices, template.faces
    )
    centre = interpolated(below, at_centre)[:, None]
    own = interpolated(
        *nearest_places(mesh.vertices, vertex_normals(mesh.vertices, mesh.faces), template.vertices, template.faces)
    )[mesh.faces]
    around = template.vertices[template.faces[below]][:, None]
    going_on = np.einsum("fck,fkd->fcd", barycentric(points, around), places[below])
    steps = going_on - centre
    length = np.linalg.norm(steps, axis=2, keepdims=True)
    going_on = centre + steps * np.minimum(1, _FARTHEST / np.maximum(length, 1e-9))
    same = np.linalg.norm(own - going_on, axis=2, keepdims=True) < _SAME_CHART
    coordinates = np.where(same, own, going_on).clip(0, 1).astype(np.float32)
    return TextureCorners.from_triangles(mesh.faces, coordinates)
