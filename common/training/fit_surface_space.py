"""Fits the surface space: the linear code of the label group `surface`.

Principal components of the displacement fields of sampled people of the training split, weighted by area, so that the
first entries change the silhouette most.  A new surface space invalidates every network that reads or writes `surface`.

Examples:
  python -m common.training.fit_surface_space --out /tmp/surface_space.safetensors --count 500
  python -m common.training.fit_surface_space
"""

import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from common.arrays import FloatArray
from common.body.anatomy import SURFACE_SPACE_FILE
from common.body.surface_space import SURFACE_SIZE, SurfaceSpace
from common.synthetic.clothed.outfit_sampler import OutfitSampler
from common.synthetic.dataset.presets import PRESETS, WARDROBE, DatasetPreset
from common.synthetic.dataset.split import SEED_RANGES, Split
from common.training.flags import parser_of

_PREFIXES = (0, 4, 8, 16, 24)


def sample_fields(split: Split, preset: DatasetPreset, count: int) -> tuple[FloatArray, FloatArray]:
    """Displacement fields (count, V', 3) of sampled people in metres, and the areas (V',) of the template."""
    sampler = OutfitSampler(split, preset)
    fields = np.empty((count, len(sampler.displacer.template), 3), np.float32)
    for index, person in enumerate(sampler.people(SEED_RANGES[split].start, count)):
        fields[index] = person.clothed.displacement
    return fields, sampler.displacer.template.areas


def fit(fields: FloatArray, areas: FloatArray) -> dict[str, Tensor]:
    """Mean (V', 3), basis (24, V', 3) and areas (V',) of a surface space, in 16 bits but for the mean.

    Args:
        fields: (N, V', 3) displacements, metres; overwritten.
        areas: (V',).
    """
    mean = fields.mean(0)
    fields -= mean
    fields *= np.sqrt(areas)[:, None]
    weighted = torch.from_numpy(fields).flatten(1)
    # The Gram matrix of the samples is smaller than the covariance of the coordinates.
    values, vectors = torch.linalg.eigh((weighted @ weighted.T).double())
    order = values.argsort(descending=True)[:SURFACE_SIZE]
    directions = (vectors[:, order].float().T @ weighted) / len(fields) ** 0.5
    basis = directions.reshape(SURFACE_SIZE, *mean.shape) / torch.from_numpy(np.sqrt(areas))[:, None]
    return {
        "mean": torch.from_numpy(mean),
        "basis": basis.to(torch.float16),
        "areas": torch.from_numpy(areas),
    }


def residuals_mm(space: SurfaceSpace, fields: FloatArray, areas: FloatArray) -> dict[int, float]:
    """Number of entries → mean distance in millimetres, over the surface, of decoded fields from the true ones."""
    truth = torch.from_numpy(fields)
    entries, weight = space.encode(truth), torch.from_numpy(areas / areas.sum())
    return {
        size: 1000 * float(((space.decode(entries[:, :size]) - truth).norm(dim=-1) @ weight).mean())
        for size in _PREFIXES
    }


def main() -> None:
    parser = parser_of("python -m common.training.fit_surface_space", __doc__)
    parser.add_argument("--count", type=int, default=2048, help="people to sample (default: %(default)s)")
    parser.add_argument("--held-out", type=int, default=256, help="people to measure on (default: %(default)s)")
    parser.add_argument("--preset", choices=tuple(PRESETS), default=WARDROBE.name, help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=SURFACE_SPACE_FILE, help="file to write (default: the package's)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    began = time.monotonic()
    tensors = fit(*sample_fields("train", PRESETS[arguments.preset], arguments.count))
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, arguments.out)
    space = SurfaceSpace(*(tensors[name].float() for name in ("mean", "basis", "areas")))
    fields, areas = sample_fields("val", PRESETS[arguments.preset], arguments.held_out)
    size_mb = arguments.out.stat().st_size / 1e6
    print(f"{arguments.out.name}: {size_mb:.1f} MB from {arguments.count} people, {time.monotonic() - began:.0f} s")
    for entries, residual_mm in residuals_mm(space, fields, areas).items():
        print(f"{entries:3d} entries leave {residual_mm:.2f} mm (mean over the surface, held-out people)")


if __name__ == "__main__":
    main()
