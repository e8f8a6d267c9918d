"""Fits the linear shape space.

Anny computes a person's rest shape from six phenotype parameters by a non-linear blend of 136 blend shapes.  Ten linear
coefficients approximate these shapes within millimetres, ordered from coarse to fine as a progressive label needs.  The
space is fitted once and shipped, so that a coefficient has the same meaning at both ends and in every training; the
blend shapes themselves come from Anny.

A new shape space changes the body (`python -m common.training.body`) and invalidates every trained network.

Examples:
  python -m common.training.body.fit_shape_space --out /tmp/shape_space.safetensors
  python -m common.training.body.fit_shape_space
"""

from pathlib import Path
from typing import Any

import anny
import numpy as np
import numpy.typing as npt
import torch
from anny.shape_distribution import SimpleShapeDistribution
from safetensors.numpy import save_file

from common.body.anatomy import SHAPE_SIZE, SHAPE_SPACE_FILE
from common.io.command_line import parser_of
from common.training.body.bake import bake
from common.training.body.surface_points import surface_places

Array = npt.NDArray[Any]
_SEED = 20261120
_PEOPLE = 4096
_ADULT_SHARE = 0.88


def sample_phenotypes(count: int, seed: int = _SEED) -> dict[str, torch.Tensor]:
    """`count` people, 88 % of them 16 to 85 years old, the rest 5 to 16, with Anny's WHO-calibrated statures."""
    torch.manual_seed(seed)
    model = anny.Anny()
    years = torch.distributions.Uniform(torch.tensor(16.0, dtype=model.dtype), torch.tensor(85.0, dtype=model.dtype))
    children = torch.distributions.Uniform(torch.tensor(5.0, dtype=model.dtype), torch.tensor(16.0, dtype=model.dtype))
    adults = int(count * _ADULT_SHARE)
    parts = [
        SimpleShapeDistribution(model, morphological_age_distribution=ages).sample(number)[1]
        for ages, number in ((years, adults), (children, count - adults))
    ]
    order = torch.randperm(count)
    return {name: torch.cat([part[name] for part in parts])[order] for name in model.phenotype_labels}


def fit(count: int = 4096) -> dict[str, Array]:
    """Principal components of the rest meshes of `count` sampled people.

    Returns:
        `mean` (136,), `basis` (10, 136) in blend-shape coefficients per standard deviation, `phenotypes` (count, 6) and
        `coefficients` (count, 10) of the sampled people, `residual_mm` the root mean square error of a vertex.
    """
    model = anny.Anny()
    phenotypes = sample_phenotypes(count)
    blend = model.get_phenotype_blendshape_coefficients(**phenotypes).numpy()
    mean = blend.mean(0)
    gram = _vertex_gram(model.blendshapes.numpy())
    root = np.linalg.cholesky(gram + 1e-9 * np.trace(gram) / len(gram) * np.eye(len(gram)))
    _, singular, directions = np.linalg.svd((blend - mean) @ root, full_matrices=False)
    deviation = singular[:SHAPE_SIZE] / np.sqrt(count)
    coefficients = ((blend - mean) @ root @ directions[:SHAPE_SIZE].T) / deviation
    basis = np.linalg.lstsq(coefficients, blend - mean, rcond=None)[0]
    error = (blend - mean - coefficients @ basis) @ root
    vertices = model.template_vertices.shape[0]
    residual_mm = 1000 * float(np.sqrt((error**2).sum(1).mean() / vertices))
    arrays = {
        "mean": mean,
        "basis": basis,
        "phenotypes": np.stack([phenotypes[name].numpy() for name in model.phenotype_labels], axis=1),
        "coefficients": coefficients,
        "residual_mm": np.array([residual_mm]),
    }
    return {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in arrays.items()}


def _vertex_gram(blendshapes: Array) -> Array:
    """(136, 136) inner products of the blend shapes over all vertices: a metric in which variance is displacement."""
    flat = blendshapes.reshape(len(blendshapes), -1)
    return np.asarray(flat @ flat.T)


def _places(space: dict[str, Array]) -> dict[str, Array]:
    """Corners and barycentric weights of the surface points on the mean person of a fitted space."""
    body = bake(space)
    corners, barycentric = surface_places(
        body["rest_vertices"][0], body["skin_faces"], body["weights"], body["rest_joints"][0]
    )
    return {"point_corners": corners, "point_barycentric": barycentric.astype(np.float32)}


def main() -> None:
    parser = parser_of("python -m common.training.body.fit_shape_space", __doc__)
    parser.add_argument("--out", type=Path, default=SHAPE_SPACE_FILE, help="file to write (default: the package's)")
    options = parser.parse_args()
    arrays = fit(_PEOPLE)
    arrays |= _places(arrays)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save_file(arrays, options.out)
    residual_mm = arrays["residual_mm"][0]
    print(f"{options.out.name}: {SHAPE_SIZE} coefficients leave {residual_mm:.2f} mm (root mean square a vertex)")


if __name__ == "__main__":
    main()
