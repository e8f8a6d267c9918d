"""Points on the skin of a posed body."""

import numpy as np
import trimesh

from common.arrays import FloatArray
from common.body.model import BodyModel

COUNT = 2048


def skin_points(model: BodyModel, vertices: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Points (2048, 3), evenly by area, and their outward unit normals, of vertices (V, 3)."""
    skin = trimesh.Trimesh(vertices, model.skin_faces.numpy(), process=False)
    points, faces = skin.sample(COUNT, return_index=True, seed=0)
    return np.asarray(points, np.float32), np.asarray(skin.face_normals[faces], np.float32)
