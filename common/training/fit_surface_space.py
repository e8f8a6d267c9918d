"""Fits the surface space: the linear code of the label group `surface`.

Principal components of the displacement fields of sampled people of the training split, weighted by area, so that the
first entries change the silhouette most.  A new surface space invalidates every network that reads or writes `surface`.

Examples:
  python -m common.training.fit_surface_space --out /tmp/surface_space.safetensors
  python -m common.training.fit_surface_space
"""

import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from common.arrays import FloatArray, IntArray
from common.body.anatomy import MIRROR_SIGNS, SURFACE_SPACE_FILE
from common.body.surface_space import SURFACE_SIZE, TENSORS, SurfaceSpace
from common.body.template import BodyTemplate
from common.io.command_line import parser_of
from common.synthetic.clothed.outfit_sampler import OutfitSampler
from common.synthetic.dataset.split import SEED_RANGES, Split

_PEOPLE, _HELD_OUT = 2048, 256
_PREFIXES = (0, 4, 8, 16, 24)


def sample_fields(split: Split, count: int) -> tuple[FloatArray, BodyTemplate]:
    """Displacement fields (count, V', 3) of sampled people in metres, and the template."""
    sampler = OutfitSampler(split)
    fields = np.empty((count, len(sampler.displacer.template), 3), np.float32)
    for index, person in enumerate(sampler.people(SEED_RANGES[split].start, count)):
        fields[index] = person.clothed.displacement
    return fields, sampler.displacer.template


def fit(fields: FloatArray, areas: FloatArray, mirror: IntArray) -> dict[str, Tensor]:
    """Mean (V', 3), basis (24, V', 3), areas (V',) and mirror signs (24,) of a surface space.

    The fields and their mirror images are fitted together.  Their covariance has no terms between symmetric and
    antisymmetric fields, so that each component is one or the other.

    Args:
        fields: (N, V', 3) displacements, metres; overwritten.
        areas: (V',).
        mirror: (V',) the vertex on the other side.
    """
    mean = fields.mean(0)
    mean = (mean + mean[mirror] * np.array(MIRROR_SIGNS, np.float32)) / 2
    fields -= mean
    fields *= np.sqrt(areas)[:, None]
    variances, directions = [], []
    for sign in (1, -1):
        image = fields[:, mirror] * np.array(MIRROR_SIGNS, np.float32)
        variance, direction = _components(np.asarray((fields + sign * image) / 2, np.float32))
        variances.append(variance)
        directions.append(direction)
    signs = torch.ones(2 * SURFACE_SIZE)
    signs[SURFACE_SIZE:] = -1
    order = torch.cat(variances).argsort(descending=True)[:SURFACE_SIZE]
    basis = torch.cat(directions)[order].reshape(SURFACE_SIZE, *mean.shape) / torch.from_numpy(np.sqrt(areas))[:, None]
    return {
        "mean": torch.from_numpy(mean.astype(np.float32)),
        "basis": basis.to(torch.float16),
        "areas": torch.from_numpy(areas),
        "mirror_signs": signs[order],
    }


def _components(fields: FloatArray) -> tuple[Tensor, Tensor]:
    """Variances (24,) and directions (24, V' · 3) per standard deviation, the largest first, of fields (N, V', 3)."""
    flat = torch.from_numpy(fields).flatten(1)
    # The Gram matrix of the samples is smaller than the covariance of the coordinates.
    values, vectors = torch.linalg.eigh((flat @ flat.T).double() / len(flat))
    order = values.argsort(descending=True)[:SURFACE_SIZE]
    return values[order], (vectors[:, order].float().T @ flat) / len(flat) ** 0.5


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
    parser.add_argument("--out", type=Path, default=SURFACE_SPACE_FILE, help="file to write (default: the package's)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    began = time.monotonic()
    fields, template = sample_fields("train", _PEOPLE)
    tensors = fit(fields, template.areas, template.mirror)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, arguments.out)
    space = SurfaceSpace(*(tensors[name].float() for name in TENSORS))
    fields, _ = sample_fields("val", _HELD_OUT)
    size_mb = arguments.out.stat().st_size / 1e6
    print(f"{arguments.out.name}: {size_mb:.1f} MB from {_PEOPLE} people, {time.monotonic() - began:.0f} s")
    for entries, residual_mm in residuals_mm(space, fields, template.areas).items():
        print(f"{entries:3d} entries leave {residual_mm:.2f} mm (mean over the surface, held-out people)")


if __name__ == "__main__":
    main()
