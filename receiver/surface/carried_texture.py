"""The texture of a template on a surface that was solved around it.

A triangle of the surface lies in the texture where its centre's place on the template does. Its corners lie where their
places do; across a seam, they go on from the centre as the template's triangle there does.
"""

import numpy as np

from common.body.triangles import triangle_normals
from receiver.mesh.mesh_texture import MeshTexture, TextureCorners
from receiver.mesh.triangle_mesh import SurfaceMesh, vertex_normals
from receiver.surface.binding import barycentric, corners_of, nearest_places

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
