"""Measures ω on sampled training poses: `python -m sender.train.importance` writes `common/weights/importance.json`.

The labels of sampled people, dressed as the average, are perturbed, decoded and skinned; the displacement of the
template's vertices, weighted by area, is averaged over vertices and people.  Each entry is perturbed by ± 0.1 σ, which
gives the codec's steps (`common.training.fit_codec --importance`); all entries of a group are perturbed by one such
step each, which gives the group's ω.  Colours do not move the surface: 0 mm.
"""

from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from common.arrays import Float64Array
from common.body.label_space import LabelSpace, SurfaceSpace
from common.body.model import BodyModel, BodyParameters, axis_angle_to_matrix, load_head_shapes
from common.body.template import BodyTemplate
from common.errors import exit_code_of
from common.io.command_line import parser_of
from common.labels import GROUP_NAMES, LABEL_SIZE, OPTIONAL_GROUPS, group_slices
from common.synthetic.motion.poses import PoseSampler
from common.training.fit_codec import equal_displacement_steps, optional_statistics
from common.training.run import write_json
from sender.importance import IMPORTANCE_FILE, TABLE_VERSION

_PEOPLE: Final = 96
_SEED: Final = 12
_PROBE_SIGMA: Final = 0.1
_COLOURS: Final = "appearance"
_BATCH: Final = 16


def sample_bodies(count: int, seed: int) -> BodyParameters:
    """`count` training people, 2–6 m away and up to 25° off the camera's axis."""
    poses = PoseSampler("train", seed).sample(count)
    generator = np.random.default_rng(seed)
    depth = np.exp(generator.uniform(np.log(2.0), np.log(6.0), count))
    x_over_z, y_over_z = generator.uniform(-0.45, 0.45, count), generator.uniform(-0.2, 0.2, count)
    translation = np.stack([x_over_z * depth, y_over_z * depth, depth], axis=1)
    return BodyParameters(
        rotations=axis_angle_to_matrix(torch.from_numpy(poses.rotation_vectors)),
        curl=torch.from_numpy(poses.curl),
        shape=torch.from_numpy(generator.normal(size=(count, 10)).astype(np.float32)),
        translation=torch.from_numpy(translation.astype(np.float32)),
    )


class Displacement:
    """Mean displacement of the surface of some people, in mm, when their labels change.

    Args:
        surface_space: decodes `surface` labels to displacements of the skin.
        labels: (B, LABEL_SIZE).
    """

    def __init__(self, body: BodyModel, space: LabelSpace, surface_space: SurfaceSpace, labels: Tensor) -> None:
        self._body, self._space, self._surface_space, self._labels = body, space, surface_space, labels
        self._template = BodyTemplate.from_model(body)
        self._head_shapes = load_head_shapes(body)[:, self._template.kept]
        areas = torch.from_numpy(self._template.areas)
        self._share = areas / areas.sum()
        self._points = self._skin(labels)

    def mm(self, change: Tensor) -> float:
        """For a change of the labels, (LABEL_SIZE,) or (B, LABEL_SIZE)."""
        moved = self._skin(self._labels + change) - self._points
        return float((moved.norm(dim=-1) @ self._share).mean()) * 1000.0

    @torch.no_grad()
    def _skin(self, labels: Tensor) -> Tensor:
        parts = []
        for chunk in labels.split(_BATCH):
            displacement = self._surface_space.decode(chunk[:, group_slices()["surface"]])
            displacement = displacement + torch.tensordot(chunk[:, group_slices()["head_shape"]], self._head_shapes, 1)
            parts.append(self._template.posed(self._body, self._space.decode(chunk), displacement).vertices)
        return torch.cat(parts)


def measure_entries(displacement: Displacement) -> Float64Array:
    """(LABEL_SIZE,) mm per σ of each entry; 0 for colours.

    Of optional groups it is that of the skin which the group moves.
    """
    optional, colours = optional_statistics()[2], group_slices()[_COLOURS]
    changes = _PROBE_SIGMA * torch.eye(LABEL_SIZE)[: LABEL_SIZE - len(optional)]
    changes[colours] = 0
    moved = [(displacement.mm(change) + displacement.mm(-change)) / (2 * _PROBE_SIGMA) for change in changes]
    return np.append(np.where(changes.any(1), moved, 0.0), optional)


def measure_groups(displacement: Displacement, step_sigma: Float64Array, people: int, seed: int) -> dict[str, float]:
    """Group name → mm when each of its entries is off by its step, with random signs."""
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(0, 2, (people, LABEL_SIZE), generator=generator) * 2.0 - 1.0
    change, omega = signs * torch.from_numpy(step_sigma).float(), dict.fromkeys(GROUP_NAMES, 0.0)
    optional = optional_statistics()[2]
    off_mm = np.append(np.zeros(LABEL_SIZE - len(optional)), optional * step_sigma[-len(optional) :])
    for name, entries in group_slices().items():
        if name in OPTIONAL_GROUPS:
            omega[name] = float(np.linalg.norm(off_mm[entries]))
        elif name != _COLOURS:
            only = torch.zeros(LABEL_SIZE)
            only[entries] = 1.0
            omega[name] = displacement.mm(change * only)
    return omega


def main() -> None:
    parser = parser_of("python -m sender.train.importance", __doc__)
    parser.add_argument("--out", type=Path, default=IMPORTANCE_FILE, help="file to write (default: %(default)s)")
    out, space = parser.parse_args().out, LabelSpace.load()
    labels = space.encode(sample_bodies(_PEOPLE, _SEED))
    displacement = Displacement(BodyModel.load(), space, SurfaceSpace.load(), labels)
    mm_per_sigma = measure_entries(displacement)
    found = measure_groups(displacement, equal_displacement_steps(mm_per_sigma), _PEOPLE, _SEED)
    omega = {name: round(value, 4) for name, value in found.items()}
    table = {
        "version": TABLE_VERSION,
        "unit": "mm of mean displacement of the surface",
        "people": _PEOPLE,
        "seed": _SEED,
    }
    write_json(out, table | {"omega": omega, "mm_per_sigma": mm_per_sigma.round(4).tolist()})
    print(f"wrote {out}: ω in mm {omega}")


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m sender.train.importance", main))
